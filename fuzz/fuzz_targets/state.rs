//! The sealed state of a request: no panic; nothing is opened but what was sealed, for the request that it was sealed for.
//!
//! The first two bytes choose what is forged; the rest is what a client brings back, what a server wants kept, and a request.
#![no_main]

use std::sync::LazyLock;
use std::time::Duration;

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use sallyport_protocol::{Method, RawJson, RawObject};

// By its path: the crate around it would have to be built whole.
#[rustfmt::skip]
#[path = "../../crates/gateway/src/questions/state.rs"]
#[allow(dead_code, reason = "the target uses what seals and opens")]
mod state;

use state::{Binding, Sealer, State};

static SEALER: LazyLock<Sealer> = LazyLock::new(|| Sealer::new().expect("the system has random numbers"));
const HOLDS: Duration = Duration::from_secs(600);

fuzz_target!(|data: &[u8]| {
    let Some(([at, flip], brought)) = data.split_first_chunk::<2>() else { return };
    let text = Bytes::copy_from_slice(brought);
    let params = RawObject::parse(&text).unwrap_or_default();
    let binding = Binding::of("caller", "server", Method::ToolsCall, &params);

    // What nobody sealed is not opened, whether it is written as JSON or as the text in it.
    let forged = RawJson::string(&String::from_utf8_lossy(brought));
    assert!(SEALER.open(&forged, &binding).is_err());
    let value = RawJson::parse(text).unwrap_or(RawJson::from_static("null"));
    assert!(SEALER.open(&value, &binding).is_err());

    for kept in [State::Again, State::Parked { id: u64::from(*at), round: u32::from(*flip) }, State::Server(value)] {
        let Ok(sealed) = SEALER.seal(&kept, &binding, HOLDS) else { continue };
        assert_eq!(SEALER.open(&sealed, &binding).expect("what was sealed is opened"), kept);
        let other = Binding::of("another", "server", Method::ToolsCall, &params);
        assert!(SEALER.open(&sealed, &other).is_err());
        assert!(SEALER.open(&changed(&sealed, *at, *flip), &binding).is_err());
    }
});

/// One character of it made another.
fn changed(sealed: &RawJson, at: u8, flip: u8) -> RawJson {
    const ALPHABET: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let mut text = sealed.string_value().expect("a sealed state is a string").into_owned().into_bytes();
    let at = usize::from(at) % text.len();
    let old = text[at];
    let step = 1 + usize::from(flip) % (ALPHABET.len() - 1);
    let position = ALPHABET.iter().position(|known| *known == old).expect("a sealed state is base64");
    text[at] = ALPHABET[(position + step) % ALPHABET.len()];
    RawJson::string(&String::from_utf8(text).expect("base64 is text"))
}
