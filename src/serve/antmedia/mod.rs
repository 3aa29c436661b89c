//! What Ant Media Server's clients ask of its REST interface about VoDs, in its shapes: its management panels, and the back ends of
//! sites that were written for it.
//!
//! ```text
//! /{app}/rest/v2/vods/…                    one application for each root
//! /rest/v2/vods/…                          where all roots are one application
//! /rest/v2/request?_path={app}/rest/v2/…   through the panel's proxy
//! /{app}/streams/…  /{app}/previews/…      media
//! ```
//!
//! Errors are Ant Media's `Result`. Lists and counts are kept until a VoD changes: every open panel asks for both every ten seconds.

mod answering;
mod apps;
mod described;
mod request;
mod shapes;

use axum::Router;
use axum::extract::State;
use axum::http::Method;
use axum::http::request::Parts;
use axum::response::Response;
use axum::routing::{any, get};

pub(super) use self::described::document;

use self::apps::{App, Apps};
use self::request::AntMediaRequest;
use super::answering::{Service, problem};
use super::media;
use crate::operations::{Context, LocateMedia, MediaOf, Operation as _, OperationError, find_in_app};
use crate::recording::VodRecord;
use crate::recording::name::printable_text;

/// Everything that is served in Ant Media's shapes.
pub(super) fn routes() -> Router<Service> {
    let rest = any(async |State(service): State<Service>, request: Parts| answer(&service, &request).await);
    Router::new()
        .route("/rest/v2/{*rest}", rest.clone())
        .route("/{app}/rest/v2/{*rest}", rest)
        .route("/{app}/streams/{*path}", get(media_of_app))
        .route("/{app}/previews/{*path}", get(media_of_app))
}

async fn answer(service: &Service, request: &Parts) -> Response {
    let is_reading = matches!(request.method, Method::GET | Method::HEAD);
    let key = is_reading.then(|| request.uri.path_and_query().map_or("", |target| target.as_str()));
    let (config, changes) = (service.context.config(), service.context.pipeline().catalog.shared().vod_changes());
    if let Some(body) = key.and_then(|key| service.kept.get(key, &config, changes)) {
        return shapes::json(body);
    }
    let request = AntMediaRequest::of(&request.method, &request.uri);
    match answering::answer(service, &Apps::of(&config), request).await {
        Ok((body, is_list)) => {
            if let Some(key) = key.filter(|_| is_list) {
                service.kept.put(key, &config, changes, &body);
            }
            shapes::json(body)
        }
        Err(refused) => refused.response(),
    }
}

/// `/{app}/streams/…` and `/{app}/previews/…`: media by the paths that the list names, and that sites put together themselves.
async fn media_of_app(State(service): State<Service>, request: Parts) -> Response {
    let (app, path) = request::app_and_path(request.uri.path());
    let apps = Apps::of(&service.context.config());
    let found = apps.named(&app).and_then(|app| Some((app, app.media_at(&path)?)));
    match found {
        Some((app, of)) => match elsewhere(&service, app, (&path, &of)).await {
            Ok(Some(id)) => media::answer(&service, MediaOf::Vod(id), &request).await,
            Ok(None) => media::answer(&service, of, &request).await,
            Err(error) => problem(&error),
        },
        None => problem(&OperationError::not_found(format!("no VoD has the path `{}`", printable_text(&path)))),
    }
}

/// The VoD of another node that has a path of the application; none where this node has it, or nobody.
async fn elsewhere(
    service: &Service,
    app: &App,
    (path, of): (&str, &MediaOf),
) -> Result<Option<String>, OperationError> {
    if service.context.pipeline().fleet.is_none() {
        return Ok(None);
    }
    let (app, path, of) = (app.clone(), path.to_owned(), of.clone());
    let find = move |context: &Context| {
        let here = LocateMedia { of }.run(context, &mut |nothing| match nothing {});
        if here.is_ok() {
            return Ok(None);
        }
        let is_it = |vod: &VodRecord| app.file_path(vod) == path;
        let found = find_in_app(context, app.name(), &App::paths_below_roots(&path), is_it)?;
        Ok(found.map(|listed| listed.vod.vod_id))
    };
    service.ask_for(find).await
}
