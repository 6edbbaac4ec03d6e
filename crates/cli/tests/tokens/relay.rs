//! A port that leads to another one, and remembers what was sent there.

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;

/// Something to be done before an answer goes back, and the text of the request that it answers.
type Before = (String, Box<dyn FnOnce() + Send>);

/// A port on loopback whose bytes go on to wherever [`lead_to`](Self::lead_to) says. It stays until the test's process ends.
pub(crate) struct Relay {
    pub(crate) port: u16,
    listener: TcpListener,
}

/// What went through a [`Relay`].
#[derive(Clone, Default)]
pub(crate) struct Sent {
    bytes: Arc<Mutex<Vec<u8>>>,
    before: Arc<Mutex<Option<Before>>>,
}

impl Relay {
    pub(crate) fn new() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("loopback has a free port");
        let port = listener.local_addr().expect("a bound socket has an address").port();
        Self { port, listener }
    }

    /// Carries everything to `port` from now on.
    pub(crate) fn lead_to(self, port: u16) -> Sent {
        let sent = Sent::default();
        let seen = sent.clone();
        thread::spawn(move || {
            for near in self.listener.incoming().flatten() {
                let Ok(far) = TcpStream::connect(("127.0.0.1", port)) else { continue };
                let (back, forth) = (far.try_clone().expect("a socket can be copied"), near.try_clone().expect("a socket can be copied"));
                let (forwards, backwards, is_asked) = (seen.clone(), seen.clone(), Arc::new(AtomicBool::new(false)));
                let is_answered = is_asked.clone();
                thread::spawn(move || carry(near, far, |bytes| forwards.goes_on(bytes, &is_asked)));
                thread::spawn(move || carry(back, forth, |_| backwards.comes_back(&is_answered)));
            }
        });
        sent
    }
}

impl Sent {
    /// Everything that was sent so far, in the order in which it arrived.
    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.bytes.lock().unwrap()).into_owned()
    }

    /// Does something once: when the next request with this text in it has been answered, and before the answer goes back.
    pub(crate) fn before_the_answer_to(&self, request: &str, act: impl FnOnce() + Send + 'static) {
        *self.before.lock().unwrap() = Some((request.to_owned(), Box::new(act)));
    }

    fn goes_on(&self, bytes: &[u8], is_asked: &AtomicBool) {
        let text = String::from_utf8_lossy(bytes);
        if self.before.lock().unwrap().as_ref().is_some_and(|(request, _)| text.contains(request)) {
            is_asked.store(true, Ordering::Relaxed);
        }
        self.bytes.lock().unwrap().extend(bytes);
    }

    fn comes_back(&self, is_answered: &AtomicBool) {
        if !is_answered.swap(false, Ordering::Relaxed) {
            return;
        }
        // It is let go of before that is done: other requests go on meanwhile.
        let before = self.before.lock().unwrap().take();
        if let Some((_, act)) = before {
            act();
        }
    }
}

/// Until one side ends; the other is then told.
fn carry(mut from: TcpStream, mut to: TcpStream, tell: impl Fn(&[u8])) {
    let mut buffer = [0; 16 * 1024];
    while let Ok(length @ 1..) = from.read(&mut buffer) {
        tell(&buffer[..length]);
        if to.write_all(&buffer[..length]).is_err() {
            break;
        }
    }
    // Fails where it is gone already.
    let _told = to.shutdown(Shutdown::Write);
}
