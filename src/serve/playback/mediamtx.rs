//! `/list` and `/get` of `MediaMTX`'s playback server, over recordings of roots with its preset.
//!
//! The shapes are those of its `internal/playback`: times in RFC 3339, durations in seconds, errors as `{"status":"error","error":…}`.
//! Beyond it, `/get` has a length, takes HEAD and one range, and goes on behind a gap.

use axum::extract::{RawQuery, State};
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderMap, Method, StatusCode};
use axum::response::{IntoResponse as _, Response};
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use super::file::{ServedClip, serve};
use super::text;
use crate::clip::{ClipFormat, ClipRequest, TimelineSpan};
use crate::operations::{self, OperationError, format_of, time_ms};
use crate::serve::answering::{Service, problem};
use crate::serve::wire::{JSON, arguments};

/// Name of the preset.
const SERVER: &str = "mediamtx";

#[derive(Debug, Deserialize)]
struct ListQuery {
    #[serde(default)]
    path: String,
    start: Option<String>,
    end: Option<String>,
}

#[derive(Debug, Deserialize)]
struct GetQuery {
    #[serde(default)]
    path: String,
    #[serde(default)]
    start: String,
    #[serde(default)]
    duration: String,
    format: Option<String>,
}

/// A span as `/list` has it.
#[derive(Debug, Serialize)]
struct ListEntry {
    start: String,
    duration: f64,
    url: String,
}

#[derive(Debug, Serialize)]
struct ErrorBody<'a> {
    status: &'static str,
    error: &'a str,
}

/// Lists the spans of a path.
pub(super) async fn list(State(service): State<Service>, query: RawQuery, headers: HeaderMap) -> Response {
    listed(&service, query, &headers).await.unwrap_or_else(|error| refusal(&error))
}

async fn listed(service: &Service, query: RawQuery, headers: &HeaderMap) -> Result<Response, OperationError> {
    let query: ListQuery = arguments(Vec::new(), &query.0.unwrap_or_default())?;
    let bound = |name: &str, text: &Option<String>| {
        text.as_deref().filter(|text| !text.is_empty()).map(|text| time_ms(name, text)).transpose()
    };
    let start_ms = bound("start", &query.start)?.unwrap_or(i64::MIN);
    let end_ms = bound("end", &query.end)?.unwrap_or(i64::MAX);
    let clip_request = clip_request(query.path.clone(), start_ms, end_ms, ClipFormat::Fragmented)?;
    let timeline = service.ask_now(move |context| operations::spans(context, &clip_request)).await?;
    if timeline.spans.is_empty() {
        return Err(OperationError::not_found("no recording segments found"));
    }
    let base = base_of(headers);
    let entries: Vec<_> = timeline.spans.iter().map(|span| entry(&base, &query.path, span)).collect();
    Ok(json(StatusCode::OK, &entries))
}

/// Serves a span of a path.
pub(super) async fn get(
    State(service): State<Service>,
    query: RawQuery,
    method: Method,
    headers: HeaderMap,
) -> Response {
    got(&service, query, &method, &headers).await.unwrap_or_else(|error| refusal(&error))
}

async fn got(
    service: &Service,
    query: RawQuery,
    method: &Method,
    headers: &HeaderMap,
) -> Result<Response, OperationError> {
    let query: GetQuery = arguments(Vec::new(), &query.0.unwrap_or_default())?;
    let start_ms = time_ms("start", &query.start)?;
    let end_ms = start_ms.saturating_add(duration_ms(&query.duration)?);
    let named = query.format.as_deref().filter(|name| !name.is_empty());
    let format = named.map_or(Ok(ClipFormat::Fragmented), format_of)?;
    let clip_request = clip_request(query.path, start_ms, end_ms, format)?;
    let make = if named.is_some() { operations::clip } else { operations::clip_of_any_format };
    let clip = service.ask_now(move |context| make(context, &clip_request)).await?;
    serve(service, ServedClip { clip, name: None, method, headers }).await
}

fn clip_request(path: String, start_ms: i64, end_ms: i64, format: ClipFormat) -> Result<ClipRequest, OperationError> {
    if path.is_empty() {
        return Err(OperationError::invalid("`path` is missing"));
    }
    Ok(ClipRequest { stream: path, server: Some(SERVER), rendition: None, start_ms, end_ms, format })
}

/// Seconds, or a duration as Go writes it (`1h2m3.5s`), in milliseconds.
fn duration_ms(text: &str) -> Result<i64, OperationError> {
    let refused = || {
        OperationError::invalid(format!(
            "`duration` is `{}`, which is no duration",
            crate::recording::name::printable_text(text)
        ))
        .with_next_step("Use seconds, such as 10.5.")
    };
    let parsed = match text.parse::<f64>() {
        Ok(seconds) if seconds.is_finite() => SignedDuration::try_from_secs_f64(seconds).map_err(|_| refused())?,
        Ok(_) => return Err(refused()),
        Err(_) => text.parse().map_err(|_| refused())?,
    };
    i64::try_from(parsed.as_millis()).map_err(|_| refused())
}

fn entry(base: &str, path: &str, span: &TimelineSpan) -> ListEntry {
    let start = Timestamp::from_millisecond(span.start_ms).map(|at| at.to_string()).unwrap_or_default();
    let length = seconds(span.end_ms.saturating_sub(span.start_ms));
    let duration = length.parse().unwrap_or_default();
    let query = [("duration", length), ("path", path.to_owned()), ("start", start.clone())];
    let url = format!("{base}/get?{}", serde_urlencoded::to_string(query).unwrap_or_default());
    ListEntry { start, duration, url }
}

/// Milliseconds (not negative) as seconds, with no more digits than they have.
fn seconds(ms: i64) -> String {
    let text = format!("{}.{:03}", ms.div_euclid(1000), ms.rem_euclid(1000));
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// Scheme, host and prefix under which the client sees this server, as a proxy in front of it says.
fn base_of(headers: &HeaderMap) -> String {
    let is_plain = |text: &&str| {
        text.bytes().all(|byte| {
            byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b':' | b'/' | b'[' | b']' | b'~')
        })
    };
    let said = |name| text(headers, name).filter(is_plain);
    let scheme = said("x-forwarded-proto").filter(|scheme| matches!(*scheme, "http" | "https")).unwrap_or("http");
    let host = said("x-forwarded-host").or_else(|| said("host")).unwrap_or("localhost");
    let prefix = said("x-forwarded-prefix").map_or("", |prefix| prefix.trim_matches('/'));
    let slash = if prefix.is_empty() { "" } else { "/" };
    format!("{scheme}://{host}{slash}{prefix}")
}

/// An error in `MediaMTX`'s shape, with the status of our own.
fn refusal(error: &OperationError) -> Response {
    let words =
        error.next_step.as_deref().map_or_else(|| error.detail.clone(), |next| format!("{}. {next}", error.detail));
    json(problem(error).status(), &ErrorBody { status: "error", error: &words })
}

fn json(status: StatusCode, value: &impl Serialize) -> Response {
    (status, [(CONTENT_TYPE, JSON)], serde_json::to_vec(value).unwrap_or_default()).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_seconds_or_as_go_writes_them() {
        let of = |text| duration_ms(text).ok();
        assert_eq!(
            [of("10"), of("0.5"), of("-3"), of("1h2m3.5s")],
            [Some(10_000), Some(500), Some(-3000), Some(3_723_500)]
        );
        assert_eq!([of(""), of("NaN"), of("inf"), of("1e300"), of("soon")], [None; 5]);
    }

    #[test]
    fn the_base_of_urls_is_what_a_proxy_says_and_nothing_else() {
        let of = |pairs: &[(&'static str, &'static str)]| {
            base_of(&pairs.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap())).collect())
        };
        assert_eq!(of(&[]), "http://localhost");
        assert_eq!(of(&[("host", "example.com:9996")]), "http://example.com:9996");
        let proxied =
            [("host", "a"), ("x-forwarded-proto", "https"), ("x-forwarded-host", "b"), ("x-forwarded-prefix", "/vod/")];
        assert_eq!(of(&proxied), "https://b/vod");
        assert_eq!(of(&[("host", "a\"><script>"), ("x-forwarded-proto", "javascript")]), "http://localhost");
    }

    #[test]
    fn lengths_are_exact() {
        assert_eq!([0, 5, 100, 2139, 90_000].map(seconds), ["0", "0.005", "0.1", "2.139", "90"]);
        let span = TimelineSpan { start_ms: 0, end_ms: 2139, vods: Vec::new(), is_clippable: true };
        let entry = serde_json::to_value(entry("", "x", &span)).unwrap();
        assert_eq!(entry["duration"].to_string(), "2.139");
        assert_eq!(duration_ms("2.139").ok(), Some(2139));
    }

    #[test]
    fn an_entry_names_its_own_url() {
        let span = TimelineSpan {
            start_ms: 1_772_634_615_250,
            end_ms: 1_772_634_625_750,
            vods: Vec::new(),
            is_clippable: true,
        };
        let entry = entry("http://x", "cam/1 ä", &span);
        assert_eq!((&entry.start[..], entry.duration), ("2026-03-04T14:30:15.25Z", 10.5));
        let query = entry.url.strip_prefix("http://x/get?").unwrap();
        let read: GetQuery = serde_urlencoded::from_str(query).unwrap();
        assert_eq!((&read.path[..], &read.start[..], &read.duration[..]), ("cam/1 ä", &entry.start[..], "10.5"));
    }
}
