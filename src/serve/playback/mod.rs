//! Spans of a stream as files: `/api/v1/streams/{id}/clip`, and `/list` and `/get` as `MediaMTX`'s playback server has them.
//!
//! A clip has a length and a tag, so that HEAD, conditions and one range work as with a file on disk.

mod file;
mod mediamtx;
mod range;

use axum::Router;
use axum::extract::{FromRequestParts as _, RawPathParams, Request, State};
use axum::http::HeaderMap;
use axum::response::Response;
use axum::routing::get;

use super::answering::{Service, problem};
use super::wire::{arguments, not_valid};
use crate::operations::{self, MakeClip, OperationError};
use file::{ServedClip, serve};

/// Where clips are.
pub(super) const CLIP: &str = "/api/v1/streams/{id}/clip";

/// The routes of this module.
pub(super) fn routes() -> Router<Service> {
    Router::new().route(CLIP, get(clip)).route("/list", get(mediamtx::list)).route("/get", get(mediamtx::get))
}

async fn clip(State(service): State<Service>, request: Request) -> Response {
    match clipped(&service, request).await {
        Ok(response) => response,
        Err(error) => problem(&error),
    }
}

async fn clipped(service: &Service, request: Request) -> Result<Response, OperationError> {
    let (mut parts, _) = request.into_parts();
    let in_path = RawPathParams::from_request_parts(&mut parts, &()).await.map_err(|e| not_valid(&e))?;
    let in_path: Vec<_> = in_path.iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
    let wish: MakeClip = arguments(in_path, parts.uri.query().unwrap_or_default())?;
    let clip_request = wish.clip_request()?;
    let name = wish.download.as_deref().filter(|flag| *flag != "0").map(|_| file::name_of(&clip_request));
    let clip = service.ask_now(move |context| operations::clip(context, &clip_request)).await?;
    serve(service, ServedClip { clip, name, method: &parts.method, headers: &parts.headers }).await
}

/// A header as text.
fn text<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name).and_then(|value| value.to_str().ok())
}
