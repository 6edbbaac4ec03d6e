//! Logins of programs without a browser (RFC 8628): a code that a person types elsewhere.

use bytes::Bytes;
use http::{Response, StatusCode};
use sallyport_store::device::{self, Device};
use sallyport_store::login;
use serde_json::json;

use super::authorize::{self, AuthorizationRequest};
use super::browser::Browser;
use super::clients::Client;
use super::clients::metadata::DEVICE;
use super::parameters::Parameters;
use super::problem::Problem;
use super::purpose::Purpose;
use super::token::Tokens;
use super::{Asked, Server, accounts, answer, log_in, pages, unguessable};

/// For how many seconds a code can be typed.
const LIFE: i64 = 10 * 60;
/// How many seconds have to lie between two questions.
const INTERVAL: i64 = 5;
/// Letters of a user code: no vowels, so that no words come of it, and none that look alike (§6.1).
const LETTERS: &[u8; 20] = b"BCDFGHJKLMNPQRSTVWXZ";
/// How many: 20^8 codes, of which a thousand at most are good, for who may try five.
const LENGTH: usize = 8;
/// Wrong codes of one person before the next try has to wait.
const FREE: i64 = 5;

impl Server {
    pub(super) async fn begin_device(&self, asked: &Asked) -> Result<Response<Bytes>, Problem> {
        let form = Parameters::of_form(&asked.request)?;
        let client = self.authenticated(asked, &form).await?;
        if !client.may_use(DEVICE) {
            return Err(Problem::new("unauthorized_client", "the client may not use this grant"));
        }
        let resource = self.resource(form.get("resource"))?;
        let scopes = authorize::asked_scopes(form.get("scope"), &resource.default_scopes, &client)?;
        let request = AuthorizationRequest {
            client: client.id.clone(),
            client_name: client.name.clone(),
            client_host: client.host(),
            redirect: String::new(),
            state: None,
            code_challenge: String::new(),
            resource: resource.url,
            path: resource.path,
            scopes: scopes.to_string(),
            prompt: None,
            since: asked.now,
        };
        let request = serde_json::to_string(&request).map_err(|error| Problem::internal(&error.to_string()))?;
        let (device_code, user_code) = (unguessable::text()?, user_code()?);
        let (key, kept, ends) = (unguessable::digest(&device_code), user_code.clone(), asked.now + LIFE);
        // Anybody can register clients: whose programs these are says the address, where it is known.
        let source = asked.from.map_or_else(|| format!("client {}", client.id), log_in::network);
        if !self.store.write(move |tables| device::add(tables, &key, &kept, (&client.id, &request, &source), ends)).await? {
            let taken = Problem::new("temporarily_unavailable", "the code is another program's: ask for a new one");
            return Err(Problem { status: StatusCode::SERVICE_UNAVAILABLE, ..taken });
        }
        let body = json!({
            "device_code": device_code,
            "user_code": shown(&user_code),
            "verification_uri": self.url("device"),
            "expires_in": LIFE,
            "interval": INTERVAL,
        });
        Ok(answer::json(StatusCode::OK, &body))
    }

    /// What the program learns that asks whether somebody has typed its code.
    pub(super) async fn poll_device(&self, client: &Client, form: &Parameters, now: i64) -> Result<Tokens, Problem> {
        let (key, id) = (unguessable::digest(form.need("device_code")?), client.id.clone());
        let polled = self.store.write(move |tables| device::poll(tables, &key, &id, INTERVAL, now)).await?;
        let (user, epoch, request) = match polled {
            Device::Pending => return Err(Problem::new("authorization_pending", "nobody has decided yet")),
            Device::TooSoon => return Err(Problem::new("slow_down", format!("ask every {INTERVAL} seconds"))),
            Device::Denied => return Err(Problem::new("access_denied", "the person did not agree")),
            Device::Unknown => return Err(Problem::new("expired_token", "the device code is unknown or has ended")),
            Device::Approved { user, epoch, request } => (user, epoch, request),
        };
        let request: AuthorizationRequest = serde_json::from_str(&request).map_err(|error| Problem::internal(&error.to_string()))?;
        let gone = || Problem::new("access_denied", "the person who agreed may not log in any more, or has ended what they agreed to");
        let person = accounts::find(&self.store, &user).await?.filter(|person| person.epoch == epoch).ok_or_else(gone)?;
        self.begin_family(client, &person, &request, unguessable::id()?, now).await
    }

    /// The page on which a person types the code.
    pub(super) async fn device_page(&self, asked: &Asked) -> Result<Response<Bytes>, Problem> {
        let browser = Browser::known_or_new(self, asked)?;
        match self.person_at(&browser, asked.now).await? {
            Some((person, _)) => Ok(pages::device(self, &browser, &person, None)),
            None => Ok(answer::see_other(&self.login_for(Purpose::Device))),
        }
    }

    /// Takes the code, and then the decision.
    pub(super) async fn device_form(&self, asked: &Asked) -> Result<Response<Bytes>, Problem> {
        let form = Parameters::of_form(&asked.request)?;
        let browser = Browser::known(self, asked).ok_or_else(log_in::no_cookie)?;
        let Some((person, _)) = self.person_at(&browser, asked.now).await? else {
            return Ok(answer::see_other(&self.login_for(Purpose::Device)));
        };
        let code = plain(form.get("user_code").unwrap_or_default());
        let Some(decision) = form.get("decision") else {
            browser.check_form(&Purpose::Device.text(), form.get("form_token"))?;
            return self.typed(&browser, &person, &code, asked.now).await;
        };
        browser.check_form(&format!("device\0{code}"), form.get("form_token"))?;
        let (user, epoch, now, agreed) = (person.name.clone(), person.epoch, asked.now, decision == "allow");
        let decided = self.store.write(move |tables| device::decide(tables, &code, agreed.then_some((user.as_str(), epoch)), now)).await?;
        let told = match (decided, agreed) {
            (false, _) => "That code has ended, or somebody has decided about it already.",
            (true, true) => "Done: the program is logged in. You can close this page.",
            (true, false) => "The program was refused. You can close this page.",
        };
        Ok(pages::told(self, told))
    }

    async fn typed(&self, browser: &Browser, person: &accounts::Person, code: &str, now: i64) -> Result<Response<Bytes>, Problem> {
        let who = unguessable::digest(&format!("device\0{}", person.name));
        let asked = code.to_owned();
        let found = self.store.write(move |tables| {
            let taken = match login::take_try(tables, &who, FREE, now)? {
                Ok(taken) => taken,
                Err(wait) => return Ok(Err(wait)),
            };
            let found = device::find(tables, &asked, now)?;
            if found.is_some() {
                login::give_back(tables, &taken)?; // what was guessed before stays counted: a program of one's own always has a good code
            }
            Ok(Ok(found))
        });
        let told = match found.await? {
            Err(wait) => format!("There were too many tries. The next one can come in {wait} seconds."),
            Ok(None) => "No program waits with that code. Look at it again: it is good for ten minutes.".to_owned(),
            Ok(Some(request)) => {
                let request: AuthorizationRequest =
                    serde_json::from_str(&request).map_err(|error| Problem::internal(&error.to_string()))?;
                return Ok(pages::device_consent(self, browser, person, code, &shown(code), &request));
            }
        };
        Ok(pages::device(self, browser, person, Some(&told)))
    }
}

fn user_code() -> Result<String, Problem> {
    // Bytes that would favour the first letters are left out.
    let limit = u8::MAX - u8::MAX % 20;
    loop {
        let random = unguessable::bytes()?;
        let fair = random.iter().filter(|byte| **byte < limit).filter_map(|byte| LETTERS.get(usize::from(byte % 20)));
        let code: String = fair.take(LENGTH).map(|letter| char::from(*letter)).collect();
        if code.len() == LENGTH {
            return Ok(code);
        }
    }
}

/// As a person reads it: in two halves.
fn shown(code: &str) -> String {
    code.chars().enumerate().flat_map(|(at, letter)| (at == LENGTH / 2).then_some('-').into_iter().chain([letter])).collect()
}

/// As it is kept, however a person types it.
fn plain(typed: &str) -> String {
    typed.chars().filter(char::is_ascii_alphanumeric).take(2 * LENGTH).map(|letter| letter.to_ascii_uppercase()).collect()
}
