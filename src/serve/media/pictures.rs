//! The pictures of a VoD: its poster, its sprite sheet, and the `WebVTT` that belongs to the sheet.
//!
//! URLs in the `WebVTT` are relative, so that they lead to the right place behind any proxy. An URL that carries the digest of
//! its picture (`?v=`) is answered with what may be kept for ever (RFC 8246); any other is asked for again each time and
//! answered with 304 as long as the picture is the same.

use std::fs::File;
use std::time::Duration;

use axum::Router;
use axum::extract::{Path as InPath, State};
use axum::http::HeaderValue;
use axum::http::header::{CACHE_CONTROL, ETAG};
use axum::http::request::Parts;
use axum::response::Response;
use axum::routing::get;
use tokio::sync::{Semaphore, SemaphorePermit};

use super::super::answering::{Service, busy, problem};
use super::answers::{self, TAG_DIGITS};
use super::sending;
use crate::deliver::content_type;
use crate::operations::{
    Media, MediaOf, Operation as _, Picture, PictureCopy, ReadPictureCopy, ShowSpriteIndex, VERSION_DIGITS,
};

/// Where the pictures of a VoD are.
pub(in crate::serve) const POSTER: &str = "/api/v1/vods/{id}/poster";
/// Where its sprite sheet is.
pub(in crate::serve) const SPRITE: &str = "/api/v1/vods/{id}/sprite";
/// Where the `WebVTT` of the sheet is.
pub(in crate::serve) const SPRITE_INDEX: &str = "/api/v1/vods/{id}/sprite.vtt";

/// Pictures that are read from stores at once: each is in memory as a whole.
static READS: Semaphore = Semaphore::const_new(6);
/// Memory for pictures that are being sent, KiB: clients may read slowly.
static UNSENT: Semaphore = Semaphore::const_new(MOST_UNSENT_KIB);
const MOST_UNSENT_KIB: usize = 64 << 10;
/// How long a picture waits for that memory.
const UNSENT_PATIENCE: Duration = Duration::from_secs(10);

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

/// Answers with the delivered copy of a picture whose local file is freed. It is read here, because the page asks no other host for
/// anything; a browser that has it is told so without a look at the store.
pub(super) async fn copy(service: &Service, picture: Picture, media: Media, request: &Parts) -> Response {
    let digest = media.digest.as_ref().map(|digest| digest.blake3.clone());
    if let Some(known) = digest.as_deref().and_then(|digest| answers::known(digest, request)) {
        return kept(known, digest.as_deref(), request);
    }
    // Closed by nobody.
    let _turn = READS.acquire().await.ok();
    let read = ReadPictureCopy { id: media.vod_id.clone(), picture };
    let found = service.ask_for(move |context| {
        Ok(match read.run(context, &mut |nothing| match nothing {})? {
            PictureCopy::Bytes(bytes) => Found::Bytes(bytes),
            PictureCopy::File(path) => Found::File(super::open_copy(&path)?),
        })
    });
    let answer = match found.await {
        Ok(Found::Bytes(bytes)) => match memory_for(&bytes).await {
            Some(permit) => {
                answers::bytes_by(bytes, content_type(&media.name), request, |bytes| sending::held(bytes, permit))
            }
            None => return problem(&busy()),
        },
        // Its state is another one than that of the file that was freed, so it is known by its state.
        Ok(Found::File(file)) => answers::file(file, &media, request, false),
        Err(error) => return problem(&error),
    };
    kept(answer, digest.as_deref(), request)
}

/// `None` if other clients have not read theirs in time.
async fn memory_for(bytes: &[u8]) -> Option<SemaphorePermit<'static>> {
    let kib = u32::try_from(bytes.len().div_ceil(1 << 10)).ok()?;
    tokio::time::timeout(UNSENT_PATIENCE, UNSENT.acquire_many(kib)).await.ok()?.ok()
}

enum Found {
    Bytes(Vec<u8>),
    File(File),
}

fn kept(mut answer: Response, digest: Option<&str>, request: &Parts) -> Response {
    keep(&mut answer, digest, request);
    answer
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
    let mut answer = answers::bytes(text.into_bytes(), "text/vtt; charset=utf-8", request);
    answer.headers_mut().insert(CACHE_CONTROL, ASK_AGAIN);
    answer
}

#[cfg(test)]
mod tests {
    use futures::StreamExt as _;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn pictures_that_nobody_reads_hold_a_bounded_memory() {
        let picture = vec![7; 16 << 20];
        let mut bodies = Vec::new();
        while let Some(permit) = memory_for(&picture).await {
            bodies.push(sending::held(picture.clone(), permit));
            assert!(bodies.len() * picture.len() <= MOST_UNSENT_KIB << 10);
        }
        assert_eq!(bodies.len(), 4);
        let mut read = bodies.pop().unwrap().into_data_stream();
        let mut length = 0;
        while let Some(piece) = read.next().await {
            length += piece.unwrap().len();
        }
        assert_eq!(length, picture.len());
        assert!(memory_for(&picture).await.is_some());
    }
}
