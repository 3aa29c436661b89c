//! Bytes of a file as the body of an answer: read in blocking threads, a piece ahead of what is being sent.

use std::convert::Infallible;
use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt as _;
use std::sync::{Arc, LazyLock, Mutex, PoisonError};

use axum::body::{Body, Bytes};
use futures::{StreamExt as _, stream};
use tokio::sync::SemaphorePermit;

/// Bytes read at once: few enough to stay in the processor's cache until they are sent.
const CHUNK_BYTES: usize = 256 << 10;
/// Reads under way for one answer.
const AHEAD: usize = 2;
/// Buffers that are kept for the next read.
const KEPT: usize = 16;

static FREE: LazyLock<Mutex<Vec<Box<[u8]>>>> = LazyLock::new(Mutex::default);

/// A piece of a body.
#[derive(Debug, Clone)]
pub(super) enum BodyPiece {
    /// These bytes.
    Text(Bytes),
    /// These bytes of the file.
    File(Range<u64>),
}

impl BodyPiece {
    pub(super) fn len(&self) -> u64 {
        match self {
            Self::Text(text) => text.len() as u64,
            Self::File(range) => range.end - range.start,
        }
    }
}

/// The pieces as a body. A file that becomes shorter meanwhile ends the connection.
pub(super) fn body(file: File, pieces: Vec<BodyPiece>) -> Body {
    let file = Arc::new(file);
    let chunks = pieces.into_iter().flat_map(chunks).map(move |piece| {
        let file = Arc::clone(&file);
        async move {
            match piece {
                BodyPiece::Text(text) => Ok(text),
                BodyPiece::File(range) => {
                    let read = tokio::task::spawn_blocking(move || read(&file, &range));
                    read.await.unwrap_or_else(|panicked| Err(io::Error::other(panicked)))
                }
            }
        }
    });
    Body::from_stream(stream::iter(chunks).buffered(AHEAD))
}

/// Bytes in memory as a body. The permit for that memory is kept until the last of them is handed over, at the pace of the client.
pub(super) fn held(bytes: Vec<u8>, permit: SemaphorePermit<'static>) -> Body {
    let pieces = stream::unfold((Bytes::from(bytes), permit), |(mut rest, permit)| async move {
        // Copied, so that a piece in a buffer of the connection does not keep all of them.
        let piece = Bytes::copy_from_slice(&rest.split_to(rest.len().min(CHUNK_BYTES)));
        (!piece.is_empty()).then_some((Ok::<_, Infallible>(piece), (rest, permit)))
    });
    Body::from_stream(pieces)
}

fn chunks(piece: BodyPiece) -> Box<dyn Iterator<Item = BodyPiece> + Send> {
    match piece {
        BodyPiece::Text(_) => Box::new(std::iter::once(piece)),
        BodyPiece::File(range) => {
            let starts = range.clone().step_by(CHUNK_BYTES);
            Box::new(starts.map(move |start| BodyPiece::File(start..range.end.min(start + CHUNK_BYTES as u64))))
        }
    }
}

/// A buffer that is used again once its bytes are sent.
struct PooledBuffer {
    buffer: Box<[u8]>,
    length: usize,
}

impl AsRef<[u8]> for PooledBuffer {
    fn as_ref(&self) -> &[u8] {
        &self.buffer[..self.length]
    }
}

impl Drop for PooledBuffer {
    fn drop(&mut self) {
        let mut free = FREE.lock().unwrap_or_else(PoisonError::into_inner);
        if free.len() < KEPT {
            free.push(std::mem::take(&mut self.buffer));
        }
    }
}

fn read(file: &File, range: &Range<u64>) -> io::Result<Bytes> {
    let kept = FREE.lock().unwrap_or_else(PoisonError::into_inner).pop();
    let mut buffer = kept.unwrap_or_else(|| vec![0; CHUNK_BYTES].into_boxed_slice());
    let length = usize::try_from(range.end - range.start).map_or(CHUNK_BYTES, |length| length.min(CHUNK_BYTES));
    let done = file.read_exact_at(&mut buffer[..length], range.start);
    let lent = PooledBuffer { buffer, length };
    done.map(|()| Bytes::from_owner(lent))
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    fn file(bytes: &[u8]) -> File {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(bytes).unwrap();
        file
    }

    #[tokio::test]
    async fn pieces_come_in_their_order_whole() {
        let bytes: Vec<u8> = (0..3 * CHUNK_BYTES + 77).map(|at| u8::try_from(at % 251).unwrap()).collect();
        let end = bytes.len() as u64;
        let pieces = vec![
            BodyPiece::Text("a".into()),
            BodyPiece::File(0..end),
            BodyPiece::Text("b".into()),
            BodyPiece::File(5..9),
            BodyPiece::File(7..7),
        ];
        let expected = [b"a", &bytes[..], b"b", &bytes[5..9]].concat();
        assert_eq!(pieces.iter().map(BodyPiece::len).sum::<u64>(), expected.len() as u64);
        for _ in 0..3 {
            let sent = axum::body::to_bytes(body(file(&bytes), pieces.clone()), usize::MAX).await.unwrap();
            assert!(sent == expected);
        }
    }

    #[tokio::test]
    async fn a_file_that_is_too_short_is_an_error_and_no_shorter_answer() {
        let sent = axum::body::to_bytes(body(file(b"short"), vec![BodyPiece::File(0..600_000)]), usize::MAX).await;
        assert!(sent.is_err());
    }
}
