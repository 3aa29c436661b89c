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
use serde::de::DeserializeOwned;

use super::answering::{Service, problem};
use crate::fault::chain;
use crate::operations::{self, Context, MakeClip, OperationError};
use file::{Served, serve};

/// The routes of this module.
pub(super) fn routes() -> Router<Service> {
    Router::new()
        .route("/api/v1/streams/{id}/clip", get(clip))
        .route("/list", get(mediamtx::list))
        .route("/get", get(mediamtx::get))
}

async fn clip(State(service): State<Service>, request: Request) -> Response {
    match clipped(&service, request).await {
        Ok(response) => response,
        Err(error) => problem(&error),
    }
}

async fn clipped(service: &Service, request: Request) -> Result<Response, OperationError> {
    let (mut parts, _) = request.into_parts();
    let in_path = RawPathParams::from_request_parts(&mut parts, &()).await.map_err(|e| not_understood(&e))?;
    let in_path: Vec<_> = in_path.iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
    let wish: MakeClip = arguments(in_path, parts.uri.query().unwrap_or_default())?;
    let asked = wish.asked()?;
    let name = wish.download.as_deref().filter(|flag| *flag != "0").map(|_| file::name_of(&asked));
    let clip = made(service, move |context| operations::clip(context, &asked)).await?;
    Ok(serve(Served { clip, name, headers: &parts.headers }))
}

/// Arguments out of the path and the query.
fn arguments<T: DeserializeOwned>(mut known: Vec<(String, String)>, query: &str) -> Result<T, OperationError> {
    known.extend(serde_urlencoded::from_str::<Vec<(String, String)>>(query).map_err(|e| not_understood(&e))?);
    let text = serde_urlencoded::to_string(&known).map_err(|e| not_understood(&e))?;
    serde_urlencoded::from_str(&text).map_err(|e| not_understood(&e))
}

fn not_understood(error: &dyn std::error::Error) -> OperationError {
    OperationError::invalid(format!("the request is not understood: {}", chain(error)))
}

/// Runs what blocks beside the connections; it counts as one of the operations at once.
async fn made<T: Send + 'static>(
    service: &Service,
    work: impl FnOnce(&Context) -> Result<T, OperationError> + Send + 'static,
) -> Result<T, OperationError> {
    let busy = |_| OperationError::transient("too many operations at once").with_next_step("Try again later.");
    let permit = service.operations.clone().try_acquire_owned().map_err(busy)?;
    let context = service.context.for_request();
    let task = tokio::task::spawn_blocking(move || {
        let made = work(&context);
        drop(permit);
        made
    });
    let fault =
        |_| OperationError::internal("the operation failed; please report it with the lines of the daemon's log");
    task.await.map_err(fault)?
}

/// A header as text.
fn text<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name).and_then(|value| value.to_str().ok())
}
