//! Reads the body of a request, bounded.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt as _;
use hyper::body::{Body as _, Incoming};
use sallyport_protocol::{Failure, FailureKind};

/// Bodies up to this size are copied out of the connection's read buffer: while a part of that lives, the connection needs
/// a second one of 8 KiB, and nearly all bodies are smaller than half of it.
const COPIED: usize = 4 * 1024;

/// What is set aside at once for a body of declared length: who declares more must also send it.
const SET_ASIDE: usize = 1024 * 1024;

/// Reads bodies.
#[derive(Clone, Debug)]
pub(crate) struct Intake {
    /// Bytes of one body at most.
    pub(crate) body: usize,
    /// Bytes of all large bodies together at most.
    pub(crate) all: usize,
    pub(crate) taken: Arc<AtomicUsize>,
}

/// A large body. It counts against the bound of all bodies until the last part of it is dropped.
struct Charged {
    bytes: Bytes,
    _charge: Charge,
}

impl AsRef<[u8]> for Charged {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

struct Charge {
    taken: Arc<AtomicUsize>,
    bytes: usize,
}

impl Intake {
    pub(crate) fn new(body: usize, all: usize) -> Self {
        Self { body, all, taken: Arc::default() }
    }

    /// Reads a whole body. A large one that came in one piece is not copied.
    ///
    /// # Errors
    /// Where it is too large, all bodies together are, or the client leaves.
    pub(crate) async fn read(&self, mut body: Incoming) -> Result<Bytes, Failure> {
        let declared = body.size_hint().exact().map(|length| usize::try_from(length).unwrap_or(usize::MAX));
        if declared.is_some_and(|length| length > self.body) {
            return Err(self.too_large());
        }
        let first = next(&mut body).await?.unwrap_or_default();
        if body.is_end_stream() || declared == Some(first.len()) {
            return Ok(if first.len() <= COPIED { Bytes::copy_from_slice(&first) } else { first });
        }
        let mut charge = Charge { taken: Arc::clone(&self.taken), bytes: 0 };
        let mut all = BytesMut::with_capacity(declared.unwrap_or(0).clamp(first.len(), SET_ASIDE.max(first.len())));
        let mut piece = Some(first);
        while let Some(bytes) = piece {
            if all.len() + bytes.len() > self.body {
                return Err(self.too_large());
            }
            charge.add(bytes.len(), self.all)?;
            all.extend_from_slice(&bytes);
            piece = next(&mut body).await?;
        }
        Ok(Bytes::from_owner(Charged { bytes: all.freeze(), _charge: charge }))
    }

    fn too_large(&self) -> Failure {
        Failure::client(FailureKind::Http(413), format!("the message is larger than {} bytes", self.body))
    }
}

/// The next piece of data; trailers mean nothing here.
async fn next(body: &mut Incoming) -> Result<Option<Bytes>, Failure> {
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| Failure::client(FailureKind::Http(400), "the message broke off").with_internal(error))?;
        if let Ok(data) = frame.into_data() {
            return Ok(Some(data));
        }
    }
    Ok(None)
}

impl Charge {
    fn add(&mut self, bytes: usize, most: usize) -> Result<(), Failure> {
        let before = self.taken.fetch_add(bytes, Ordering::AcqRel);
        self.bytes += bytes;
        if before + bytes > most {
            return Err(Failure::client(FailureKind::Http(503), "too many large messages are being read"));
        }
        Ok(())
    }
}

impl Drop for Charge {
    fn drop(&mut self) {
        self.taken.fetch_sub(self.bytes, Ordering::AcqRel);
    }
}
