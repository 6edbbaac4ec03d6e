//! The sealed `requestState`: what the gateway gives a client to bring back, and nobody can change, read or use elsewhere
//! (2026-07-28, multi round-trip requests: "MUST be treated as attacker-controlled").

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;
use ring::aead::{Aad, CHACHA20_POLY1305, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use ring::digest;
use ring::rand::{SecureRandom as _, SystemRandom};
use sallyport_protocol::input::{INPUT_RESPONSES, REQUEST_STATE};
use sallyport_protocol::{Failure, FailureKind, Method, RawJson, RawObject};

/// Characters of a sealed state at most. A server's own state inside of it may be some 48 KiB; those in use hold a few hundred bytes.
pub(crate) const LONGEST: usize = 64 * 1024;
/// How long a server's own state may be brought back. The server may want it sooner.
const SERVER_STATE_HOLDS: Duration = Duration::from_secs(24 * 60 * 60);

/// Seals and opens. The key is made at the start and never leaves the process: what was sealed before a restart is refused.
pub(crate) struct Sealer {
    key: LessSafeKey,
    /// Counts nonces: with a key of this process alone none is used twice.
    nonces: AtomicU64,
}

/// What a sealed state is good for: one caller, one server, one request. It is authenticated, not stored.
pub(crate) struct Binding(digest::Digest);

/// What is in a sealed state.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum State {
    /// A call that waits in this process, and for which of its rounds.
    Parked { id: u64, round: u32 },
    /// The server's own state: a JSON string.
    Server(RawJson),
    /// The client is to open an address and then to ask again; the server keeps count itself.
    Again,
}

impl Binding {
    /// The binding of a request, under the server's own names. The order of members does not count: a client may write its
    /// arguments anew for the retry.
    pub(crate) fn of(caller: &str, server: &str, method: Method, params: &RawObject) -> Self {
        let mut context = digest::Context::new(&digest::SHA256);
        for part in [caller, server, method.as_str()] {
            add(&mut context, part.as_bytes());
        }
        let mut params: Vec<_> = params.iter().filter(|(key, _)| ![INPUT_RESPONSES, REQUEST_STATE].contains(key)).collect();
        params.sort_unstable_by_key(|(key, _)| *key);
        for (key, value) in params {
            add(&mut context, key.as_bytes());
            add(&mut context, &value.in_order());
        }
        Self(context.finish())
    }
}

/// Adds a part whose end nobody can move.
fn add(context: &mut digest::Context, part: &[u8]) {
    context.update(&(part.len() as u64).to_be_bytes());
    context.update(part);
}

impl Sealer {
    /// A sealer with a key of its own.
    ///
    /// # Errors
    /// Where the system has no random numbers.
    pub(crate) fn new() -> Result<Self, ring::error::Unspecified> {
        let mut bytes = [0; 32];
        SystemRandom::new().fill(&mut bytes)?;
        let key = LessSafeKey::new(UnboundKey::new(&CHACHA20_POLY1305, &bytes)?);
        Ok(Self { key, nonces: AtomicU64::new(0) })
    }

    /// Seals a state for `holds`.
    ///
    /// # Errors
    /// Where the server's own state is too long.
    pub(crate) fn seal(&self, state: &State, binding: &Binding, holds: Duration) -> Result<RawJson, Failure> {
        let mut text = Vec::with_capacity(64);
        text.extend_from_slice(&(now() + holds.as_secs()).to_be_bytes());
        state.write(&mut text);
        let nonce = self.nonce();
        let mut sealed = nonce.to_vec();
        self.key
            .seal_in_place_append_tag(Nonce::assume_unique_for_key(nonce), Aad::from(binding.0.as_ref()), &mut text)
            .map_err(|_| Failure::internal("the state of a request could not be sealed"))?;
        sealed.append(&mut text);
        let sealed = BASE64.encode(sealed);
        if sealed.len() > LONGEST {
            let text = format!("the server's `requestState` is too long: more than {} KiB sealed", LONGEST / 1024);
            return Err(Failure::internal(text));
        }
        Ok(RawJson::string(&sealed))
    }

    /// Seals a server's own state.
    ///
    /// # Errors
    /// As [`seal`](Self::seal).
    pub(crate) fn seal_server_state(&self, state: RawJson, binding: &Binding) -> Result<RawJson, Failure> {
        self.seal(&State::Server(state), binding, SERVER_STATE_HOLDS)
    }

    /// Opens what a client brought back.
    ///
    /// # Errors
    /// `InvalidParams` where it was not sealed here for this request of this caller, or too long ago.
    pub(crate) fn open(&self, sealed: &RawJson, binding: &Binding) -> Result<State, Failure> {
        let opened = self.unseal(sealed, binding).ok_or_else(|| {
            refused(
                "`requestState` is not one that was given for this request: it was changed, belongs to another request or caller, or the \
                 gateway has been restarted since",
            )
        })?;
        let (expiry, state) = opened;
        if expiry < now() {
            return Err(refused("the time to answer is over"));
        }
        Ok(state)
    }

    fn unseal(&self, sealed: &RawJson, binding: &Binding) -> Option<(u64, State)> {
        let text = sealed.string_value().filter(|text| text.len() <= LONGEST)?;
        let mut bytes = BASE64.decode(text.as_bytes()).ok()?;
        let (nonce, sealed) = bytes.split_at_mut_checked(NONCE_LEN)?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).ok()?;
        let text = self.key.open_in_place(nonce, Aad::from(binding.0.as_ref()), sealed).ok()?;
        let (expiry, state) = text.split_first_chunk::<8>()?;
        Some((u64::from_be_bytes(*expiry), State::read(state)?))
    }

    fn nonce(&self) -> [u8; NONCE_LEN] {
        let mut nonce = [0; NONCE_LEN];
        let number = self.nonces.fetch_add(1, Ordering::Relaxed).to_be_bytes();
        nonce.iter_mut().rev().zip(number.iter().rev()).for_each(|(byte, digit)| *byte = *digit);
        nonce
    }
}

impl std::fmt::Debug for Sealer {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str("Sealer")
    }
}

impl State {
    fn write(&self, out: &mut Vec<u8>) {
        match self {
            Self::Parked { id, round } => {
                out.push(0);
                out.extend_from_slice(&id.to_be_bytes());
                out.extend_from_slice(&round.to_be_bytes());
            }
            Self::Server(state) => {
                out.push(1);
                out.extend_from_slice(state.as_bytes());
            }
            Self::Again => out.push(2),
        }
    }

    fn read(text: &[u8]) -> Option<Self> {
        let (kind, rest) = text.split_first()?;
        match kind {
            0 => {
                let (id, round) = rest.split_first_chunk::<8>()?;
                Some(Self::Parked { id: u64::from_be_bytes(*id), round: u32::from_be_bytes(round.try_into().ok()?) })
            }
            1 => Some(Self::Server(RawJson::parse(rest.to_vec()).ok()?)),
            2 if rest.is_empty() => Some(Self::Again),
            _ => None,
        }
    }
}

fn refused(why: &'static str) -> Failure {
    Failure::client(FailureKind::InvalidParams, why).with_hint("send the request anew, without `requestState`")
}

/// Seconds since 1970.
fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
    use super::*;

    const HOUR: Duration = Duration::from_secs(3600);

    fn binding(caller: &str, params: &str) -> Binding {
        at("files", caller, params)
    }

    fn at(server: &str, caller: &str, params: &str) -> Binding {
        Binding::of(caller, server, Method::ToolsCall, &RawJson::parse(params.to_owned()).unwrap().object().unwrap())
    }

    #[test]
    fn a_state_comes_back_to_its_own_request_alone() {
        let sealer = Sealer::new().unwrap();
        let own = binding("me", r#"{"name":"x","arguments":{"a":1,"b":2}}"#);
        for state in [State::Parked { id: 7, round: 2 }, State::Server(RawJson::string("theirs")), State::Again] {
            let sealed = sealer.seal(&state, &own, HOUR).unwrap();
            let retry = binding("me", r#"{"inputResponses":{},"requestState":"s","arguments":{"b":2, "a":1},"name":"x"}"#);
            assert_eq!(sealer.open(&sealed, &retry).unwrap(), state, "the order of members does not count");
            for other in [
                binding("other", r#"{"name":"x","arguments":{"a":1,"b":2}}"#),
                binding("me", r#"{"name":"y","arguments":{"a":1,"b":2}}"#),
                binding("me", r#"{"name":"x","arguments":{"a":1,"b":3}}"#),
                binding("me", r#"{"name":"x","arguments":{"a":1},"b":2}"#),
                at("other", "me", r#"{"name":"x","arguments":{"a":1,"b":2}}"#),
            ] {
                assert!(sealer.open(&sealed, &other).is_err());
            }
            assert!(Sealer::new().unwrap().open(&sealed, &own).is_err(), "another process");
        }
    }

    #[test]
    fn what_was_changed_is_refused() {
        let sealer = Sealer::new().unwrap();
        let own = binding("me", "{}");
        let sealed = sealer.seal(&State::Parked { id: 1, round: 1 }, &own, HOUR).unwrap();
        let text = sealed.string_value().unwrap().into_owned();
        for at in 0..text.len() {
            let mut changed = text.clone().into_bytes();
            changed[at] = if changed[at] == b'A' { b'B' } else { b'A' };
            let changed = RawJson::string(&String::from_utf8(changed).unwrap());
            assert!(sealer.open(&changed, &own).is_err(), "changed at {at}");
        }
        for hostile in ["", "A", "AAAA", &"A".repeat(LONGEST + 4), "\u{e9}"] {
            assert!(sealer.open(&RawJson::string(hostile), &own).is_err());
        }
        assert!(sealer.open(&RawJson::from_static("5"), &own).is_err());
    }

    #[test]
    fn what_is_late_is_refused() {
        let sealer = Sealer::new().unwrap();
        let own = binding("me", "{}");
        let mut text = 0_u64.to_be_bytes().to_vec();
        State::Again.write(&mut text);
        let nonce = sealer.nonce();
        sealer.key.seal_in_place_append_tag(Nonce::assume_unique_for_key(nonce), Aad::from(own.0.as_ref()), &mut text).unwrap();
        let sealed = RawJson::string(&BASE64.encode([nonce.as_slice(), &text].concat()));
        assert!(sealer.open(&sealed, &own).unwrap_err().public.contains("over"));
    }
}
