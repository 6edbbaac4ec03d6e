//! Reads the server name out of a TLS client's first message (RFC 8446 §4.1.2, RFC 6066 §3).

use super::bytes::Bytes;
use super::name::Name;

/// The largest first message that is looked at: with post-quantum keys one has two kilobytes.
pub(super) const LONGEST_HELLO: usize = 16 * 1024;

/// What the first bytes of a connection are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Hello {
    /// Not TLS.
    Plain,
    /// The beginning of one; more is to come.
    Unfinished,
    /// A whole one that asks for this name.
    For(Name),
    /// A whole one that names nobody.
    ForNobody,
    /// Not to be understood, or in two ways.
    Malformed,
}

const HANDSHAKE_RECORD: u8 = 22;
const CLIENT_HELLO: u8 = 1;

/// Of the two bytes of length before an SSLv2 message. Old servers take a hello in that form too, and there is no name in it.
const SSL2_LENGTH: u8 = 0x80;
const SSL2_HELLO: u8 = 1;
const SERVER_NAME: u16 = 0;
const HOST_NAME: u8 = 0;

/// Looks at the bytes that a client has sent so far.
pub(super) fn read(bytes: &[u8]) -> Hello {
    match bytes.first() {
        None => Hello::Unfinished,
        Some(&HANDSHAKE_RECORD) => match message(bytes) {
            Ok(Some(message)) => client_hello(&message).unwrap_or(Hello::Malformed),
            Ok(None) if bytes.len() < LONGEST_HELLO => Hello::Unfinished,
            Ok(None) | Err(Malformed) => Hello::Malformed,
        },
        Some(first) if first & SSL2_LENGTH != 0 => match bytes.get(2) {
            None => Hello::Unfinished,
            Some(&SSL2_HELLO) => Hello::Malformed,
            Some(_) => Hello::Plain,
        },
        Some(_) => Hello::Plain,
    }
}

struct Malformed;

/// The first handshake message, which may be spread over several records; `None` while it is not there as a whole.
fn message(bytes: &[u8]) -> Result<Option<Vec<u8>>, Malformed> {
    let (mut rest, mut message) = (Bytes(bytes), Vec::new());
    while let Some(header) = rest.take(5) {
        let &[kind, major, _, high, low] = header else { return Err(Malformed) };
        let length = usize::from(u16::from_be_bytes([high, low]));
        if kind != HANDSHAKE_RECORD || major != 3 || length == 0 || length > LONGEST_HELLO {
            return Err(Malformed);
        }
        let (part, is_whole) = rest.take(length).map_or((rest.0, false), |part| (part, true));
        message.extend(part);
        if message.first().is_some_and(|kind| *kind != CLIENT_HELLO) {
            return Err(Malformed);
        }
        if let Some(&[_, a, b, c]) = message.get(..4) {
            let length = 4 + usize::from(a) * 0x1_0000 + usize::from(b) * 0x100 + usize::from(c);
            if length > LONGEST_HELLO {
                return Err(Malformed);
            }
            if message.len() >= length {
                message.truncate(length);
                return Ok(Some(message));
            }
        }
        if !is_whole {
            break;
        }
    }
    Ok(None)
}

/// `None`: malformed.
fn client_hello(message: &[u8]) -> Option<Hello> {
    let mut rest = Bytes(message);
    rest.take(4)?; // kind and length
    rest.take(2 + 32)?; // version, random
    rest.counted_by_u8()?; // session
    rest.counted_by_u16()?; // cipher suites
    rest.counted_by_u8()?; // compression
    if rest.is_empty() {
        return Some(Hello::ForNobody);
    }
    let mut extensions = rest.counted_by_u16()?;
    let mut found = None;
    while !extensions.is_empty() {
        let (kind, data) = (extensions.u16()?, extensions.counted_by_u16()?);
        if kind == SERVER_NAME {
            if found.is_some() {
                return None; // which of the two a server would take is anybody's guess
            }
            found = Some(server_name(data)?);
        }
    }
    rest.is_empty().then(|| found.map_or(Hello::ForNobody, Hello::For))
}

/// The one name in the extension.
fn server_name(mut extension: Bytes<'_>) -> Option<Name> {
    let mut list = extension.counted_by_u16()?;
    let (kind, name) = (list.u8()?, list.counted_by_u16()?);
    let alone = kind == HOST_NAME && list.is_empty() && extension.is_empty();
    Name::new(std::str::from_utf8(name.0).ok().filter(|_| alone)?)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_hello_in_the_form_of_sslv2_has_no_name_and_does_not_pass_as_plain() {
        let hello = [0x80, 46, 1, 3, 1, 0, 21, 0, 0, 0, 16, 0, 0, 0x39];
        assert_eq!(read(&hello[..2]), Hello::Unfinished);
        assert_eq!(read(&hello), Hello::Malformed);
        assert_eq!(read(&[0x80, 46, 2, 3]), Hello::Plain, "another protocol");
        assert_eq!(read(b"GET / HTTP/1.1"), Hello::Plain);
    }

    fn counted(bytes: &[u8]) -> Vec<u8> {
        [&u16::try_from(bytes.len()).unwrap().to_be_bytes()[..], bytes].concat()
    }

    fn extension(name: &[u8]) -> Vec<u8> {
        let list = counted(&[&[0][..], &counted(name)].concat());
        [&[0, 0][..], &counted(&list)].concat()
    }

    fn hello_with(extensions: &[u8]) -> Vec<u8> {
        let mut body = vec![3, 3];
        body.extend([7; 32]);
        body.extend([0, 0, 2, 0x13, 1, 1, 0]);
        body.extend(counted(extensions));
        let mut message = vec![1, 0];
        message.extend(counted(&body));
        message
    }

    fn in_records_of(message: &[u8], size: usize) -> Vec<u8> {
        message.chunks(size).flat_map(|chunk| [&[22, 3, 1][..], &counted(chunk)].concat()).collect()
    }

    fn of(extensions: &[u8]) -> Hello {
        read(&in_records_of(&hello_with(extensions), 4096))
    }

    fn named(name: &str) -> Hello {
        Hello::For(Name::new(name).unwrap())
    }

    #[test]
    fn the_name_is_found_however_it_is_cut() {
        let other = [&[0xff, 1][..], &counted(&[0])].concat();
        let message = hello_with(&[other, extension(b"API.example")].concat());
        for size in [1, 3, 5, 40, 4096] {
            let bytes = in_records_of(&message, size);
            assert_eq!(read(&bytes), named("api.example"), "records of {size}");
            for end in 0..bytes.len() {
                assert_eq!(read(&bytes[..end]), Hello::Unfinished, "{end} bytes in records of {size}");
            }
        }
    }

    #[test]
    fn without_a_name_or_with_two_it_is_for_nobody_we_know() {
        assert_eq!(of(&[]), Hello::ForNobody);
        assert_eq!(of(&[extension(b"a.example"), extension(b"b.example")].concat()), Hello::Malformed);
        let two = counted(&[&[0][..], &counted(b"a.example"), &[0], &counted(b"b.example")].concat());
        assert_eq!(of(&[&[0, 0][..], &counted(&two)].concat()), Hello::Malformed);
        for name in [&b""[..], b"a\0.example", b"127.0.0.1", b"a.example.", b"\xff"] {
            assert_eq!(of(&extension(name)), Hello::Malformed, "{name:?}");
        }
    }

    #[test]
    fn what_does_not_begin_a_handshake_is_plain_and_what_breaks_off_is_malformed() {
        for plain in [&b"GET / HTTP/1.1\r\n"[..], b"SSH-2.0-x\r\n", &[0x80, 0x2e, 4], &[21, 3, 1]] {
            assert_eq!(read(plain), Hello::Plain);
        }
        for malformed in
            [&[22, 2, 0, 0, 1, 1][..], &[22, 3, 1, 0, 0], &[22, 3, 1, 0, 1, 2], &[22, 3, 1, 0xff, 0xff], &[22, 3, 1, 0, 4, 1, 0xff, 0, 0]]
        {
            assert_eq!(read(malformed), Hello::Malformed, "{malformed:?}");
        }
        let endless = in_records_of(&[&[1, 0, 0x3f, 0xf0][..], &[0; LONGEST_HELLO]].concat(), 1);
        assert_eq!(read(&endless[..LONGEST_HELLO]), Hello::Malformed);
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_stumble(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let (whole, message) = (hello_with(&bytes), [&[22, 3, 1][..], &counted(&bytes)].concat());
            prop_assert_ne!(read(&in_records_of(&whole, 64)), Hello::Plain);
            if !bytes.is_empty() {
                prop_assert_ne!(read(&message), Hello::Plain);
            }
        }
    }
}
