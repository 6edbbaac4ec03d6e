//! Whose token an exchange begins with.

use std::sync::{Arc, Mutex, PoisonError};

use sallyport_protocol::CallerToken;
use sallyport_secrets::{Secret, SecretReference, resolve};

use super::token::TokenError;

/// Whose token an exchange begins with: that of the request which needs it, else the one that the caller showed last.
#[derive(Clone, Default)]
pub struct Subject {
    /// Who gave the caller tokens; nobody, where callers have none that could be exchanged.
    issuer: Option<Arc<str>>,
    shown: Arc<Mutex<Option<Arc<CallerToken>>>>,
}

impl Subject {
    /// For a caller whose tokens are of `issuer`. A key is the gateway's own: only what somebody else issued can be exchanged there.
    #[must_use]
    pub fn of(issuer: Option<&str>) -> Self {
        Self { issuer: issuer.map(Arc::from), shown: Arc::default() }
    }

    /// Takes note of what the caller showed with this request.
    pub fn show(&self, token: Option<&Arc<CallerToken>>) {
        if let Some(token) = token.filter(|_| self.issuer.is_some()) {
            *self.shown.lock().unwrap_or_else(PoisonError::into_inner) = Some(token.clone());
        }
    }

    /// The token that an exchange for this request begins with: what was shown with it, and for what nobody asked for (the handshake,
    /// lists) what was shown last.
    pub(crate) fn of_request(&self, shown: Option<&Arc<CallerToken>>) -> Option<Arc<CallerToken>> {
        self.issuer.as_ref()?;
        shown.cloned().or_else(|| self.shown.lock().unwrap_or_else(PoisonError::into_inner).clone())
    }

    /// Gives the subject token for the request to the token endpoint of `issuer`: what `reference` names, else the `caller`'s own.
    ///
    /// A caller's token is good for the gateway until it expires, so it is shown to nobody but who gave it.
    pub(crate) fn token(
        &self,
        reference: Option<&SecretReference>,
        issuer: &str,
        caller: Option<&CallerToken>,
    ) -> Result<Secret, TokenError> {
        if let Some(reference) = reference {
            return resolve(reference).map_err(|error| TokenError::Own(format!("{error}; {}", error.hint())));
        }
        if let Some(own) = self.issuer.as_deref().filter(|own| own.trim_end_matches('/') != issuer.trim_end_matches('/')) {
            return Err(TokenError::Own(format!(
                "the caller's token is of {own:?}, and is not shown to {issuer:?}, which could use it here"
            )));
        }
        let none = || TokenError::Own("the caller showed no token that could be exchanged".to_owned());
        caller.ok_or_else(none)?.as_subject_token().map(|text| Secret::new(text.to_owned())).ok_or_else(none)
    }
}

impl std::fmt::Debug for Subject {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str("Subject")
    }
}
