//! What destinations have had, beyond the life of a program: one that ends and is started again has no more than one that stays.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use super::allowed::Allowed;
use super::destination::Destination;
use super::limit::{Usage, Window};

/// The bytes that each destination has had within an hour, by program.
#[derive(Clone, Default)]
pub struct Accounts(Arc<Mutex<Windows>>);

/// By scope, server and destination: as many as programs were launched with within an hour.
type Windows = BTreeMap<(String, String, Destination), Arc<Mutex<Window>>>;

impl Accounts {
    /// The accounts of a program that is launched: one for each destination, in its order.
    pub(super) fn of(&self, scope: &str, server: &str, allowed: &Allowed) -> Vec<Usage> {
        let mut windows = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        windows.retain(|_, window| Arc::strong_count(window) > 1 || !window.lock().unwrap_or_else(PoisonError::into_inner).is_over());
        let mut window_of = |destination: &Destination| {
            let key = (scope.to_owned(), server.to_owned(), destination.clone());
            Usage::new(Arc::clone(windows.entry(key).or_default()))
        };
        allowed.destinations().iter().map(&mut window_of).collect()
    }
}

impl fmt::Debug for Accounts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Accounts")
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]
    use std::time::Duration;

    use super::*;
    use crate::egress::Refusal;

    fn spend(accounts: &Accounts, scope: &str, server: &str, destination: &str, bytes: usize) -> Result<(), Refusal> {
        let allowed = Allowed::new(vec!["other.example".parse().unwrap(), destination.parse().unwrap()]).unwrap();
        accounts.of(scope, server, &allowed)[1].open(1, 10)?.count(bytes)
    }

    #[tokio::test(start_paused = true)]
    async fn an_account_is_a_program_s_in_all_its_lives_and_nobody_else_s() {
        let accounts = Accounts::default();
        assert_eq!(spend(&accounts, "", "a", "x.example", 6), Ok(()));
        assert_eq!(spend(&accounts, "", "a", "x.example", 5), Err(Refusal::Bytes));
        assert_eq!(spend(&accounts, "", "a", "y.example", 5), Ok(()));
        assert_eq!(spend(&accounts, "", "b", "x.example", 5), Ok(()));
        assert_eq!(spend(&accounts, "acme", "a", "x.example", 5), Ok(()));
        tokio::time::advance(Duration::from_secs(3600)).await;
        assert_eq!(spend(&accounts, "", "a", "x.example", 10), Ok(()));
        assert_eq!(accounts.0.lock().unwrap().len(), 2, "those of the last launch");
    }
}
