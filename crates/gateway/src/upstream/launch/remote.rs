//! A server elsewhere.

mod bearer;
mod consent;

use std::sync::Arc;
use std::time::Duration;

use http::{HeaderName, HeaderValue};
use sallyport_identity::upstream::{CredentialConfig, Minted, PerUser, Subject, TokenSource};
use sallyport_protocol::{BoxFuture, ErrorObject, Failure, FailureKind, McpServer, Revision};
use sallyport_transport::client::{Connection, Kind, Options, Target};
use tokio::sync::OnceCell;

use self::bearer::Bearer;
use self::consent::{Consent, Granted, Waiting, WhileGranted};
use super::options;
use super::values::filled_in;
use crate::plan::{RemotePlan, RemoteTransport, ServerPlan};
use crate::upstream::health::Outage;
use crate::upstream::reach::{Doing, Hold, Reach, Reached};
use crate::upstream::{Person, Surroundings, WayOut};

/// The way to an address.
pub(super) struct ToRemote {
    name: String,
    plan: RemotePlan,
    options: Options,
    /// In whose name it is gone, where that is somebody's.
    person: Option<Person>,
    way_out: Arc<WayOut>,
    tokens: OnceCell<Tokens>,
}

/// Where the tokens come from.
#[derive(Clone)]
enum Tokens {
    Minted(Arc<Minted>),
    PerUser(Arc<PerUser>),
}

impl ToRemote {
    pub(super) fn new(plan: &ServerPlan, remote: RemotePlan, surroundings: &Surroundings, person: Option<Person>) -> Self {
        let (options, way_out) = (options(plan, surroundings), surroundings.way_out.clone());
        Self { name: plan.name.clone(), plan: remote, options, person, way_out, tokens: OnceCell::new() }
    }

    fn target(&self) -> Result<Target, Outage> {
        let mut target = Target::new(self.plan.url.clone());
        target.kind = match self.plan.transport {
            RemoteTransport::Auto => Kind::Auto,
            RemoteTransport::StreamableHttp => Kind::StreamableHttp,
            RemoteTransport::Sse => Kind::Sse,
        };
        for (name, value) in &self.plan.headers {
            let unfit = || Outage::new(format!("header `{name}` is none: its name or value holds characters that cannot be sent"));
            let mut value = HeaderValue::try_from(filled_in(value)?).map_err(|_| unfit())?;
            value.set_sensitive(true);
            target.headers.push((HeaderName::try_from(name).map_err(|_| unfit())?, value));
        }
        Ok(target)
    }

    /// The tokens for the server. They outlive a connection: what is cached is good for the next one.
    async fn tokens(&self, credential: &CredentialConfig) -> Result<Tokens, Outage> {
        let made = self.tokens.get_or_try_init(async || {
            let around = self.way_out.around()?;
            let nobody = || Outage::new("it is called in the name of whoever calls, and nobody does");
            if let CredentialConfig::PerUser(config) = credential {
                let (owner, logins) = (self.person.as_ref().ok_or_else(nobody)?.owner.clone(), self.way_out.logins()?);
                let source = PerUser::new(config.clone(), &self.name, &self.plan.url, owner, around, logins);
                return Ok(Tokens::PerUser(Arc::new(source)));
            }
            let subject = match &self.person {
                Some(person) => person.subject.clone(),
                None if credential.is_personal() => return Err(nobody()),
                None => Subject::default(),
            };
            let minted = Minted::new(credential, &self.plan.url, around, subject).ok_or_else(nobody)?;
            Ok(Tokens::Minted(Arc::new(minted)))
        });
        made.await.cloned()
    }

    async fn connect(&self, known: Option<Revision>) -> Result<Reached, Outage> {
        let options = Options { known, ..self.options.clone() };
        let mut target = self.target()?;
        let Some(credential) = &self.plan.credential else {
            let connection = self.opened(Connection::to_url(target, options).await)?;
            return Ok(reached(connection.clone(), connection));
        };
        let tokens = self.tokens(credential).await?;
        let source: Arc<dyn TokenSource> = match &tokens {
            Tokens::Minted(minted) => minted.clone(),
            Tokens::PerUser(per_user) => per_user.clone(),
        };
        target.credentials = Some(Arc::new(Bearer::new(&self.name, source, self.way_out.clone())));
        match (Connection::to_url(target, options).await, tokens) {
            (Err(failure), Tokens::PerUser(source)) if wants_consent(&failure) => {
                let consent = Consent::new(&self.name, source, self.way_out.clone());
                Ok(Reached { server: consent.clone(), hold: Box::new(Waiting(consent)), reconnects: false })
            }
            (opened, Tokens::PerUser(source)) => {
                let granted = Granted::new(self.opened(opened)?, source);
                Ok(Reached { server: granted.clone(), hold: Box::new(WhileGranted(granted)), reconnects: true })
            }
            (opened, Tokens::Minted(_)) => {
                let connection = self.opened(opened)?;
                Ok(reached(connection.clone(), connection))
            }
        }
    }

    fn opened(&self, opened: Result<Arc<Connection>, Failure>) -> Result<Arc<Connection>, Outage> {
        opened.map_err(|failure| Outage::of_failure(&self.name, &failure))
    }
}

fn reached(server: Arc<dyn McpServer>, connection: Arc<Connection>) -> Reached {
    Reached { server, hold: Box::new(Remote(connection)), reconnects: true }
}

fn wants_consent(failure: &Failure) -> bool {
    matches!(&failure.kind, FailureKind::Upstream(error) if error.code == ErrorObject::URL_ELICITATION_REQUIRED)
}

impl Reach for ToRemote {
    fn reach<'a>(&'a self, known: Option<Revision>, doing: Doing<'a>) -> BoxFuture<'a, Result<Reached, Outage>> {
        Box::pin(async move {
            doing("connecting".into());
            self.connect(known).await
        })
    }
}

/// An open connection to an address.
struct Remote(Arc<Connection>);

impl Hold for Remote {
    fn ended(&self) -> BoxFuture<'_, Outage> {
        Box::pin(async { Outage::new(self.0.closed().await.why) })
    }

    fn close(&self, grace: Duration) -> BoxFuture<'_, ()> {
        Box::pin(async move {
            let _ = tokio::time::timeout(grace, self.0.close()).await; // a server that is gone cannot be told
        })
    }
}
