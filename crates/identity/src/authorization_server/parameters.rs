//! The parameters of a request: a query or a form, each name once (RFC 6749 §3.1).

use std::collections::BTreeMap;
use std::fmt;

use bytes::Bytes;
use http::{Request, header};

use super::problem::Problem;

/// Most parameters of a request; OAuth's longest have some twenty.
const MOST: usize = 64;

/// Parameters by name. Those without a value are as if they were not there.
#[derive(Clone, Default)]
pub(super) struct Parameters(BTreeMap<String, String>);

impl fmt::Debug for Parameters {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_set().entries(self.0.keys()).finish() // among the values are passwords, codes and tokens
    }
}

impl Parameters {
    /// Those of the query.
    pub(super) fn of_query(request: &Request<Bytes>) -> Result<Self, Problem> {
        Self::parse(request.uri().query().unwrap_or_default().as_bytes())
    }

    /// Those of the form in the body.
    pub(super) fn of_form(request: &Request<Bytes>) -> Result<Self, Problem> {
        let kind = request.headers().get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
        let kind = kind.split(';').next().unwrap_or_default().trim();
        if !kind.eq_ignore_ascii_case("application/x-www-form-urlencoded") {
            return Err(Problem::invalid_request("the body has to be application/x-www-form-urlencoded"));
        }
        Self::parse(request.body())
    }

    fn parse(text: &[u8]) -> Result<Self, Problem> {
        let mut found = BTreeMap::new();
        for (name, value) in url::form_urlencoded::parse(text).take(MOST + 1) {
            if found.len() == MOST {
                return Err(Problem::invalid_request("there are too many parameters"));
            }
            if value.is_empty() {
                continue;
            }
            if found.insert(name.to_string(), value.into_owned()).is_some() {
                // More than one `resource` is allowed (RFC 8707 §2), but a token of ours is for one endpoint.
                let error = if name == "resource" { "invalid_target" } else { "invalid_request" };
                return Err(Problem::new(error, format!("`{}` is there twice", name.escape_debug())));
            }
        }
        Ok(Self(found))
    }

    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    /// A parameter that has to be there.
    pub(super) fn need(&self, name: &str) -> Result<&str, Problem> {
        self.get(name).ok_or_else(|| Problem::invalid_request(format!("`{name}` is missing")))
    }
}
