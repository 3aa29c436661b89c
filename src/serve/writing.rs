//! How long the other side of a connection may leave what was written unread.
//!
//! A player that pauses reads nothing for minutes, and goes on. A reader of events that never reads holds one of few places: its
//! handler gives its connection a limit ([`WriteLimit`]), and the connection ends when a write has not moved for so long.

use std::future::Future as _;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Sleep, sleep};

/// The limit of a connection; there is none until one is set.
#[derive(Debug, Clone, Default)]
pub(super) struct WriteLimit(Arc<AtomicU64>);

impl WriteLimit {
    /// From now on a write that does not move for so long ends the connection.
    pub fn set(&self, limit: Duration) {
        self.0.store(u64::try_from(limit.as_millis()).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    fn get(&self) -> Option<Duration> {
        let ms = self.0.load(Ordering::Relaxed);
        (ms > 0).then(|| Duration::from_millis(ms))
    }
}

/// A connection with such a limit.
#[derive(Debug)]
pub(super) struct Written<S> {
    stream: S,
    limit: WriteLimit,
    /// Set while a write waits.
    until: Option<Pin<Box<Sleep>>>,
}

impl<S> Written<S> {
    pub const fn new(stream: S, limit: WriteLimit) -> Self {
        Self { stream, limit, until: None }
    }

    /// Passes on what a write has come to, or that it has waited for too long.
    fn in_time<T>(&mut self, context: &mut Context<'_>, written: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        let Some(limit) = self.limit.get().filter(|_| written.is_pending()) else {
            self.until = None;
            return written;
        };
        let until = self.until.get_or_insert_with(|| Box::pin(sleep(limit)));
        match until.as_mut().poll(context) {
            Poll::Ready(()) => Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, "the client does not read"))),
            Poll::Pending => Poll::Pending,
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Written<S> {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, into)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Written<S> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.in_time(context, written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(context, bytes);
        self.in_time(context, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = Pin::new(&mut self.stream).poll_flush(context);
        self.in_time(context, flushed)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, duplex};

    use super::*;

    const LONG: Duration = Duration::from_secs(3_600);

    #[tokio::test(start_paused = true)]
    async fn a_write_that_does_not_move_ends_after_the_limit_and_one_that_moves_does_not() {
        let (ours, mut theirs) = duplex(64);
        let limit = WriteLimit::default();
        let mut stream = Written::new(ours, limit.clone());
        assert!(tokio::time::timeout(LONG, stream.write_all(&[0; 100])).await.is_err(), "there is no limit");
        let mut read = [0; 64];
        theirs.read_exact(&mut read).await.unwrap();
        limit.set(Duration::from_secs(60));
        let slow = tokio::spawn(async move {
            for _ in 0..10 {
                sleep(Duration::from_secs(59)).await;
                theirs.read_exact(&mut read).await.unwrap();
            }
            theirs
        });
        stream.write_all(&[0; 64 * 10]).await.unwrap();
        let _unread = slow.await.unwrap();
        let ended = tokio::time::timeout(LONG, stream.write_all(&[0; 100])).await.unwrap();
        assert_eq!(ended.unwrap_err().kind(), io::ErrorKind::TimedOut);
    }
}
