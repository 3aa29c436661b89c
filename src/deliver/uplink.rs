//! The connector under `object_store`: keeps what answers say beside their bodies (checksums, region, date, error code),
//! which `object_store` does not pass on.
//!
//! It must not change what is sent, with one exception: the end of a multipart upload gets `If-None-Match: *` where the
//! caller asks for it, because `object_store` has no way to say so. Progress by byte, stall detection and bandwidth limits
//! belong here when they come.

use std::cell::{Cell, RefCell};
use std::future::Future;
use std::pin::Pin;

use object_store::ClientOptions;
use object_store::client::{
    HttpClient, HttpConnector, HttpError, HttpRequest, HttpResponse, HttpService, ReqwestConnector,
};

tokio::task_local! {
    static LAST: RefCell<Option<Answer>>;
    static CREATE_ONLY: Cell<bool>;
}

/// The head of an answer.
#[derive(Debug, Clone, Default)]
pub(super) struct Answer {
    /// HTTP status.
    pub status: u16,
    /// Headers with lower-case names; several of one name are joined with commas.
    headers: Vec<(String, String)>,
    /// When it arrived, seconds since the Unix epoch.
    arrived_s: i64,
}

impl Answer {
    fn of(response: &HttpResponse) -> Self {
        let mut headers: Vec<(String, String)> = Vec::new();
        for (name, value) in response.headers() {
            let value = String::from_utf8_lossy(value.as_bytes()).into_owned();
            match headers.iter_mut().find(|(n, _)| n == name.as_str()) {
                Some((_, joined)) => *joined = format!("{joined},{value}"),
                None => headers.push((name.as_str().to_owned(), value)),
            }
        }
        Self { status: response.status().as_u16(), headers, arrived_s: jiff::Timestamp::now().as_second() }
    }

    /// A header by its lower-case name.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(n, _)| n == name).map(|(_, v)| v.as_str())
    }

    /// Server's clock minus ours in seconds, from the `Date` header (RFC 9110 §6.6.1).
    pub fn skew_s(&self) -> Option<i64> {
        let date = jiff::fmt::rfc2822::parse(self.header("date")?).ok()?;
        Some(date.timestamp().as_second() - self.arrived_s)
    }
}

/// Runs a call and gives back the head of the last answer it got, if the last request got one.
pub(super) async fn observed<T>(call: impl Future<Output = T>) -> (T, Option<Answer>) {
    let noted = async {
        let result = call.await;
        (result, LAST.with(RefCell::take))
    };
    LAST.scope(RefCell::new(None), noted).await
}

/// Runs the end of a multipart upload so that it does not replace an object.
pub(super) async fn create_only<T>(call: impl Future<Output = T>) -> T {
    CREATE_ONLY.scope(Cell::new(true), call).await
}

fn note(answer: Option<Answer>) {
    // Requests that nobody observes are nobody's loss.
    let _ = LAST.try_with(|last| *last.borrow_mut() = answer);
}

/// Makes clients that note the head of every answer.
#[derive(Debug, Default)]
pub(super) struct Uplink(ReqwestConnector);

#[derive(Debug)]
struct Service(HttpClient);

impl HttpConnector for Uplink {
    fn connect(&self, options: &ClientOptions) -> object_store::Result<HttpClient> {
        Ok(HttpClient::new(Service(self.0.connect(options)?)))
    }
}

type Answering<'a> = Pin<Box<dyn Future<Output = Result<HttpResponse, HttpError>> + Send + 'a>>;

impl HttpService for Service {
    fn call<'s, 'a>(&'s self, request: HttpRequest) -> Answering<'a>
    where
        's: 'a,
        Self: 'a,
    {
        Box::pin(self.answer(request))
    }
}

impl Service {
    async fn answer(&self, mut request: HttpRequest) -> Result<HttpResponse, HttpError> {
        note(None);
        if CREATE_ONLY.try_with(Cell::get).unwrap_or(false)
            && ends_multipart(&request)
            && let Ok(any) = "*".parse()
        {
            request.headers_mut().insert("if-none-match", any);
        }
        let mut response = self.0.execute(request).await?;
        let answer = Answer::of(&response);
        note(Some(answer.clone()));
        response.extensions_mut().insert(answer);
        Ok(response)
    }
}

fn ends_multipart(request: &HttpRequest) -> bool {
    let query = request.uri().query().unwrap_or_default();
    request.method() == "POST" && query.split('&').any(|q| q.starts_with("uploadId="))
}
