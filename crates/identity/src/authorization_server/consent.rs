//! The consent page: what a client asks for, and who decides.

use bytes::Bytes;
use http::Response;
use sallyport_policy::{Scopes, implies};
use sallyport_store::authorization::{self, Consent};

use super::accounts::Person;
use super::authorize::AuthorizationRequest;
use super::browser::Browser;
use super::parameters::Parameters;
use super::problem::Problem;
use super::purpose::Purpose;
use super::{Asked, Server, answer, pages, redirect};

/// For how many seconds a consent holds: a season, after which people have forgotten what they agreed to.
const HOLDS: i64 = 90 * 24 * 60 * 60;

impl Server {
    /// Shows what is asked for, unless this person agreed to it before.
    pub(super) async fn consent_page(&self, asked: &Asked) -> Result<Response<Bytes>, Problem> {
        let parameters = Parameters::of_query(&asked.request)?;
        let id = parameters.need("request")?;
        let browser = Browser::known(self, asked).ok_or_else(super::log_in::no_cookie)?;
        let request = self.pending(id, Some(&browser), asked.now).await?;
        let Some((person, since)) = self.person_at(&browser, asked.now).await? else {
            return Ok(answer::see_other(&self.login_for(Purpose::Request(id))));
        };
        if request.wants_login() && since < request.since {
            return Ok(answer::see_other(&self.login_for(Purpose::Request(id))));
        }
        if !request.prompts("consent") && self.has_agreed(&person, &request, asked.now).await? {
            let request = self.take_pending(id, &browser, asked.now).await?;
            return self.hand_out_code(&person, &request, asked.now).await;
        }
        Ok(pages::consent(self, id, &browser, &person, &request))
    }

    /// Takes the decision, once.
    pub(super) async fn decide(&self, asked: &Asked) -> Result<Response<Bytes>, Problem> {
        let form = Parameters::of_form(&asked.request)?;
        let id = form.need("request")?;
        let browser = Browser::known(self, asked).ok_or_else(super::log_in::no_cookie)?;
        browser.check_form(id, form.get("form_token"))?;
        let Some((person, _)) = self.person_at(&browser, asked.now).await? else {
            return Ok(answer::see_other(&self.login_for(Purpose::Request(id))));
        };
        let request = self.take_pending(id, &browser, asked.now).await?;
        if form.get("decision") != Some("allow") {
            let denied = Problem::new("access_denied", "the person did not agree");
            return Ok(self.redirect_problem(&request.redirect, request.state.as_deref(), &denied));
        }
        if !redirect::is_local(&request.redirect) {
            let (consent, scopes, ends) = (consent(&person, &request), request.scopes.clone(), asked.now + HOLDS);
            self.store.write(move |tables| authorization::agree(tables, &consent, &scopes, ends)).await?;
        }
        tracing::info!(user = %person.name, client = %request.client, resource = %request.resource, "somebody agreed to a client");
        self.hand_out_code(&person, &request, asked.now).await
    }

    /// Whether the person agreed to all of it. An answer on this machine could reach any program there, whatever it calls itself: for
    /// those the person is asked each time (RFC 8252 §8.6).
    async fn has_agreed(&self, person: &Person, request: &AuthorizationRequest, now: i64) -> Result<bool, Problem> {
        if redirect::is_local(&request.redirect) {
            return Ok(false);
        }
        let consent = consent(person, request);
        let agreed = self.store.read(move |tables| authorization::agreed(tables, &consent, now)).await?;
        let agreed = agreed.and_then(|scopes| Scopes::parse(&scopes)).unwrap_or_default();
        let asked = Scopes::parse(&request.scopes).unwrap_or_default();
        Ok(!asked.is_empty() && asked.iter().all(|scope| agreed.iter().any(|held| implies(held, scope))))
    }
}

fn consent(person: &Person, request: &AuthorizationRequest) -> Consent {
    Consent {
        user: person.name.clone(),
        client: request.client.clone(),
        redirect: request.redirect.clone(),
        resource: request.resource.clone(),
    }
}
