//! `/share/{id}/{expires}/{signature}`: the media of one VoD for whoever has the link.

use axum::Router;
use axum::extract::{Path, State};
use axum::http::request::Parts;
use axum::response::Response;
use axum::routing::get;

use super::answering::{Service, problem};
use super::media;
use crate::operations::{MediaOf, OperationError, check_link};

/// Paths of links begin with it; they need no token.
const PREFIX: &str = "/share/";

/// Whether a path is that of a link: an application of Ant Media may be called `share`, too.
pub(super) fn is_link(path: &str) -> bool {
    let below = path.strip_prefix(PREFIX).unwrap_or_default();
    below.split('/').count() == 3 && below.split('/').all(|segment| !segment.is_empty())
}

pub(super) fn routes() -> Router<Service> {
    Router::new().route("/share/{id}/{expires}/{signature}", get(shared))
}

async fn shared(
    State(service): State<Service>,
    Path((id, expires, signature)): Path<(String, String, String)>,
    request: Parts,
) -> Response {
    let of = MediaOf::Vod(id.clone());
    let checked = service.ask_for(move |context| {
        let expires_ms = expires.parse().map_err(|_| OperationError::not_found("this link is not valid"))?;
        check_link(context, &id, expires_ms, &signature)
    });
    match checked.await {
        Ok(()) => media::answer(&service, of, &request).await,
        Err(error) => problem(&error),
    }
}
