//! Requests to an ingest server: bounded in time and size, no redirect followed, no proxy in between.

use std::path::Path;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use reqwest::header::{AUTHORIZATION, CONTENT_TYPE, HeaderValue};
use reqwest::{Client, Method};
use serde::de::DeserializeOwned;
use serde_json::Value;
use url::Url;

use super::error::ControlError;
use crate::secret;

/// How long a connection may take to come about.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a question may take.
pub(super) const ASK_TIMEOUT: Duration = Duration::from_secs(5);
/// How long an order may take. Ant Media writes the end of a recording before it answers.
pub(super) const SWITCH_TIMEOUT: Duration = Duration::from_secs(20);
/// Longest answer that is read, bytes: a list of recordings under way is the longest.
const ANSWER_BYTES: usize = 1 << 20;
/// Of an error's text so much is shown, characters.
const SHOWN_CHARS: usize = 300;

/// How the credentials become a header.
pub(super) type Authorization = fn(&str) -> String;

/// As they are: a token, or a scheme and what belongs to it.
pub(super) fn as_it_is(credentials: &str) -> String {
    credentials.to_owned()
}

/// `user:password` by Basic (RFC 7617), anything else as a bearer token (RFC 6750).
pub(super) fn basic_or_bearer(credentials: &str) -> String {
    match credentials {
        _ if credentials.contains(' ') => credentials.to_owned(),
        _ if credentials.contains(':') => basic(credentials),
        _ => format!("Bearer {credentials}"),
    }
}

/// By Basic, whether or not there is a `:` in them.
pub(super) fn basic(credentials: &str) -> String {
    if credentials.contains(' ') { credentials.to_owned() } else { format!("Basic {}", STANDARD.encode(credentials)) }
}

/// A server's interface.
pub(super) struct Http {
    client: Client,
    url: Url,
    authorization: Option<HeaderValue>,
}

/// An answer of any status.
pub(super) struct Answer {
    pub status: u16,
    pub body: Vec<u8>,
}

impl Http {
    pub(super) fn new(
        url: Url,
        credentials: Option<&Path>,
        with: Authorization,
        timeout: Duration,
    ) -> Result<Self, ControlError> {
        let client = Client::builder()
            .user_agent(concat!("aftercast/", env!("CARGO_PKG_VERSION")))
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy()
            .connect_timeout(CONNECT_TIMEOUT)
            .timeout(timeout);
        let authorization = credentials.map(|from| header(from, with)).transpose()?;
        Ok(Self { client: client.build().map_err(ControlError::Request)?, url, authorization })
    }

    /// The path that the address has of its own.
    pub(super) fn path(&self) -> &str {
        self.url.path().trim_matches('/')
    }

    /// Asks for what lies below the address. Parameters of the address itself are kept.
    pub(super) async fn ask(
        &self,
        method: Method,
        below: &[&str],
        parameters: &[(&str, &str)],
        body: Option<&Value>,
    ) -> Result<Answer, ControlError> {
        let mut request = self.client.request(method, self.address(below, parameters));
        if let Some(authorization) = &self.authorization {
            request = request.header(AUTHORIZATION, authorization);
        }
        if let Some(body) = body {
            request = request.header(CONTENT_TYPE, "application/json").body(body.to_string());
        }
        let mut response = request.send().await.map_err(failed)?;
        let (status, mut body) = (response.status().as_u16(), Vec::new());
        while let Some(chunk) = response.chunk().await.map_err(failed)? {
            if body.len() + chunk.len() > ANSWER_BYTES {
                return Err(ControlError::TooLong(ANSWER_BYTES));
            }
            body.extend_from_slice(&chunk);
        }
        Ok(Answer { status, body })
    }

    fn address(&self, below: &[&str], parameters: &[(&str, &str)]) -> Url {
        let mut url = self.url.clone();
        if let Ok(mut path) = url.path_segments_mut() {
            path.pop_if_empty().extend(below);
        }
        if !parameters.is_empty() {
            url.query_pairs_mut().extend_pairs(parameters);
        }
        url
    }
}

/// Without the address, which may hold the name of a stream that is a key.
fn failed(error: reqwest::Error) -> ControlError {
    ControlError::Request(error.without_url())
}

fn header(from: &Path, with: Authorization) -> Result<HeaderValue, ControlError> {
    let text = secret::read(from).map_err(|source| ControlError::Credentials { from: from.to_owned(), source })?;
    let bad = || ControlError::BadCredentials(from.to_owned());
    let credentials = text.lines().next().map(str::trim).filter(|line| !line.is_empty()).ok_or_else(bad)?;
    let mut header = HeaderValue::from_str(&with(credentials)).map_err(|_| bad())?;
    header.set_sensitive(true);
    Ok(header)
}

impl Answer {
    pub(super) const fn is_success(&self) -> bool {
        matches!(self.status, 200..=299)
    }

    pub(super) fn json<T: DeserializeOwned>(&self, what: &'static str) -> Result<T, ControlError> {
        serde_json::from_slice(&self.body).map_err(|_| ControlError::NotUnderstood(what))
    }

    /// The error that an answer is: with the text of one of these fields, or of the whole if it is plain.
    pub(super) fn refused(&self, fields: &[&str]) -> ControlError {
        let json: Option<Value> = serde_json::from_slice(&self.body).ok();
        let message = match &json {
            Some(json) => fields.iter().find_map(|field| json[*field].as_str()).unwrap_or_default().to_owned(),
            None => plain(&self.body),
        };
        ControlError::Refused { status: self.status, message: message.chars().take(SHOWN_CHARS).collect() }
    }
}

/// Text that is no page of HTML.
fn plain(body: &[u8]) -> String {
    let text = String::from_utf8_lossy(body);
    if text.trim_start().starts_with('<') { String::new() } else { text.trim().to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn http(url: &str) -> Http {
        Http::new(Url::parse(url).unwrap(), None, as_it_is, ASK_TIMEOUT).unwrap()
    }

    #[test]
    fn names_are_segments_whatever_is_in_them() {
        let address = |url: &str, below: &[&str]| http(url).address(below, &[("name", "a&b=c /ä")]).to_string();
        assert_eq!(
            address("http://h:5080", &["live", "x", "../y/z?#"]),
            "http://h:5080/live/x/..%2Fy%2Fz%3F%23?name=a%26b%3Dc+%2F%C3%A4"
        );
        assert_eq!(
            address("http://h/control/?rec=r1", &["record", "start"]),
            "http://h/control/record/start?rec=r1&name=a%26b%3Dc+%2F%C3%A4"
        );
    }

    #[test]
    fn credentials_become_the_header_of_each_server() {
        assert_eq!(as_it_is("eyJ.a.b"), "eyJ.a.b");
        assert_eq!(basic_or_bearer("user:hunter2"), "Basic dXNlcjpodW50ZXIy");
        assert_eq!(basic_or_bearer("eyJ.a.b"), "Bearer eyJ.a.b");
        assert_eq!(basic_or_bearer("Digest a:b"), "Digest a:b");
        assert_eq!(basic("ome-access-token"), "Basic b21lLWFjY2Vzcy10b2tlbg==");
        assert_eq!(basic("Bearer x"), "Bearer x");
    }

    #[test]
    fn credentials_are_the_first_line_and_never_in_an_error() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("credentials");
        let of = |text: &str| {
            std::fs::write(&file, text).unwrap();
            header(&file, basic_or_bearer)
        };
        let read = of(" user:hunter2 \nmore\n").unwrap();
        assert_eq!(read.to_str().unwrap(), "Basic dXNlcjpodW50ZXIy");
        assert!(!format!("{read:?}").contains("dXNl"));
        for text in ["", "\nhunter2", "Bearer hunter\u{1}2"] {
            let error = of(text).unwrap_err();
            assert!(matches!(error, ControlError::BadCredentials(_)), "{error:?}");
            assert!(!error.to_string().contains("hunter"), "{error}");
        }
        assert!(matches!(header(Path::new("env:AFTERCAST_NONE"), basic), Err(ControlError::Credentials { .. })));
    }

    #[test]
    fn an_error_has_the_servers_words_and_no_page() {
        let said = |body: &str| Answer { status: 400, body: body.into() }.refused(&["error", "message"]).to_string();
        assert_eq!(said("{\"error\":\"no\"}"), "the ingest server refused: HTTP status 400: no");
        assert_eq!(
            said("Application not found\n"),
            "the ingest server refused: HTTP status 400: Application not found"
        );
        assert_eq!(said("<html>x</html>"), "the ingest server refused: HTTP status 400");
        assert_eq!(said("{\"error\":\"\\u001b[2J\"}"), "the ingest server refused: HTTP status 400: \\u{1b}[2J");
        assert!(said(&"x".repeat(10_000)).len() < 500);
    }
}
