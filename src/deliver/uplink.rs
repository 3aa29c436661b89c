//! The connector under `object_store`: sends bodies in small pieces at the target's pace, notices when nothing moves any
//! more, and keeps what answers say beside their bodies (checksums, region, date, error code).
//!
//! There is no time limit on a request as a whole: a slow uplink is not a broken one. What is limited is the silence: how
//! long no byte may go out, how long an answer may take after the last byte, how long an answer may pause.
//!
//! It must not change what is sent, with one exception: the end of a multipart upload gets what `object_store` cannot say
//! there (`If-None-Match: *`; on Azure the attributes), signed again where the signature covers it.

use std::cell::{Cell, RefCell};
use std::error::Error as _;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use bytes::Bytes;
use hyper::body::{Body, Frame, SizeHint};
use object_store::azure::{AzureAuthorizer, AzureCredential, AzureCredentialProvider};
use object_store::client::{
    HttpClient, HttpConnector, HttpError, HttpErrorKind, HttpRequest, HttpRequestBody, HttpResponse, HttpResponseBody,
    HttpService,
};
use object_store::{ClientConfigKey, ClientOptions};
use tokio::time::Sleep;

use super::bandwidth::RateLimiter;
use super::limits::{self, LimitedBody};
use super::xml;

tokio::task_local! {
    static LAST: RefCell<Option<ResponseHead>>;
    static AT_THE_END: CompletionHeaders;
    static REQUESTS: Cell<u32>;
}

/// The head of an answer.
#[derive(Debug, Clone, Default)]
pub(super) struct ResponseHead {
    /// HTTP status.
    pub status: u16,
    /// Headers with lower-case names; several of one name are joined with commas.
    headers: Vec<(String, String)>,
    /// When it arrived, seconds since the Unix epoch.
    arrived_s: i64,
    /// The CRC-64/NVME that the request said of its body, as S3 writes it.
    pub sent_crc64: Option<String>,
    /// Whether it is not the store's, but that of a service that gives an identity its credentials.
    pub is_of_identity: bool,
}

impl ResponseHead {
    fn of(response: &HttpResponse) -> Self {
        let mut headers: Vec<(String, String)> = Vec::new();
        for (name, value) in response.headers() {
            let value = String::from_utf8_lossy(value.as_bytes()).into_owned();
            match headers.iter_mut().find(|(n, _)| n == name.as_str()) {
                Some((_, joined)) => *joined = format!("{joined},{value}"),
                None => headers.push((name.as_str().to_owned(), value)),
            }
        }
        Self {
            status: response.status().as_u16(),
            headers,
            arrived_s: jiff::Timestamp::now().as_second(),
            sent_crc64: None,
            is_of_identity: false,
        }
    }

    /// A header by its lower-case name.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(n, _)| n == name).map(|(_, v)| v.as_str())
    }

    /// How long the store asks to be left alone (`Retry-After`, RFC 9110 §10.2.3: seconds or a date), where it is busy or
    /// fails; never longer than we would wait by ourselves.
    pub fn ask_again_after(&self) -> Option<Duration> {
        if self.status != 429 && self.status < 500 {
            return None;
        }
        let asked = self.header("retry-after")?.trim();
        let seconds = asked.parse().ok().or_else(|| {
            let at_s = jiff::fmt::rfc2822::parse(asked).ok()?.timestamp().as_second();
            u64::try_from(at_s - self.arrived_s).ok()
        });
        seconds.map(|seconds| Duration::from_secs(seconds).min(ASK_AGAIN_MAX))
    }

    /// Server's clock minus ours in seconds, from the `Date` header (RFC 9110 §6.6.1).
    pub fn skew_s(&self) -> Option<i64> {
        let date = jiff::fmt::rfc2822::parse(self.header("date")?).ok()?;
        Some(date.timestamp().as_second() - self.arrived_s)
    }
}

/// Runs a call and gives back the head of the last answer it got, if the last request got one.
pub(super) async fn observed<T>(call: impl Future<Output = T>) -> (T, Option<ResponseHead>) {
    let noted = async {
        let result = call.await;
        (result, LAST.with(RefCell::take))
    };
    LAST.scope(RefCell::new(None), limits::counting(noted)).await
}

/// Runs a call and counts the requests that it took: more than one where one was tried again.
pub(super) async fn counted<T>(call: impl Future<Output = T>) -> (T, u32) {
    let noted = async {
        let result = call.await;
        (result, REQUESTS.with(Cell::get))
    };
    REQUESTS.scope(Cell::new(0), noted).await
}

fn note(answer: Option<ResponseHead>) {
    // Requests that nobody observes are nobody's loss.
    let _ = LAST.try_with(|last| *last.borrow_mut() = answer);
}

/// What the last request of a multipart upload says besides.
#[derive(Clone, Default)]
pub(super) struct CompletionHeaders {
    /// Whether it may not replace an object.
    pub is_create_only: bool,
    /// Further headers.
    pub headers: Vec<(String, String)>,
    /// Signs again what was signed without them.
    pub resigner: Option<Arc<Resigner>>,
}

impl CompletionHeaders {
    /// Runs the end of a multipart upload so that it says this.
    pub async fn around<T>(self, call: impl Future<Output = T>) -> T {
        AT_THE_END.scope(self, call).await
    }

    async fn add_to(&self, request: &mut HttpRequest) -> Result<(), HttpError> {
        let condition = self.is_create_only.then(|| ("if-none-match".to_owned(), "*".to_owned()));
        for (name, value) in self.headers.iter().cloned().chain(condition) {
            if let (Ok(name), Ok(value)) = (name.parse::<reqwest::header::HeaderName>(), value.parse()) {
                request.headers_mut().insert(name, value);
            }
        }
        match &self.resigner {
            Some(resigner) => resigner.sign(request).await,
            None => Ok(()),
        }
    }
}

/// Signs a request to Azure once more.
pub(super) struct Resigner {
    pub credentials: AzureCredentialProvider,
    pub account: String,
}

impl Resigner {
    async fn sign(&self, request: &mut HttpRequest) -> Result<(), HttpError> {
        let failed = |e| HttpError::new(HttpErrorKind::Unknown, e);
        let credential = self.credentials.get_credential().await.map_err(failed)?;
        if matches!(*credential, AzureCredential::SASToken(_)) || !request.headers().contains_key("authorization") {
            // A shared access signature does not cover headers.
            return Ok(());
        }
        request.headers_mut().remove("authorization");
        AzureAuthorizer::new(&credential, &self.account).try_authorize(request).map_err(failed)
    }
}

/// Makes clients that keep a target's pace and notice silence.
#[derive(Debug, Clone)]
pub(super) struct PacedConnector {
    /// The limit on what is sent, shared by all clients of a target.
    pub pace: Option<Arc<RateLimiter>>,
    /// How long no byte may go out, or an answer pause.
    pub stall: Duration,
}

/// A store is left alone no longer than this when it asks for it.
const ASK_AGAIN_MAX: Duration = Duration::from_secs(15 * 60);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// Bytes handed to the connection at once.
const FRAME_BYTES: usize = 128 * 1024;
/// An answer may take this many times as long as a stall: buffers in between still drain, and large uploads are put
/// together.
const ANSWER_FACTOR: u32 = 5;

impl HttpConnector for PacedConnector {
    fn connect(&self, options: &ClientOptions) -> object_store::Result<HttpClient> {
        let allows_http = options.get_config_value(&ClientConfigKey::AllowHttp).as_deref() == Some("true");
        let client = reqwest::Client::builder()
            .user_agent(concat!("aftercast/", env!("CARGO_PKG_VERSION")))
            .connect_timeout(CONNECT_TIMEOUT)
            .http1_only()
            .https_only(!allows_http)
            .no_gzip()
            .no_brotli()
            .no_zstd()
            .no_deflate();
        let client = client.build();
        let client = client.map_err(|e| object_store::Error::Generic { store: "uplink", source: Box::new(e) })?;
        Ok(HttpClient::new(PacedClient { client, uplink: self.clone() }))
    }
}

#[derive(Debug)]
struct PacedClient {
    client: reqwest::Client,
    uplink: PacedConnector,
}

type ResponseFuture<'a> = Pin<Box<dyn Future<Output = Result<HttpResponse, HttpError>> + Send + 'a>>;

impl HttpService for PacedClient {
    fn call<'s, 'a>(&'s self, request: HttpRequest) -> ResponseFuture<'a>
    where
        's: 'a,
        Self: 'a,
    {
        Box::pin(self.answer(request))
    }
}

impl PacedClient {
    async fn answer(&self, mut request: HttpRequest) -> Result<HttpResponse, HttpError> {
        note(None);
        limits::count()?;
        let _ = REQUESTS.try_with(|requests| requests.set(requests.get() + 1));
        let is_end = limits::ends_multipart(&request);
        if is_end && let Ok(at_the_end) = AT_THE_END.try_with(Clone::clone) {
            at_the_end.add_to(&mut request).await?;
        }
        let sent_crc64 = request.headers().get("x-amz-checksum-crc64nvme").and_then(|crc| crc.to_str().ok());
        let sent_crc64 = sent_crc64.map(str::to_owned);
        let is_of_identity = asks_for_credentials(&request);
        let limit = limits::of(&request);
        let response = self.send(request).await?;
        let mut response = received(response, self.uplink.stall, limit);
        if is_end && response.status().is_success() {
            response = with_its_true_status(response).await?;
        }
        let answer = ResponseHead { sent_crc64, is_of_identity, ..ResponseHead::of(&response) };
        note(Some(answer.clone()));
        if answer.ask_again_after().is_some() {
            // `object_store` would ask again within a second, and gives up at once with what it takes for our fault.
            *response.status_mut() = reqwest::StatusCode::BAD_REQUEST;
        }
        response.extensions_mut().insert(answer);
        Ok(response)
    }

    async fn send(&self, request: HttpRequest) -> Result<reqwest::Response, HttpError> {
        let (parts, body) = request.into_parts();
        let address = parts.uri.to_string();
        let address =
            address.parse().map_err(|e| HttpError::new_boxed(HttpErrorKind::Unknown, Box::new(InvalidUrl(e))))?;
        let flow = Arc::new(RequestProgress::new(body.content_length() == 0));
        let mut sent = reqwest::Request::new(parts.method, address);
        *sent.headers_mut() = parts.headers;
        *sent.body_mut() = Some(match body.content_length() {
            0 => reqwest::Body::from(Bytes::new()),
            left => reqwest::Body::wrap(PacedBody {
                inner: body,
                piece: Bytes::new(),
                left: left as u64,
                flow: Arc::clone(&flow),
                pace: self.uplink.pace.clone(),
                nap: None,
            }),
        });
        let answer = self.client.execute(sent);
        tokio::pin!(answer);
        loop {
            let limit = if flow.is_done() { self.uplink.stall * ANSWER_FACTOR } else { self.uplink.stall };
            let silent_at = flow.moved_at() + limit;
            tokio::select! {
                answer = &mut answer => return answer.map_err(fault),
                () = tokio::time::sleep_until(silent_at.into()) => {
                    if flow.moved_at() + limit <= Instant::now() {
                        return Err(HttpError::new(HttpErrorKind::Timeout, Stalled { limit, is_sent: flow.is_done() }));
                    }
                }
            }
        }
    }
}

#[derive(Debug, thiserror::Error)]
#[error("the address cannot be used")]
struct InvalidUrl(#[source] url::ParseError);

/// Nothing moved for too long.
#[derive(Debug, thiserror::Error)]
#[error("operation timed out: {} for {} s", if *.is_sent { "no answer received" } else { "no data sent" }, .limit.as_secs())]
struct Stalled {
    limit: Duration,
    is_sent: bool,
}

/// When the last byte of a request was handed on.
#[derive(Debug)]
struct RequestProgress {
    begun: Instant,
    moved_ms: AtomicU64,
    done: AtomicBool,
}

impl RequestProgress {
    fn new(is_done: bool) -> Self {
        Self { begun: Instant::now(), moved_ms: AtomicU64::new(0), done: AtomicBool::new(is_done) }
    }

    /// Something moves now, or will after a wait for one's turn.
    fn touch(&self, wait: Duration) {
        let ms = u64::try_from((self.begun.elapsed() + wait).as_millis()).unwrap_or(u64::MAX);
        self.moved_ms.store(ms, Ordering::Relaxed);
    }

    fn moved_at(&self) -> Instant {
        self.begun + Duration::from_millis(self.moved_ms.load(Ordering::Relaxed))
    }

    fn finish(&self) {
        self.touch(Duration::ZERO);
        self.done.store(true, Ordering::Relaxed);
    }

    fn is_done(&self) -> bool {
        self.done.load(Ordering::Relaxed)
    }
}

/// A body on its way out.
struct PacedBody {
    inner: HttpRequestBody,
    piece: Bytes,
    left: u64,
    flow: Arc<RequestProgress>,
    pace: Option<Arc<RateLimiter>>,
    nap: Option<Pin<Box<Sleep>>>,
}

impl Body for PacedBody {
    type Data = Bytes;
    type Error = HttpError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, HttpError>>> {
        if let Some(nap) = &mut self.nap {
            ready!(nap.as_mut().poll(context));
            self.nap = None;
        }
        while self.piece.is_empty() {
            match ready!(Pin::new(&mut self.inner).poll_frame(context)) {
                Some(Ok(frame)) => self.piece = frame.into_data().unwrap_or_default(),
                Some(Err(error)) => return Poll::Ready(Some(Err(error))),
                None => return Poll::Ready(None),
            }
        }
        let len = self.piece.len().min(FRAME_BYTES);
        let piece = self.piece.split_to(len);
        self.left = self.left.saturating_sub(len as u64);
        let wait = self.pace.as_ref().map_or(Duration::ZERO, |pace| pace.take_now(len as u64));
        if !wait.is_zero() {
            self.nap = Some(Box::pin(tokio::time::sleep(wait)));
        }
        if self.left == 0 {
            self.flow.finish();
        } else {
            self.flow.touch(wait);
        }
        Poll::Ready(Some(Ok(Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        self.left == 0
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left)
    }
}

/// The body of an answer, which may not pause for too long.
struct TimedBody {
    inner: reqwest::Body,
    stall: Duration,
    nap: Pin<Box<Sleep>>,
}

fn received(response: reqwest::Response, stall: Duration, limit: u64) -> HttpResponse {
    let response: hyper::http::Response<reqwest::Body> = response.into();
    let nap = Box::pin(tokio::time::sleep(stall));
    let is_success = response.status().is_success();
    response.map(|inner| HttpResponseBody::new(LimitedBody::new(TimedBody { inner, stall, nap }, is_success, limit)))
}

impl Body for TimedBody {
    type Data = Bytes;
    type Error = HttpError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, HttpError>>> {
        let stall = self.stall;
        if let Poll::Ready(frame) = Pin::new(&mut self.inner).poll_frame(context) {
            self.nap.as_mut().reset(tokio::time::Instant::now() + stall);
            return Poll::Ready(frame.map(|frame| frame.map_err(fault)));
        }
        ready!(self.nap.as_mut().poll(context));
        Poll::Ready(Some(Err(HttpError::new(HttpErrorKind::Timeout, Stalled { limit: stall, is_sent: true }))))
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

/// Whether a request goes to a service that gives credentials. All requests of a client come by here, those of `object_store`
/// for the credentials of an identity as well.
fn asks_for_credentials(request: &HttpRequest) -> bool {
    let (path, query) = (request.uri().path(), request.uri().query());
    let is_form = request.method() == "POST" && query.is_none();
    (is_form && ["/oauth2/v2.0/token", "/o/oauth2/token"].iter().any(|end| path.ends_with(end)))
        || query.is_some_and(|query| query.split('&').any(|q| q == "Action=AssumeRoleWithWebIdentity"))
}

/// The end of an upload may be answered with 200 before it is done, and the error then stands in the body (S3's
/// `CompleteMultipartUpload`): such an answer gets the status that it would have had.
async fn with_its_true_status(response: HttpResponse) -> Result<HttpResponse, HttpError> {
    let (mut head, body) = response.into_parts();
    let body = body.bytes().await?;
    let text = String::from_utf8_lossy(&body);
    if xml::has(&text, "Error") {
        let code = xml::text_of(&text, "Code").unwrap_or_default();
        head.status = match code.as_str() {
            "InternalError" => reqwest::StatusCode::INTERNAL_SERVER_ERROR,
            "SlowDown" | "ServiceUnavailable" => reqwest::StatusCode::SERVICE_UNAVAILABLE,
            "AccessDenied" => reqwest::StatusCode::FORBIDDEN,
            "NoSuchUpload" | "NoSuchBucket" | "NoSuchKey" => reqwest::StatusCode::NOT_FOUND,
            "PreconditionFailed" | "ConditionalRequestConflict" => reqwest::StatusCode::PRECONDITION_FAILED,
            _ => reqwest::StatusCode::BAD_REQUEST,
        };
    }
    Ok(HttpResponse::from_parts(head, body.into()))
}

/// What kind of failure it was: what may be retried follows from it.
fn fault(error: reqwest::Error) -> HttpError {
    let kind = match () {
        () if error.is_timeout() => HttpErrorKind::Timeout,
        () if error.is_connect() => HttpErrorKind::Connect,
        () if error.is_decode() => HttpErrorKind::Decode,
        () => kind_of_chain(&error),
    };
    HttpError::new(kind, error.without_url())
}

fn kind_of_chain(error: &reqwest::Error) -> HttpErrorKind {
    use std::io::ErrorKind as K;
    let mut next = error.source();
    while let Some(source) = next {
        if let Some(http) = source.downcast_ref::<hyper::Error>() {
            if http.is_closed() || http.is_incomplete_message() || http.is_body_write_aborted() {
                return HttpErrorKind::Request;
            }
            if http.is_timeout() {
                return HttpErrorKind::Timeout;
            }
        }
        match source.downcast_ref::<std::io::Error>().map(std::io::Error::kind) {
            Some(K::TimedOut) => return HttpErrorKind::Timeout,
            Some(K::ConnectionAborted | K::ConnectionReset | K::BrokenPipe | K::UnexpectedEof) => {
                return HttpErrorKind::Interrupted;
            }
            _ => {}
        }
        next = source.source();
    }
    HttpErrorKind::Unknown
}
