//! The media of VoDs by HTTP: whole or in ranges, with entity tags, from the local file or by redirection to a copy.
//!
//! A file is found through the catalogue and opened through `durable`; no path of a request reaches the disk.

mod answers;
mod naming;
mod pictures;
mod ranges;
mod sending;

pub(super) use pictures::{POSTER, SPRITE, SPRITE_INDEX};
pub(super) use ranges::{RequestedRanges, wanted};

use std::fs::File;
use std::path::Path;

use axum::Router;
use axum::extract::{Path as InPath, State};
use axum::http::Method;
use axum::http::request::Parts;
use axum::response::Response;
use axum::routing::get;

use super::answering::{Service, problem};
use crate::durable;
use crate::operations::{
    Context, ErrorKind, LinkToCopy, LocateMedia, Media, MediaCopy, MediaElsewhere, MediaOf, Operation as _,
    OperationError, Picture,
};
use crate::recording::name::printable;

/// Where media is served by the id of its VoD.
pub(super) const PATH: &str = "/api/v1/vods/{id}/media";

/// The media and pictures of VoDs by their ids.
pub(super) fn routes() -> Router<Service> {
    Router::new().route(PATH, get(by_id)).merge(pictures::routes())
}

async fn by_id(State(service): State<Service>, InPath(id): InPath<String>, request: Parts) -> Response {
    answer(&service, MediaOf::Vod(id), &request).await
}

/// Answers GET and HEAD of media.
pub(super) async fn answer(service: &Service, of: MediaOf, request: &Parts) -> Response {
    let (as_download, head) = (is_download(request.uri.query()), request.method == Method::HEAD);
    match service.ask_for(move |context| find(context, of, as_download, head)).await {
        Ok(BodySource::File { file, media }) => {
            let mut answer = answers::file(file, &media, request, as_download);
            if media.picture.is_some() {
                let digest = media.digest.as_ref().map(|digest| digest.blake3.as_str());
                pictures::keep(&mut answer, digest, request);
            }
            answer
        }
        Ok(BodySource::Elsewhere(url)) => answers::redirect(&url),
        Ok(BodySource::OtherNode(url)) => answers::redirect_to_node(&url),
        Ok(BodySource::PictureCopy { picture, media }) => pictures::copy(service, picture, media, request).await,
        Err(error) => problem(&error),
    }
}

/// Where the bytes come from.
enum BodySource {
    File { file: File, media: Media },
    Elsewhere(String),
    OtherNode(String),
    PictureCopy { picture: Picture, media: Media },
}

fn find(context: &Context, of: MediaOf, as_download: bool, head: bool) -> Result<BodySource, OperationError> {
    let vod_id = if let MediaOf::Vod(id) = &of { Some(id.clone()) } else { None };
    let media = match (LocateMedia { of }.run(context, &mut |nothing| match nothing {}), vod_id) {
        (Ok(media), _) => media,
        (Err(error), Some(id)) if error.kind == ErrorKind::OtherNode || error.kind == ErrorKind::NotFound => {
            return elsewhere(context, &MediaElsewhere { id, as_download, head }, error);
        }
        (Err(error), _) => return Err(error),
    };
    let here = media.path.as_deref().map(open).transpose()?.flatten();
    if let Some(file) = here {
        return Ok(BodySource::File { file, media });
    }
    if let Some(picture) = media.picture {
        return Ok(BodySource::PictureCopy { picture, media });
    }
    let link = LinkToCopy { id: media.vod_id.clone(), as_download, head };
    match link.run(context, &mut |nothing| match nothing {})? {
        MediaCopy::Url(url) => Ok(BodySource::Elsewhere(url)),
        MediaCopy::File(path) => Ok(BodySource::File { file: open_copy(&path)?, media }),
    }
}

/// Media of another node.
fn elsewhere(
    context: &Context,
    wanted: &MediaElsewhere,
    unknown: OperationError,
) -> Result<BodySource, OperationError> {
    if context.pipeline().fleet.is_none() {
        return Err(unknown);
    }
    match wanted.run(context, &mut |nothing| match nothing {})? {
        MediaCopy::Url(url) => Ok(BodySource::OtherNode(url)),
        MediaCopy::File(_) => Err(unknown),
    }
}

/// The copy of a directory that is a target.
fn open_copy(path: &Path) -> Result<File, OperationError> {
    open(path)?.ok_or_else(|| OperationError::not_found(format!("{} does not exist any more", printable(path))))
}

/// `None` if there is no such file.
fn open(path: &Path) -> Result<Option<File>, OperationError> {
    match durable::open_to_read(path) {
        Ok(file) => Ok(Some(file)),
        Err(error) if error.is_missing() => Ok(None),
        Err(error) => Err(OperationError::in_one_line(&error)),
    }
}

fn is_download(query: Option<&str>) -> bool {
    let parameters = serde_urlencoded::from_str::<Vec<(String, String)>>(query.unwrap_or_default());
    let asks = |(name, value): &(String, String)| name == "download" && !matches!(value.as_str(), "0" | "false");
    parameters.is_ok_and(|parameters| parameters.iter().any(asks))
}
