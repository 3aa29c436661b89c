//! How much of an answer is read: a store, or whatever answers in its place, may send without an end.
//!
//! Every body of every answer passes here, whoever reads it: those of the stores and those of the services that give an
//! identity its credentials. Only the bytes of an object that we asked for may be more, and of those only as many as the
//! object has.

use std::cell::Cell;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use hyper::body::{Body, Frame, SizeHint};
use object_store::client::{HttpError, HttpErrorKind, HttpRequest};
use percent_encoding::percent_decode_str;

/// What is read of an answer at most. The longest that stores give are the pages of a list: 5,000 names of 1,024 characters.
pub(super) const ANSWER_MAX_BYTES: u64 = 16 << 20;
/// What is read of the answer to the end of a multipart upload at most: an address, a key and checksums, and the blanks that
/// a store sends while it puts the parts together.
pub(super) const END_MAX_BYTES: u64 = 256 << 10;
/// What is read of a refusal at most; its reason stands at the beginning.
pub(super) const REFUSAL_MAX_BYTES: u64 = 64 << 10;
/// Requests of one call at most: a list whose pages have no end is given up.
const REQUESTS_MAX: u32 = 1_000;

tokio::task_local! {
    static READING: (String, u64);
    static REQUESTS: Cell<u32>;
}

/// Runs a call that reads an object, of which so many bytes are expected: a few more are let through, so that it is seen
/// that there are more.
pub(super) async fn reading<T>(key: &str, size_bytes: u64, call: impl Future<Output = T>) -> T {
    READING.scope((key.to_owned(), size_bytes.saturating_add(1)), call).await
}

/// Counts the requests of a call, which may not be without an end.
pub(super) async fn counting<T>(call: impl Future<Output = T>) -> T {
    REQUESTS.scope(Cell::new(0), call).await
}

/// Counts a request; an error if its call has made too many.
pub(super) fn count() -> Result<(), HttpError> {
    let made = REQUESTS.try_with(|requests| requests.replace(requests.get() + 1)).unwrap_or_default();
    if made < REQUESTS_MAX { Ok(()) } else { Err(HttpError::new(HttpErrorKind::Decode, BodyIncomplete)) }
}

/// Whether a request ends a multipart upload.
pub(super) fn ends_multipart(request: &HttpRequest) -> bool {
    let query = request.uri().query().unwrap_or_default();
    let has = |wanted: &str| query.split('&').any(|q| q.starts_with(wanted));
    (request.method() == "POST" && has("uploadId=")) || (request.method() == "PUT" && has("comp=blocklist"))
}

/// What is read of the answer to a request at most, if it is a success.
pub(super) fn of(request: &HttpRequest) -> u64 {
    if ends_multipart(request) {
        return END_MAX_BYTES;
    }
    let path = || percent_decode_str(request.uri().path()).collect::<Vec<u8>>();
    let is_it = |key: &str| request.method() == "GET" && path().ends_with(key.as_bytes());
    let object = READING.try_with(|(key, bytes)| is_it(key).then_some(*bytes)).ok().flatten();
    object.map_or(ANSWER_MAX_BYTES, |bytes| bytes.max(ANSWER_MAX_BYTES))
}

#[derive(Debug, thiserror::Error)]
#[error("the response is longer than {0} bytes")]
struct BodyTooLong(u64);

#[derive(Debug, thiserror::Error)]
#[error("the listing does not end: {REQUESTS_MAX} pages were read")]
struct BodyIncomplete;

/// A body of which no more than so many bytes are read. What is longer is an error; of a refusal it is cut off.
pub(super) struct LimitedBody<B> {
    inner: B,
    most: u64,
    left: u64,
    is_refusal: bool,
    is_cut: bool,
}

impl<B> LimitedBody<B> {
    /// Of an answer that is a success up to some bytes, else up to [`REFUSAL_MAX_BYTES`].
    pub fn new(inner: B, is_success: bool, most: u64) -> Self {
        let most = if is_success { most } else { REFUSAL_MAX_BYTES };
        Self { inner, most, left: most, is_refusal: !is_success, is_cut: false }
    }
}

impl<B: Body<Data = Bytes, Error = HttpError> + Unpin> Body for LimitedBody<B> {
    type Data = Bytes;
    type Error = HttpError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, HttpError>>> {
        if self.is_cut {
            return Poll::Ready(None);
        }
        let frame = ready!(Pin::new(&mut self.inner).poll_frame(context));
        let Some(Ok(frame)) = frame else { return Poll::Ready(frame) };
        let Ok(mut data) = frame.into_data() else { return Poll::Ready(None) };
        let fits = data.len() as u64 <= self.left;
        if !fits {
            self.is_cut = true;
            if !self.is_refusal {
                return Poll::Ready(Some(Err(HttpError::new(HttpErrorKind::Decode, BodyTooLong(self.most)))));
            }
            data.truncate(usize::try_from(self.left).unwrap_or(usize::MAX));
        }
        self.left -= data.len() as u64;
        Poll::Ready(Some(Ok(Frame::data(data))))
    }

    fn is_end_stream(&self) -> bool {
        self.is_cut || self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        // Room is made for what is said here before a byte has come.
        let hint = self.inner.size_hint();
        if hint.lower() > self.left || hint.exact().is_none() { SizeHint::new() } else { hint }
    }
}

#[cfg(test)]
mod tests {
    use futures::StreamExt;
    use object_store::client::{HttpRequestBody, HttpResponseBody};

    use super::*;

    /// A body that never ends, in pieces of 1 KiB, and promises as much.
    struct Endless;

    impl Body for Endless {
        type Data = Bytes;
        type Error = HttpError;

        fn poll_frame(
            self: Pin<&mut Self>,
            _context: &mut Context<'_>,
        ) -> Poll<Option<Result<Frame<Bytes>, HttpError>>> {
            Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(&[b'x'; 1024])))))
        }

        fn size_hint(&self) -> SizeHint {
            SizeHint::with_exact(1 << 50)
        }
    }

    fn read(limited: LimitedBody<Endless>) -> Result<usize, HttpError> {
        let read = HttpResponseBody::new(limited).bytes();
        futures::executor::block_on(read).map(|bytes| bytes.len())
    }

    #[test]
    fn a_refusal_without_an_end_is_cut_off_and_any_other_answer_is_an_error() {
        assert_eq!(read(LimitedBody::new(Endless, false, 1 << 40)).unwrap() as u64, REFUSAL_MAX_BYTES);
        let said = crate::fault::chain(&read(LimitedBody::new(Endless, true, 5_000)).unwrap_err());
        assert!(said.contains("longer than 5000 bytes"), "{said}");
    }

    #[test]
    fn only_the_object_that_is_read_may_be_longer_than_an_answer() {
        let get = |path: &str| {
            let mut request = HttpRequest::new(HttpRequestBody::empty());
            *request.uri_mut() = format!("http://store/bucket/{path}").parse().unwrap();
            request
        };
        let limits = reading("pre/ü 1.mp4", 1 << 40, async {
            [of(&get("pre/%C3%BC%201.mp4")), of(&get("latest/meta-data")), of(&get("pre/%C3%BC%201.mp4?x=1"))]
        });
        let whole = (1 << 40) + 1;
        assert_eq!(futures::executor::block_on(limits), [whole, ANSWER_MAX_BYTES, whole]);
        assert_eq!(of(&get("pre/%C3%BC%201.mp4")), ANSWER_MAX_BYTES, "nobody reads it");
    }

    #[test]
    fn the_answer_to_the_end_of_an_upload_is_short() {
        for (method, query, expected) in [
            ("POST", "uploadId=1", END_MAX_BYTES),
            ("PUT", "timeout=1&comp=blocklist", END_MAX_BYTES),
            ("PUT", "uploadId=1&partNumber=1", ANSWER_MAX_BYTES),
            ("POST", "uploads", ANSWER_MAX_BYTES),
        ] {
            let mut request = HttpRequest::new(HttpRequestBody::empty());
            *request.method_mut() = method.parse().unwrap();
            *request.uri_mut() = format!("http://store/bucket/key?{query}").parse().unwrap();
            assert_eq!(of(&request), expected, "{method} {query}");
        }
    }

    #[test]
    fn a_list_without_an_end_is_given_up() {
        let pages = futures::stream::iter(0..REQUESTS_MAX + 9).map(|_| count());
        let read = counting(pages.take_while(|page| std::future::ready(page.is_ok())).count());
        assert_eq!(futures::executor::block_on(read), REQUESTS_MAX as usize);
    }
}
