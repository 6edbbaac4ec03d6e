//! Whose token an exchange begins with.

use std::sync::{Arc, Mutex, PoisonError};

use sallyport_protocol::CallerToken;
use sallyport_secrets::{Secret, SecretReference, resolve};

use super::token::TokenError;

/// The token that the caller showed last. Requests of one caller share it, so that an exchange takes the newest.
#[derive(Clone, Default)]
pub struct Subject(Arc<Mutex<Option<Arc<CallerToken>>>>);

impl Subject {
    /// Takes note of what the caller showed with this request.
    pub fn show(&self, token: Option<&Arc<CallerToken>>) {
        if let Some(token) = token {
            *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(token.clone());
        }
    }

    /// Gives the subject token for the request to a token endpoint: what `reference` names, else the caller's own.
    pub(crate) fn token(&self, reference: Option<&SecretReference>) -> Result<Secret, TokenError> {
        if let Some(reference) = reference {
            return resolve(reference).map_err(|error| TokenError::Own(format!("{error}; {}", error.hint())));
        }
        let shown = self.0.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let none = || TokenError::Own("the caller showed no token that could be exchanged".to_owned());
        let token = shown.ok_or_else(none)?;
        token.as_subject_token().map(|text| Secret::new(text.to_owned())).ok_or_else(none)
    }
}

impl std::fmt::Debug for Subject {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str("Subject")
    }
}
