//! A clip as the answer to GET and HEAD.

use std::io;
use std::sync::LazyLock;

use axum::body::{Body, Bytes};
use axum::http::header::{ACCEPT_RANGES, CONTENT_DISPOSITION, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, ETAG};
use axum::http::response::Builder;
use axum::http::{HeaderMap, Method, StatusCode};
use axum::response::{IntoResponse as _, Response};
use futures::stream;
use jiff::Timestamp;
use tokio::sync::Semaphore;
use tracing::warn;

use super::range::{RangeResult, ranged};
use super::text;
use crate::clip::{ClipReader, ClipRequest};
use crate::fault::chain;
use crate::operations::{MadeClip, OperationError};
use crate::serve::answering::Service;

/// Bytes that are read at once.
const BLOCK_BYTES: usize = 256 << 10;
/// Reads from object stores at once; more wait. Each takes a thread while the store is silent.
const MOST_STORE_READS: usize = 32;

static STORE_READS: LazyLock<Semaphore> = LazyLock::new(|| Semaphore::new(MOST_STORE_READS));

/// What is served.
#[derive(Debug)]
pub(super) struct ServedClip<'a> {
    /// The file.
    pub clip: MadeClip,
    /// Under which name it is to be saved, if it is.
    pub name: Option<String>,
    /// How the client asked.
    pub method: &'a Method,
    /// What the client asked.
    pub headers: &'a HeaderMap,
}

/// Answers with the clip, the range of it that was asked for, or that the client has it (RFC 9110 §13, §14). The router leaves the body out of an
/// answer to HEAD. A store that cannot be read is an error before the first byte, where the first read finds it.
pub(super) async fn serve(service: &Service, served: ServedClip<'_>) -> Result<Response, OperationError> {
    let ServedClip { clip: MadeClip { clip, stores }, name, method, headers } = served;
    let (len, tag) = (clip.len(), format!("\"{}\"", clip.etag()));
    let builder = Response::builder().header(ETAG, &tag).header(ACCEPT_RANGES, "bytes");
    if text(headers, "if-none-match").is_some_and(|tags| names(tags, &tag)) {
        return Ok(answer(builder.status(StatusCode::NOT_MODIFIED), Body::empty()));
    }
    let is_same = text(headers, "if-range").is_none_or(|known| known == tag);
    let range = match ranged(text(headers, "range").filter(|_| is_same), len) {
        RangeResult::Unsatisfiable => {
            let builder = builder.header(CONTENT_RANGE, format!("bytes */{len}"));
            return Ok(answer(builder.status(StatusCode::RANGE_NOT_SATISFIABLE), Body::empty()));
        }
        RangeResult::Part(range) => Some(range),
        RangeResult::Whole => None,
    };
    let builder = match &range {
        Some(range) => {
            let content_range = format!("bytes {}-{}/{len}", range.start, range.end - 1);
            builder.status(StatusCode::PARTIAL_CONTENT).header(CONTENT_RANGE, content_range)
        }
        None => builder.status(StatusCode::OK),
    };
    let builder = builder.header(CONTENT_TYPE, "video/mp4");
    let disposition = name.map(|name| format!("attachment; filename=\"{name}\""));
    let builder = disposition.into_iter().fold(builder, |builder, value| builder.header(CONTENT_DISPOSITION, value));
    let range = range.unwrap_or(0..len);
    let builder = builder.header(CONTENT_LENGTH, range.end - range.start);
    let mut reader = ClipReader::new(clip, stores, range);
    if *method != Method::HEAD && reader.asks_stores() {
        reader = service.ask_now(move |_| Ok(reader.begin().map(|()| reader)?)).await?;
    }
    Ok(answer(builder, body(reader)))
}

fn answer(builder: Builder, body: Body) -> Response {
    builder.body(body).unwrap_or_else(|_| StatusCode::INTERNAL_SERVER_ERROR.into_response())
}

/// Whether a list of tags has one, or is `*`; tags are compared weakly (RFC 9110 §13.1.2).
fn names(tags: &str, tag: &str) -> bool {
    let mut tags = tags.split(',').map(|known| known.trim().trim_start_matches("W/"));
    tags.any(|known| known == tag || known == "*")
}

/// The bytes, read as the client takes them. What cannot be read ends the connection: the length was promised.
fn body(reader: ClipReader) -> Body {
    Body::from_stream(stream::unfold(Some(reader), |reader| async move {
        let mut reader = reader?;
        // Threads for blocking work are few, and others need them.
        let _turn = if reader.asks_stores() { STORE_READS.acquire().await.ok() } else { None };
        let read = tokio::task::spawn_blocking(move || {
            let bytes = reader.next_bytes(BLOCK_BYTES);
            (bytes, reader)
        });
        match read.await {
            Ok((Ok(bytes), _)) if bytes.is_empty() => None,
            Ok((Ok(bytes), reader)) => Some((Ok(Bytes::from(bytes)), Some(reader))),
            Ok((Err(error), _)) => {
                warn!(error = chain(&error), "clip cut off");
                Some((Err(io::Error::other(error)), None))
            }
            Err(error) => Some((Err(io::Error::other(error)), None)),
        }
    }))
}

/// A name for a file: stream and start, without what a file system or a header cannot take.
pub(super) fn name_of(clip_request: &ClipRequest) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    let stream: String = clip_request.stream.chars().take(100).map(|c| if is_plain(c) { c } else { '_' }).collect();
    let start =
        Timestamp::from_millisecond(clip_request.start_ms).map(|at| at.strftime("%Y-%m-%d_%H-%M-%S").to_string());
    format!("{}_{}.mp4", stream.trim_start_matches('.'), start.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clip::ClipFormat;

    #[test]
    fn a_name_has_nothing_that_a_header_or_a_shell_takes_for_something_else() {
        let name = |stream: &str| {
            let (server, rendition) = (None, None);
            let start_ms = 1_772_634_615_250;
            name_of(&ClipRequest {
                stream: stream.into(),
                server,
                rendition,
                start_ms,
                end_ms: 0,
                format: ClipFormat::Mp4,
            })
        };
        assert_eq!(name("cam/1"), "cam_1_2026-03-04_14-30-15.mp4");
        assert_eq!(name("../\"\r\n;é"), "_______2026-03-04_14-30-15.mp4");
    }

    #[test]
    fn tags_are_found_in_a_list() {
        assert!(names("\"a\", W/\"b\"", "\"b\"") && names("*", "\"b\""));
        assert!(!names("\"bb\", b", "\"b\""));
    }
}
