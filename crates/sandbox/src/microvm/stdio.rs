//! The program's stdin and stdout as the gateway has them: one socket, counted. A socket cannot close one way through a virtio port, so the
//! end of either way is told on the control port, by the count of bytes before it.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};

use super::control::Wishes;

/// Splits the port's socket.
pub(super) fn split(port: UnixStream, wishes: Arc<Wishes>) -> (CountedStdin, CountedStdout) {
    let (read, write) = port.into_split();
    let stdout = CountedStdout { port: read, taken: Arc::default() };
    (CountedStdin { port: Some(write), sent: 0, wishes }, stdout)
}

/// Tells when it is dropped that nothing more comes.
pub(super) struct CountedStdin {
    /// There until it is dropped.
    port: Option<OwnedWriteHalf>,
    sent: u64,
    wishes: Arc<Wishes>,
}

pub(super) struct CountedStdout {
    port: OwnedReadHalf,
    taken: Arc<AtomicU64>,
}

impl CountedStdout {
    /// How many bytes were taken.
    pub(super) fn taken(&self) -> Arc<AtomicU64> {
        self.taken.clone()
    }
}

impl AsyncWrite for CountedStdin {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let Some(port) = &mut self.port else { return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into())) };
        let written = Pin::new(port).poll_write(context, bytes);
        if let Poll::Ready(Ok(count)) = &written {
            self.sent += *count as u64;
        }
        written
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.port.as_mut().map_or(Poll::Ready(Ok(())), |port| Pin::new(port).poll_flush(context))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.wishes.end_stdin(self.sent);
        Poll::Ready(Ok(()))
    }
}

impl Drop for CountedStdin {
    fn drop(&mut self) {
        // Closing it one way would be the end of the port for the monitor.
        if let Some(port) = self.port.take() {
            port.forget();
        }
        self.wishes.end_stdin(self.sent);
    }
}

impl AsyncRead for CountedStdout {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let read = Pin::new(&mut self.port).poll_read(context, buffer);
        self.taken.fetch_add((buffer.filled().len() - before) as u64, Ordering::SeqCst);
        read
    }
}
