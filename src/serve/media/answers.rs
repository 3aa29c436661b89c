//! Answers for a file: conditions first (RFC 9110 §13.2.2), then ranges.

use std::fs::File;
use std::ops::Range;
use std::time::SystemTime;

use axum::body::Body;
use axum::http::header::{
    ACCEPT_RANGES, CACHE_CONTROL, CONTENT_DISPOSITION, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, ETAG, LOCATION,
    RANGE, X_CONTENT_TYPE_OPTIONS,
};
use axum::http::request::Parts;
use axum::http::response::Builder;
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode};
use axum::response::{IntoResponse, Response};
use headers::{
    ETag, HeaderMapExt as _, IfMatch, IfModifiedSince, IfNoneMatch, IfRange, IfUnmodifiedSince, LastModified,
};
use serde_json::json;

use super::naming::attachment;
use super::ranges::{RequestedRanges, wanted};
use super::sending::{BodyPiece, body};
use crate::deliver::content_type;
use crate::durable;
use crate::operations::Media;
use crate::recording::Fingerprint;
use crate::serve::wire::PROBLEM;

/// Digits of a digest in an entity tag.
pub(super) const TAG_DIGITS: usize = 32;

/// What is sent.
struct Representation {
    file: File,
    size: u64,
    tag: ETag,
    modified: SystemTime,
    content_type: &'static str,
}

/// Sends a file, or the parts of it that are asked for.
pub(super) fn file(file: File, media: &Media, request: &Parts, as_download: bool) -> Response {
    let Some(representation) = Representation::of(file, media) else {
        return words(StatusCode::SERVICE_UNAVAILABLE, "the state of the file cannot be read").into_response();
    };
    let headers = &request.headers;
    let answer = match precondition(headers, &representation) {
        Some(status) => representation.head(status).body(Body::empty()),
        None => representation.respond(headers, request.method == Method::HEAD),
    };
    let Ok(mut answer) = answer else { return StatusCode::INTERNAL_SERVER_ERROR.into_response() };
    if as_download {
        answer.headers_mut().insert(CONTENT_DISPOSITION, attachment(&media.name));
    }
    answer
}

/// Sends what is in memory, known by its digest.
pub(super) fn bytes(bytes: Vec<u8>, content_type: &'static str, request: &Parts) -> Response {
    bytes_by(bytes, content_type, request, Body::from)
}

/// The same, with the body made of them by `body`.
pub(super) fn bytes_by(
    bytes: Vec<u8>,
    content_type: &'static str,
    request: &Parts,
    body: impl FnOnce(Vec<u8>) -> Body,
) -> Response {
    let digest = blake3::hash(&bytes).to_hex();
    if let Some(known) = known(&digest, request) {
        return known;
    }
    let (length, kind) = (HeaderValue::from(bytes.len()), HeaderValue::from_static(content_type));
    let body = if request.method == Method::HEAD { Body::empty() } else { body(bytes) };
    tagged(StatusCode::OK, &digest, ([(CONTENT_TYPE, kind), (CONTENT_LENGTH, length)], body))
}

/// The answer for a client that has what has this digest.
pub(super) fn known(digest: &str, request: &Parts) -> Option<Response> {
    let tag: ETag = tag_of(digest).parse().ok()?;
    let is_known = request.headers.typed_get::<IfNoneMatch>().is_some_and(|tags| !tags.precondition_passes(&tag));
    is_known.then(|| tagged(StatusCode::NOT_MODIFIED, digest, ()))
}

fn tag_of(digest: &str) -> String {
    format!("\"{}\"", digest.get(..TAG_DIGITS).unwrap_or(digest))
}

fn tagged(status: StatusCode, digest: &str, answer: impl IntoResponse) -> Response {
    let tag = HeaderValue::from_str(&tag_of(digest)).ok().map(|tag| (ETAG, tag));
    let mut answer = (status, answer).into_response();
    answer.headers_mut().insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    answer.headers_mut().extend(tag);
    answer
}

/// Sends the client to a copy; the address is good for some hours only.
pub(super) fn redirect(url: &str) -> Response {
    redirect_by(StatusCode::FOUND, url)
}

/// Sends the client with the same request to another node, or to the copy in a store that this one knows by another node.
pub(super) fn redirect_to_node(url: &str) -> Response {
    redirect_by(StatusCode::TEMPORARY_REDIRECT, url)
}

fn redirect_by(status: StatusCode, url: &str) -> Response {
    let Ok(location) = HeaderValue::from_str(url) else {
        return words(StatusCode::SERVICE_UNAVAILABLE, "the address of the copy is none").into_response();
    };
    (status, [(LOCATION, location), (CACHE_CONTROL, HeaderValue::from_static("no-store"))]).into_response()
}

impl Representation {
    fn of(file: File, media: &Media) -> Option<Self> {
        let metadata = file.metadata().ok()?;
        let seen = Fingerprint::of(&metadata);
        let digest = media.digest.as_ref().filter(|digest| digest.of.same_state(&seen));
        let tag = match digest {
            Some(digest) => tag_of(&digest.blake3),
            None => format!("\"{:x}-{:x}\"", seen.mtime_ns, seen.size_bytes),
        };
        let modified = metadata.modified().unwrap_or(SystemTime::UNIX_EPOCH);
        Some(Self {
            file,
            size: seen.size_bytes,
            tag: tag.parse().ok()?,
            modified,
            content_type: content_type(&media.name),
        })
    }

    fn head(&self, status: StatusCode) -> Builder {
        let mut answer = Response::builder().status(status).header(ACCEPT_RANGES, "bytes");
        if let Some(headers) = answer.headers_mut() {
            headers.typed_insert(self.tag.clone());
            headers.typed_insert(LastModified::from(self.modified));
            headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
        }
        answer
    }

    fn respond(self, headers: &HeaderMap, is_head: bool) -> axum::http::Result<Response> {
        let range = headers.get(RANGE).and_then(|range| range.to_str().ok()).filter(|_| !is_head);
        let is_same =
            |condition: IfRange| !condition.is_modified(Some(&self.tag), Some(&LastModified::from(self.modified)));
        let range = range.filter(|_| headers.typed_get::<IfRange>().is_none_or(is_same));
        let (content_type, size) = (self.content_type, self.size);
        match range.map_or(RequestedRanges::Whole, |range| wanted(range, size)) {
            RequestedRanges::Whole => {
                let answer = self.head(StatusCode::OK).header(CONTENT_TYPE, content_type);
                let answer = answer.header(CONTENT_LENGTH, size);
                answer.body(if is_head { Body::empty() } else { body(self.file, vec![BodyPiece::File(0..size)]) })
            }
            RequestedRanges::Parts(parts) if parts.len() == 1 => {
                let part = parts[0].clone();
                let answer = self.head(StatusCode::PARTIAL_CONTENT).header(CONTENT_TYPE, content_type);
                let answer = answer.header(CONTENT_RANGE, content_range(&part, size));
                let answer = answer.header(CONTENT_LENGTH, part.end - part.start);
                answer.body(body(self.file, vec![BodyPiece::File(part)]))
            }
            RequestedRanges::Parts(parts) => {
                let boundary = durable::random_id();
                let pieces = multipart(&parts, &boundary, content_type, size);
                let length: u64 = pieces.iter().map(BodyPiece::len).sum();
                let answer = self.head(StatusCode::PARTIAL_CONTENT).header(CONTENT_LENGTH, length);
                let answer = answer.header(CONTENT_TYPE, format!("multipart/byteranges; boundary={boundary}"));
                answer.body(body(self.file, pieces))
            }
            RequestedRanges::Nothing => {
                let mut answer = words(
                    StatusCode::RANGE_NOT_SATISFIABLE,
                    &format!("the file has {size} bytes and none of them is in the requested range"),
                )
                .into_response();
                answer.headers_mut().insert(CONTENT_RANGE, HeaderValue::from_str(&format!("bytes */{size}"))?);
                Ok(answer)
            }
        }
    }
}

/// The status that ends the request before anything is sent, if one does.
fn precondition(headers: &HeaderMap, now: &Representation) -> Option<StatusCode> {
    let failed = match (headers.typed_get::<IfMatch>(), headers.typed_get::<IfUnmodifiedSince>()) {
        (Some(tags), _) => !tags.precondition_passes(&now.tag),
        (None, Some(since)) => !since.precondition_passes(now.modified),
        (None, None) => false,
    };
    if failed {
        return Some(StatusCode::PRECONDITION_FAILED);
    }
    let is_known = match (headers.typed_get::<IfNoneMatch>(), headers.typed_get::<IfModifiedSince>()) {
        (Some(tags), _) => !tags.precondition_passes(&now.tag),
        (None, Some(since)) => !since.is_modified(now.modified),
        (None, None) => false,
    };
    is_known.then_some(StatusCode::NOT_MODIFIED)
}

fn content_range(part: &Range<u64>, size: u64) -> String {
    format!("bytes {}-{}/{size}", part.start, part.end.saturating_sub(1))
}

fn multipart(parts: &[Range<u64>], boundary: &str, content_type: &str, size: u64) -> Vec<BodyPiece> {
    let mut pieces = Vec::with_capacity(2 * parts.len() + 1);
    for (at, part) in parts.iter().enumerate() {
        let before = if at == 0 { "" } else { "\r\n" };
        let range = content_range(part, size);
        let head = format!("{before}--{boundary}\r\nContent-Type: {content_type}\r\nContent-Range: {range}\r\n\r\n");
        pieces.extend([BodyPiece::Text(head.into()), BodyPiece::File(part.clone())]);
    }
    pieces.push(BodyPiece::Text(format!("\r\n--{boundary}--\r\n").into()));
    pieces
}

/// An answer that says what is wrong.
fn words(status: StatusCode, detail: &str) -> impl IntoResponse + use<> {
    let title = status.canonical_reason().unwrap_or_default();
    let body = json!({ "title": title, "status": status.as_u16(), "detail": detail }).to_string();
    (status, [(CONTENT_TYPE, PROBLEM)], body)
}
