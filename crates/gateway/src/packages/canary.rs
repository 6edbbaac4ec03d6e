//! A newer version of a package that a share of the callers gets before all others do.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use sallyport_sandbox::install::Locked;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// How many of a hundred callers get the newer version: 1 to 99. None and all are not shares but decisions, which have words of their own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "u8", into = "u8")]
pub struct Share(u8);

impl TryFrom<u8> for Share {
    type Error = &'static str;

    fn try_from(percent: u8) -> Result<Self, Self::Error> {
        if (1..=99).contains(&percent) { Ok(Self(percent)) } else { Err("a share is 1 to 99 percent of the callers") }
    }
}

impl From<Share> for u8 {
    fn from(share: Share) -> Self {
        share.0
    }
}

impl FromStr for Share {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let percent = text.strip_suffix('%').unwrap_or(text).trim_end();
        percent.parse::<u8>().map_err(|_| "a share is a whole number of percent, such as `10%`")?.try_into()
    }
}

impl fmt::Display for Share {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} %", self.0)
    }
}

/// The newer version, and who gets it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Canary {
    /// How many of the callers get it.
    pub share: Share,
    /// Chosen at random when the share began, so that it is not the same callers who get every new version first.
    pub salt: String,
    /// What it is.
    pub locked: Locked,
}

/// Says which callers get the newer version of one server.
#[derive(Clone, Debug)]
pub(crate) struct Draw {
    server: Arc<str>,
    salt: Arc<str>,
    share: Share,
}

impl Draw {
    pub(crate) fn new(server: &Arc<str>, canary: &Canary) -> Self {
        Self { server: server.clone(), salt: canary.salt.as_str().into(), share: canary.share }
    }

    pub(crate) fn server(&self) -> &Arc<str> {
        &self.server
    }

    /// Whether the caller of that id, unique among all tenants, gets the newer version. A caller's place among the hundred never
    /// changes, so whoever is in a share is in every larger one.
    pub(crate) fn takes(&self, caller: &str) -> bool {
        let mut digest = Sha256::new();
        for part in [&*self.salt, &*self.server, caller] {
            digest.update((part.len() as u64).to_be_bytes());
            digest.update(part);
        }
        let first = digest.finalize().first_chunk().map_or(0, |bytes: &[u8; 8]| u64::from_be_bytes(*bytes));
        (u128::from(first) * 100) >> 64 < u128::from(self.share.0)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]
    use super::*;

    impl Draw {
        pub(crate) fn of(salt: &str, percent: u8) -> Self {
            Self { server: "s".into(), salt: salt.into(), share: percent.try_into().unwrap() }
        }
    }

    fn those_of(draw: &Draw) -> Vec<usize> {
        (0..10_000).filter(|caller| draw.takes(&format!("key:{caller}"))).collect()
    }

    #[test]
    fn a_share_is_as_large_as_it_says_and_keeps_who_is_in_it() {
        let mut before = Vec::new();
        for percent in [1, 10, 50, 99] {
            let those = those_of(&Draw::of("salt", percent));
            let expected = usize::from(percent) * 100;
            assert!(those.len().abs_diff(expected) < 200, "{percent} %: {}", those.len()); // four standard deviations of 50 %
            assert!(before.iter().all(|caller| those.contains(caller)));
            before = those;
        }
    }

    #[test]
    fn another_salt_or_server_draws_others() {
        let one = those_of(&Draw::of("one", 10));
        let other_server = Draw { server: "t".into(), ..Draw::of("one", 10) };
        for others in [those_of(&Draw::of("two", 10)), those_of(&other_server)] {
            let both = one.iter().filter(|caller| others.contains(caller)).count();
            assert!(both < 200, "about a tenth of a tenth is in both: {both}");
        }
    }

    #[test]
    fn a_share_is_a_whole_part_of_a_hundred() {
        assert_eq!("10%".parse::<Share>().unwrap().to_string(), "10 %");
        assert_eq!("1".parse::<Share>().unwrap(), Share(1));
        for text in ["0%", "100%", "", "%", "-1%", "10.5%", "ten", "256", "1 0%"] {
            text.parse::<Share>().unwrap_err();
        }
    }
}
