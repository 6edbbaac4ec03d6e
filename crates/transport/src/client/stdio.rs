//! Over a child's stdin and stdout.

use std::sync::Arc;

use sallyport_protocol::Failure;
use tokio::io::{AsyncRead, AsyncWrite};

use super::Options;
use super::channel::{Channel, Out};
use super::shared::{Shared, TaskGuard, Tasks};
use crate::frame::{LineError, LineReader, LineWriter, QUEUE_BYTES};

/// Opens a connection over a pair of pipes.
pub(crate) async fn open(
    read: impl AsyncRead + Send + Unpin + 'static,
    write: impl AsyncWrite + Send + Unpin + 'static,
    options: Options,
) -> Result<(Arc<Channel>, TaskGuard), Failure> {
    let limit = options.line_limit;
    let shared = Shared::new(options);
    let tasks = Tasks::default();
    let guard = TaskGuard::new(&tasks);
    let (writer, writing) = LineWriter::new(write, QUEUE_BYTES);
    // Not among the tasks that stop with the connection: what is queued is still written, then stdin is closed.
    let connection = Arc::clone(&shared);
    tokio::spawn(async move {
        if let Err(error) = writing.await {
            connection.end(&format!("its input broke: {error}")); // nothing reaches it any more, though it may go on
        }
    });
    let channel = Channel::new(shared, Out::Lines(writer), tasks.clone());
    tasks.spawn(read_lines(Arc::clone(&channel), LineReader::new(read, limit), limit));
    channel.negotiate().await?;
    Ok((channel, guard))
}

async fn read_lines(channel: Arc<Channel>, mut lines: LineReader<impl AsyncRead + Unpin>, limit: usize) {
    loop {
        match lines.next().await {
            Ok(Some(line)) => channel.take(&line),
            Ok(None) => return channel.shared().end("its output ended"),
            Err(LineError::TooLong) => channel.take_too_long(limit),
            Err(error) => return channel.shared().end(&format!("its output broke: {error}")),
        }
    }
}
