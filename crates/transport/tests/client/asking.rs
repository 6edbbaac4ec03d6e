//! The asking side of the tests: options, contexts, requests, and what was heard.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use sallyport_protocol::{
    Asker, BoxFuture, Cancel, Client, Context, ErrorObject, Event, Listener, Method, RawJson, RawObject, Request, Revision, ServerIdentity,
};
use sallyport_transport::client::Options;

pub(crate) fn options() -> Options {
    let mut options = Options::new("peer", ServerIdentity::new("tests", "1"));
    options.probe_timeout = Duration::from_secs(5);
    options.capabilities = object(r#"{"elicitation":{}}"#);
    options
}

pub(crate) fn object(text: &str) -> RawObject {
    RawJson::parse(text.to_owned()).unwrap().object().unwrap()
}

pub(crate) fn call(name: &str, arguments: &str) -> Request {
    let mut params = RawObject::new();
    params.set("name", RawJson::string(name));
    params.set("arguments", RawJson::parse(arguments.to_owned()).unwrap());
    Request::new(Method::ToolsCall, params)
}

/// One who asks, and remembers what it heard meanwhile.
#[derive(Default)]
pub(crate) struct Ears {
    pub(crate) heard: Mutex<Vec<String>>,
}

impl Ears {
    pub(crate) fn heard(&self) -> Vec<String> {
        self.heard.lock().unwrap().clone()
    }

    fn hear_text(&self, text: String) {
        self.heard.lock().unwrap().push(text);
    }

    /// Waits until something that contains `part` was heard.
    pub(crate) async fn wait_for(&self, part: &str) {
        let waiting = async {
            while !self.heard().iter().any(|text| text.contains(part)) {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(10), waiting).await.unwrap_or_else(|_| panic!("never heard {part}: {:?}", self.heard()));
    }
}

impl Asker for Ears {
    fn notify(&self, method: &str, params: RawObject) {
        self.hear_text(format!("{method} {}", params.to_json().as_str()));
    }

    fn ask<'a>(&'a self, method: &'a str, _params: RawObject) -> BoxFuture<'a, Result<RawObject, ErrorObject>> {
        self.hear_text(format!("asked {method}"));
        Box::pin(async { Ok(object(r#"{"action":"decline"}"#)) })
    }
}

impl Listener for Ears {
    fn hear(&self, event: &Event) {
        self.hear_text(format!("{event:?}"));
    }
}

pub(crate) fn context(ears: &Arc<Ears>, cancel: &Cancel) -> Context {
    let client = Client { revision: Revision::LATEST, capabilities: object(r#"{"sampling":{}}"#), info: None };
    Context { client: Arc::new(client), asker: Arc::clone(ears) as Arc<dyn Asker>, cancel: cancel.clone(), credential: None }
}

/// A context whose owner hears nothing.
pub(crate) fn quiet() -> Context {
    context(&Arc::default(), &Cancel::new())
}
