//! The pictures of a VoD: its poster, its sprite sheet, and the `WebVTT` that belongs to the sheet.
//!
//! URLs in the `WebVTT` are relative, so that they lead to the right place behind any proxy. An URL that carries the digest of
//! its picture (`?v=`) is answered with what may be kept for ever (RFC 8246); any other is asked for again each time and
//! answered with 304 as long as the picture is the same.

use axum::Router;
use axum::body::Body;
use axum::extract::{Path as InPath, State};
use axum::http::header::{CACHE_CONTROL, CONTENT_LENGTH, CONTENT_TYPE, ETAG, IF_NONE_MATCH, X_CONTENT_TYPE_OPTIONS};
use axum::http::request::Parts;
use axum::http::{HeaderValue, Method, StatusCode};
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;

use super::super::answering::{Service, problem};
use super::answers::TAG_DIGITS;
use crate::operations::{MediaOf, Operation as _, Picture, ShowSpriteIndex, VERSION_DIGITS};

/// Where the pictures of a VoD are.
pub(in crate::serve) const POSTER: &str = "/api/v1/vods/{id}/poster";
/// Where its sprite sheet is.
pub(in crate::serve) const SPRITE: &str = "/api/v1/vods/{id}/sprite";
/// Where the `WebVTT` of the sheet is.
pub(in crate::serve) const SPRITE_INDEX: &str = "/api/v1/vods/{id}/sprite.vtt";

const FOR_EVER: HeaderValue = HeaderValue::from_static("private, max-age=31536000, immutable");
const ASK_AGAIN: HeaderValue = HeaderValue::from_static("private, no-cache");

pub(super) fn routes() -> Router<Service> {
    Router::new().route(POSTER, get(poster)).route(SPRITE, get(sprite)).route(SPRITE_INDEX, get(sprite_index))
}

async fn poster(State(service): State<Service>, InPath(id): InPath<String>, request: Parts) -> Response {
    super::answer(&service, MediaOf::Picture { id, picture: Picture::Poster }, &request).await
}

async fn sprite(State(service): State<Service>, InPath(id): InPath<String>, request: Parts) -> Response {
    super::answer(&service, MediaOf::Picture { id, picture: Picture::Sprite }, &request).await
}

/// Says how long an answer with a picture may be kept: for ever if the URL names the content that is answered.
pub(super) fn keep(answer: &mut Response, digest: Option<&str>, request: &Parts) {
    let tag = digest.and_then(|digest| digest.get(..TAG_DIGITS)).map(|digits| format!("\"{digits}\""));
    let is_that = tag.is_some_and(|tag| answer.headers().get(ETAG).is_some_and(|now| *now == *tag));
    let is_named = digest.is_some_and(|digest| names(request.uri.query(), digest));
    let kept = if is_that && is_named { FOR_EVER } else { ASK_AGAIN };
    answer.headers_mut().insert(CACHE_CONTROL, kept);
}

/// Whether a query names this content: `v` with the beginning of its digest.
fn names(query: Option<&str>, digest: &str) -> bool {
    let parameters = serde_urlencoded::from_str::<Vec<(String, String)>>(query.unwrap_or_default());
    let is_it = |(name, value): &(String, String)| {
        name == "v" && value.len() >= VERSION_DIGITS && digest.starts_with(value.as_str())
    };
    parameters.is_ok_and(|parameters| parameters.iter().any(is_it))
}

async fn sprite_index(State(service): State<Service>, InPath(id): InPath<String>, request: Parts) -> Response {
    let show = ShowSpriteIndex { id };
    match service.ask_for(move |context| show.run(context, &mut |nothing| match nothing {})).await {
        Ok(index) => text(index.text, &request),
        Err(error) => problem(&error),
    }
}

fn text(text: String, request: &Parts) -> Response {
    let digest = blake3::hash(text.as_bytes()).to_hex();
    let tag = format!("\"{}\"", &digest[..TAG_DIGITS]);
    let Ok(tag) = HeaderValue::from_str(&tag) else { return StatusCode::INTERNAL_SERVER_ERROR.into_response() };
    let is_known = request.headers.get(IF_NONE_MATCH).is_some_and(|known| *known == tag);
    let head = [(ETAG, tag), (CACHE_CONTROL, ASK_AGAIN), (X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"))];
    if is_known {
        return (StatusCode::NOT_MODIFIED, head).into_response();
    }
    let length = (CONTENT_LENGTH, HeaderValue::from(text.len()));
    let kind = (CONTENT_TYPE, HeaderValue::from_static("text/vtt; charset=utf-8"));
    let body = if request.method == Method::HEAD { Body::empty() } else { Body::from(text) };
    (head, [kind, length], body).into_response()
}
