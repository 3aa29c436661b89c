//! From a request to an answer: which operation it is, with which arguments, and what it says in Ant Media's shape.

use std::path::PathBuf;

use axum::body::Bytes;
use axum::http::{Method, StatusCode};
use serde::Serialize;

use super::apps::{App, Apps};
use super::request::AntMediaRequest;
use super::shapes::{Broadcast, RefusedRequest, ResultJson, VersionJson, VodJson};
use crate::discover::RootOptions;
use crate::operations::{
    Context, CountVods, DeleteVod, ListedVod, MOST_SELECTED, Operation as _, OperationError, SelectVods, ShowVod,
    VodFilter, container_of, recording_of, switch_recording,
};
use crate::recording::counted;
use crate::recording::name::printable_text;
use crate::serve::answering::Service;

/// The body of an answer, and whether it is the same until a VoD changes.
pub(super) type AntMediaAnswer = Result<(Bytes, bool), RefusedRequest>;

/// Ids in one request to delete at most.
const MOST_DELETED: usize = 1000;

/// Parameters of Ant Media's switch that other servers do not have.
const UNHEARD: [&str; 2] = ["fileName", "resolutionHeight"];

/// Answers a request.
pub(super) async fn answer(service: &Service, apps: &Apps, request: AntMediaRequest) -> AntMediaAnswer {
    let path: Vec<&str> = request.path.iter().map(String::as_str).collect();
    let (is_reading, is_deleting) =
        (matches!(request.method, Method::GET | Method::HEAD), request.method == Method::DELETE);
    match &path[..] {
        ["version"] if is_reading => Ok((body(&VersionJson::THIS)?, false)),
        ["vods", "list", offset, size] if is_reading => {
            list(service, app_of(apps, &request)?, &request, (offset, size)).await
        }
        ["vods", "count"] if is_reading => count(service, app_of(apps, &request)?, None).await,
        ["vods", "count", search] if is_reading => count(service, app_of(apps, &request)?, Some(search)).await,
        ["version"] | ["vods", "count"] | ["vods", "count", _] | ["vods", "list", _, _] => {
            Err(wrong_method(&request, "GET, HEAD"))
        }
        ["vods", "list" | "count", ..] => Err(unknown()),
        ["vods", id] if is_reading => show(service, app_of(apps, &request)?, id).await,
        ["vods", id] if is_deleting => delete(service, app_of(apps, &request)?, vec![(*id).to_owned()]).await,
        ["vods", _] => Err(wrong_method(&request, "GET, HEAD, DELETE")),
        ["vods"] if is_deleting => delete(service, app_of(apps, &request)?, ids_of(&request)?).await,
        ["vods"] => Err(wrong_method(&request, "DELETE")),
        ["broadcasts", id] if is_reading => broadcast(service, app_of(apps, &request)?, id).await,
        ["broadcasts", _] => Err(wrong_method(&request, "GET, HEAD")),
        ["broadcasts", id, "recording", wanted @ ("true" | "false"), kind @ ..] if kind.len() < 2 => {
            if request.method != Method::PUT {
                return Err(wrong_method(&request, "PUT"));
            }
            if let Some(unheard) = UNHEARD.iter().find(|name| request.parameter(name).is_some()) {
                let message = format!("aftercast does not pass on `{unheard}`; ask Ant Media Server itself");
                return Err(RefusedRequest::new(StatusCode::NOT_IMPLEMENTED, message));
            }
            // The container stands in the path in an older form.
            let kind = kind.first().copied().or_else(|| request.parameter("recordType"));
            switch(service, app_of(apps, &request)?, id, *wanted == "true", kind).await
        }
        _ => Err(unknown()),
    }
}

fn unknown() -> RefusedRequest {
    let served = "vods/list/{offset}/{size}, vods/count, vods/count/{search}, vods/{id}, broadcasts/{id}, \
                  broadcasts/{id}/recording/{true|false} and version";
    RefusedRequest::new(StatusCode::NOT_FOUND, format!("aftercast has no such resource; it serves {served}"))
}

fn app_of<'a>(apps: &'a Apps, request: &AntMediaRequest) -> Result<&'a App, RefusedRequest> {
    let unknown = |message: String| RefusedRequest::new(StatusCode::NOT_FOUND, message);
    match &request.app {
        Some(name) => apps.named(name).ok_or_else(|| {
            let name = printable_text(name);
            unknown(format!("no root is the application `{name}`; name it with `app` in [[watch.root]]"))
        }),
        None => apps.only().ok_or_else(|| {
            unknown("there is not exactly one application; put its name in front: /{app}/rest/v2/…".to_owned())
        }),
    }
}

fn wrong_method(request: &AntMediaRequest, allowed: &'static str) -> RefusedRequest {
    let message = format!("this path has no method {}, only {allowed}", request.method);
    RefusedRequest { allowed: Some(allowed), ..RefusedRequest::new(StatusCode::METHOD_NOT_ALLOWED, message) }
}

async fn list(service: &Service, app: &App, request: &AntMediaRequest, (offset, size): (&str, &str)) -> AntMediaAnswer {
    let (offset, limit) = (number("offset", offset)?, number("size", size)?);
    let (stream, search) = (request.parameter("streamId"), request.parameter("search"));
    let sort = request.parameter("sort_by").unwrap_or_default();
    let (by_name, by_date) = (matches!(sort, "name" | "vodName"), matches!(sort, "date" | "creationDate"));
    let descending = (by_name || by_date) && request.parameter("order_by") == Some("desc");
    let of = filter_of(app, stream, search);
    let limit = limit.min(MOST_SELECTED);
    let vods = service.ask(SelectVods { of, by_name, descending, offset, limit }).await?;
    let vods: Vec<_> = vods.iter().map(|vod| VodJson::of(app, vod)).collect();
    Ok((body(&vods)?, is_of_this_node(service)))
}

/// The VoDs of an application; with a fleet, those of all nodes.
fn filter_of(app: &App, stream: Option<&str>, search: Option<&str>) -> VodFilter {
    let (stream, search) = (stream.map(str::to_owned), search.map(str::to_owned));
    VodFilter { roots: app.roots(), app: Some(app.name().to_owned()), stream, search }
}

/// Whether lists have what this node has, and are the same until one of its VoDs changes.
fn is_of_this_node(service: &Service) -> bool {
    service.context.pipeline().fleet.is_none()
}

/// A whole number of the path. What is below zero counts as zero, as Ant Media has it.
fn number(name: &str, text: &str) -> Result<usize, RefusedRequest> {
    let digits = text.strip_prefix('-').unwrap_or(text);
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        let message = format!("the {name} `{}` is not a whole number", printable_text(text));
        return Err(RefusedRequest::new(StatusCode::BAD_REQUEST, message));
    }
    let is_negative = digits.len() < text.len();
    Ok(if is_negative { 0 } else { digits.parse().unwrap_or(usize::MAX) })
}

async fn count(service: &Service, app: &App, search: Option<&str>) -> AntMediaAnswer {
    let count = service.ask(CountVods { of: filter_of(app, None, search) }).await?;
    Ok((body(&count)?, is_of_this_node(service)))
}

async fn show(service: &Service, app: &App, id: &str) -> AntMediaAnswer {
    let vod = service.ask(ShowVod { id: id.to_owned() }).await?;
    let vod = Some(vod).filter(|vod| is_in(app, vod)).ok_or_else(|| no_such_vod(id))?;
    Ok((body(&VodJson::of(app, &vod))?, false))
}

/// Whether a VoD belongs to an application. Which one a root of another node is, that node says.
fn is_in(app: &App, vod: &ListedVod) -> bool {
    match &vod.node {
        Some(node) => node.app.as_deref() == Some(app.name()),
        None => app.holds(vod),
    }
}

fn no_such_vod(id: &str) -> OperationError {
    OperationError::not_found(format!("no VoD has the id `{}`", printable_text(id)))
}

fn ids_of(request: &AntMediaRequest) -> Result<Vec<String>, RefusedRequest> {
    let ids = request.parameter("ids").unwrap_or_default().split(',').map(str::trim).filter(|id| !id.is_empty());
    let ids: Vec<_> = ids.map(str::to_owned).collect();
    match ids.len() {
        0 => Err(RefusedRequest::new(StatusCode::BAD_REQUEST, "`ids` names the VoDs to delete, separated by commas")),
        1..=MOST_DELETED => Ok(ids),
        _ => Err(RefusedRequest::new(
            StatusCode::BAD_REQUEST,
            format!("at most {MOST_DELETED} VoDs are deleted at once"),
        )),
    }
}

/// Deletes all that can be deleted; the answer is a failure if one cannot.
async fn delete(service: &Service, app: &App, ids: Vec<String>) -> AntMediaAnswer {
    let app = app.clone();
    let (deleted, failed) = service
        .ask_for(move |context| {
            let (mut deleted, mut failed) = (0usize, Vec::new());
            for id in ids {
                let shown = ShowVod { id: id.clone() }.run(context, &mut |nothing| match nothing {});
                let found = shown.and_then(|vod| if is_in(&app, &vod) { Ok(()) } else { Err(no_such_vod(&id)) });
                let operation = DeleteVod { id, ..DeleteVod::default() };
                match found.and_then(|()| operation.run(context, &mut |nothing| match nothing {})) {
                    Ok(_) => deleted += 1,
                    Err(error) => failed.push(error),
                }
            }
            Ok((deleted, failed))
        })
        .await?;
    if failed.is_empty() {
        let message = format!("{} deleted", counted(deleted as u64, "VoD"));
        return Ok((body(&ResultJson { success: true, message: Some(&message), data_id: None, error_id: 0 })?, false));
    }
    let also = if deleted == 0 { String::new() } else { format!("{deleted} deleted; ") };
    let refused: Vec<_> = failed.into_iter().map(RefusedRequest::from).collect();
    let words: Vec<_> = refused.iter().map(|refused| refused.message.as_str()).collect();
    Err(RefusedRequest::new(refused[0].status, format!("{also}{}", words.join("; "))))
}

/// The configured roots of an application.
fn roots_of(context: &Context, roots: &[PathBuf]) -> Vec<RootOptions> {
    let mut configured = context.pipeline().settings().watch.roots.clone();
    configured.retain(|root| roots.contains(&root.path));
    configured
}

async fn broadcast(service: &Service, app: &App, id: &str) -> AntMediaAnswer {
    let (roots, stream) = (app.roots(), id.to_owned());
    let told = service.ask_for(move |context| recording_of(context, &stream, &roots_of(context, &roots))).await?;
    Ok((body(&Broadcast::of(&told))?, false))
}

async fn switch(service: &Service, app: &App, id: &str, record: bool, kind: Option<&str>) -> AntMediaAnswer {
    let format = kind.map(container_of).transpose()?.unwrap_or_default();
    let (roots, stream) = (app.roots(), id.to_owned());
    let switched = service
        .ask_for(move |context| switch_recording(context, &stream, record, format, &roots_of(context, &roots)))
        .await?;
    let message = if switched.was_so { Some("it was so before") } else { None };
    Ok((body(&ResultJson { success: true, message, data_id: None, error_id: 0 })?, false))
}

fn body(value: &impl Serialize) -> Result<Bytes, RefusedRequest> {
    let written = serde_json::to_vec(value).map(Bytes::from);
    written.map_err(|error| RefusedRequest::new(StatusCode::INTERNAL_SERVER_ERROR, error.to_string()))
}
