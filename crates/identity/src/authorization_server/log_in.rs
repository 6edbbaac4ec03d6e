//! The login page.

use std::net::IpAddr;

use bytes::Bytes;
use http::Response;
use sallyport_store::{authorization, login};

use super::accounts::{self, Person};
use super::browser::Browser;
use super::parameters::Parameters;
use super::problem::Problem;
use super::purpose::Purpose;
use super::{Asked, Server, answer, pages, unguessable};

/// Wrong passwords for one name before the next try has to wait: people mistype, and try their other passwords.
const FREE_FOR_NAME: i64 = 5;
/// The same from one address: a household, or an office behind one router.
const FREE_FOR_ADDRESS: i64 = 30;

impl Server {
    /// Shows the form, unless somebody is logged in here.
    pub(super) async fn log_in_page(&self, asked: &Asked) -> Result<Response<Bytes>, Problem> {
        let parameters = Parameters::of_query(&asked.request)?;
        let purpose = Purpose::of(parameters.need("request")?)?;
        let browser = Browser::known_or_new(self, asked)?;
        let request = match purpose.request() {
            Some(id) => Some(self.pending(id, Some(&browser), asked.now).await?),
            None => None,
        };
        let since = self.person_at(&browser, asked.now).await?.map(|(_, since)| since);
        let is_too_old = |since: i64| request.as_ref().is_some_and(|request| request.wants_login() && since < request.since);
        if since.is_some_and(|since| !is_too_old(since)) {
            return Ok(answer::see_other(&self.after_login(purpose)));
        }
        let target = request.as_ref().and_then(|request| super::redirect::form_target(&request.redirect));
        let mut response = pages::log_in(self, purpose, &browser, None, target.as_deref());
        browser.introduce(self, &mut response);
        Ok(response)
    }

    /// Takes the form.
    pub(super) async fn log_in(&self, asked: &Asked) -> Result<Response<Bytes>, Problem> {
        let form = Parameters::of_form(&asked.request)?;
        let purpose = Purpose::of(form.need("request")?)?;
        let browser = Browser::known(self, asked).ok_or_else(no_cookie)?;
        browser.check_form(&purpose.text(), form.get("form_token"))?;
        let target = match purpose.request() {
            Some(id) => super::redirect::form_target(&self.pending(id, Some(&browser), asked.now).await?.redirect),
            None => None,
        };
        let again = |told: &str| Ok(pages::log_in(self, purpose, &browser, Some(told), target.as_deref()));
        // A name may be typed with the capital letter that telephones begin with.
        let name = form.get("name").unwrap_or_default().trim().to_lowercase();
        let tried = self.try_password(&name, form.get("password").unwrap_or_default(), asked).await;
        let person = match tried {
            Ok(Some(person)) => person,
            Ok(None) => return again("That name and password do not belong together."),
            Err(problem) if problem.error == "slow_down" => return again(&problem.description),
            Err(problem) => return Err(problem),
        };
        self.let_in(&person, &browser, purpose, asked.now).await
    }

    /// Logs a person in who has shown who they are, and sends the browser on. What was begun under the old cookie goes on under the new one.
    pub(super) async fn let_in(&self, person: &Person, old: &Browser, purpose: Purpose<'_>, now: i64) -> Result<Response<Bytes>, Problem> {
        let new = self.welcome(person, old, now).await?;
        if let Some(id) = purpose.request() {
            let (key, from, to) = (unguessable::digest(id), old.digest(), new.digest());
            self.store.write(move |tables| authorization::move_request(tables, &key, &from, &to)).await?;
        }
        tracing::info!(user = %person.name, "somebody logged in");
        let mut response = answer::see_other(&self.after_login(purpose));
        new.introduce(self, &mut response);
        Ok(response)
    }

    /// Logs out the browser that asks.
    pub(super) async fn log_out(&self, asked: &Asked) -> Result<Response<Bytes>, Problem> {
        let form = Parameters::of_form(&asked.request)?;
        let browser = Browser::known(self, asked).ok_or_else(no_cookie)?;
        browser.check_form("logout", form.get("form_token"))?;
        let cookie = browser.digest();
        self.store.write(move |tables| login::remove(tables, &cookie)).await?;
        let purpose = form.get("request").and_then(|text| Purpose::of(text).ok()).unwrap_or(Purpose::Device);
        Ok(answer::see_other(&self.login_for(purpose)))
    }

    /// Compares, if this name and this address may try now. Each try is counted before it is known how it ends.
    async fn try_password(&self, name: &str, password: &str, asked: &Asked) -> Result<Option<Person>, Problem> {
        let of_name = unguessable::digest(&format!("name\0{name}"));
        let of_address = asked.from.map(|address| unguessable::digest(&format!("address\0{}", network(address))));
        let now = asked.now;
        let taken = self.store.write(move |tables| {
            let by_address = match of_address.map(|address| login::take_try(tables, &address, FREE_FOR_ADDRESS, now)).transpose()? {
                Some(Err(wait)) => return Ok(Err(wait)),
                Some(Ok(taken)) => Some(taken),
                None => None,
            };
            Ok(login::take_try(tables, &of_name, FREE_FOR_NAME, now)?.map(|_| by_address))
        });
        let by_address = match taken.await? {
            Ok(by_address) => by_address,
            Err(wait) => {
                let told = format!("There were too many tries. The next one can come in {wait} seconds.");
                return Err(Problem { retry_after: Some(wait), ..Problem::new("slow_down", told) });
            }
        };
        let person =
            accounts::log_in(&self.store, name, password).await.map_err(|error| Problem::failed(&error.to_string(), error.hint()))?;
        if person.is_some() {
            // The name's failures are over. Those of the address are not: they may be guesses of other names by whoever has an account here.
            let forget = self.store.write(move |tables| {
                by_address.iter().try_for_each(|taken| login::give_back(tables, taken))?;
                login::forget_tries(tables, &of_name)
            });
            forget.await?;
        } else {
            tracing::warn!("somebody gave a wrong name or password");
        }
        Ok(person)
    }
}

pub(super) fn no_cookie() -> Problem {
    Problem::new("access_denied", "your browser sent no cookie: allow cookies for this page, and begin again where you came from")
}

/// Whose tries are counted together: one address, or with IPv6 the network that one subscriber gets.
pub(super) fn network(address: IpAddr) -> String {
    match address.to_canonical() {
        IpAddr::V4(address) => address.to_string(),
        IpAddr::V6(address) => format!("{:x?}", address.segments().first_chunk::<4>()),
    }
}
