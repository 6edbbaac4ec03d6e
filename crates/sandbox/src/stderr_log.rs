//! What a program writes to stderr: into a bounded file that a user can read, its last lines kept for messages.

use std::collections::VecDeque;
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::io::{AsyncRead, AsyncReadExt};

/// A stack trace fits.
const TAIL_LINES: usize = 20;

/// The rest of a longer line is in the file.
const TAIL_LINE_BYTES: usize = 1024;

/// The last lines, shared with whoever asks for them.
#[derive(Clone, Default)]
pub(crate) struct Tail(Arc<Mutex<Lines>>);

#[derive(Default)]
struct Lines {
    complete: VecDeque<String>,
    current: Vec<u8>,
}

impl Tail {
    /// The last lines, an unfinished one included.
    pub(crate) fn lines(&self) -> Vec<String> {
        let lines = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let unfinished = Some(readable(&lines.current)).filter(|line| !line.is_empty());
        lines.complete.iter().cloned().chain(unfinished).collect()
    }

    fn add(&self, bytes: &[u8]) {
        let mut lines = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for piece in bytes.split_inclusive(|byte| *byte == b'\n') {
            let room = TAIL_LINE_BYTES - lines.current.len();
            let text = piece.strip_suffix(b"\n").unwrap_or(piece);
            lines.current.extend(text.iter().take(room));
            if piece.ends_with(b"\n") {
                let line = readable(&lines.current);
                lines.current.clear();
                if lines.complete.len() == TAIL_LINES {
                    lines.complete.pop_front();
                }
                lines.complete.push_back(line);
            }
        }
    }
}

/// Text without control characters: a log must not steer the terminal of whoever reads it.
fn readable(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).chars().filter(|character| !character.is_control()).collect()
}

/// Reads `stderr` to its end. The program is never held up: what cannot be written to the file is only remembered.
pub(crate) async fn drain(mut stderr: impl AsyncRead + Unpin, mut log: Log) {
    let mut buffer = vec![0; 8 * 1024];
    while let Ok(read @ 1..) = stderr.read(&mut buffer).await {
        // A short append to a local file; a page cache's worth of work.
        log.write(buffer.get(..read).unwrap_or_default());
    }
}

/// The file, if there is one, and the last lines.
pub(crate) struct Log {
    file: Option<Rotating>,
    tail: Tail,
}

impl Log {
    /// A file of at most `bytes`, and the one before it. One that cannot be opened is only told of.
    pub(crate) fn new(file: Option<PathBuf>, bytes: u64, tail: Tail) -> Self {
        let file = file.and_then(|path| match Rotating::open(&path, bytes) {
            Ok(file) => Some(file),
            Err(error) => {
                tracing::warn!(path = %path.display(), %error, "stderr of a server is not logged");
                None
            }
        });
        Self { file, tail }
    }

    /// Adds what the program wrote.
    pub(crate) fn write(&mut self, bytes: &[u8]) {
        self.tail.add(bytes);
        if let Some(Err(error)) = self.file.as_mut().map(|file| file.append(bytes)) {
            tracing::warn!(%error, "stderr of a server is not logged any more");
            self.file = None;
        }
    }
}

/// A file that becomes `FILE.1` when it is full. Several programs of one server may write to one: what is in it is looked at, and not counted.
struct Rotating {
    path: PathBuf,
    file: File,
    /// The size at which it is full.
    most: u64,
}

impl Rotating {
    fn open(path: &Path, most: u64) -> io::Result<Self> {
        let file = OpenOptions::new().append(true).create(true).mode(0o600).open(path)?;
        Ok(Self { path: path.to_path_buf(), file, most })
    }

    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        if !self.is_current()? {
            *self = Self::open(&self.path, self.most)?;
        }
        if self.file.metadata()?.len() + bytes.len() as u64 > self.most {
            let mut before = self.path.clone().into_os_string();
            before.push(".1");
            std::fs::rename(&self.path, before)?;
            *self = Self::open(&self.path, self.most)?;
        }
        self.file.write_all(bytes)
    }

    /// Whether the path still leads to the file: another program may have turned it.
    fn is_current(&self) -> io::Result<bool> {
        let (here, there) = (self.file.metadata()?, std::fs::metadata(&self.path));
        Ok(there.is_ok_and(|there| (there.dev(), there.ino()) == (here.dev(), here.ino())))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]
    use super::*;

    const FILE_BYTES: u64 = 1024 * 1024;

    #[tokio::test]
    async fn the_file_is_bounded_and_the_tail_holds_the_last_lines_without_control_characters() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("server.log");
        let mut text = vec![b'x'; 3 * 1024 * 1024];
        text.extend(b"\n\x1b[31mlast\x07 line\nunfinished");
        let tail = Tail::default();
        drain(text.as_slice(), Log::new(Some(path.clone()), FILE_BYTES, tail.clone())).await;

        let size = |path: &Path| std::fs::metadata(path).unwrap().len();
        assert!(size(&path) <= FILE_BYTES);
        assert!(size(&folder.path().join("server.log.1")) <= FILE_BYTES);
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 2);
        let lines = tail.lines();
        assert_eq!(lines.len(), 3);
        assert_eq!(lines[0].len(), TAIL_LINE_BYTES);
        assert_eq!(lines[1..], ["[31mlast line", "unfinished"]);
    }

    #[tokio::test]
    async fn only_the_last_lines_are_kept() {
        let text: String = (0..1000).map(|number| format!("line {number}\n")).collect();
        let tail = Tail::default();
        drain(text.as_bytes(), Log::new(None, FILE_BYTES, tail.clone())).await;
        let lines = tail.lines();
        assert_eq!((lines.len(), lines[0].as_str()), (TAIL_LINES, "line 980"));
    }
}
