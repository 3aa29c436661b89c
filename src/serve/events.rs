//! Events of the log as server-sent events (`text/event-stream`): `GET /api/v1/events`. With `node`, those of other nodes.
//!
//! Each has its sequence number as `id`, so that a client that was away goes on with `Last-Event-ID` by itself. What a client has
//! not read is not held here but read from the log when it has: one that never reads costs a page of events and its connection, and is
//! disconnected ([`UNREAD_LIMIT`]).

use std::convert::Infallible;
use std::fmt::Write as _;
use std::sync::LazyLock;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{Request, State};
use axum::http::HeaderMap;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use futures::stream;
use serde::Deserialize;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::spawn_blocking;

use super::answering::{Service, problem};
use super::fleet_events;
use super::wire::arguments;
use super::writing::WriteLimit;
use crate::announce::EventListener;
use crate::catalog::{EventPage, SharedCatalog};
use crate::operations::{EventSelection, ListFleetEvents, OperationError};
use crate::pipeline::Stop;

/// Where they are.
pub(super) const PATH: &str = "/api/v1/events";
/// Media type of server-sent events.
const STREAM: &str = "text/event-stream";
/// Time without an event after which a comment says that the connection lives.
pub(super) const HEARTBEAT: Duration = Duration::from_secs(15);
/// How long a client may take nothing of what was sent. One that was disconnected comes back with `Last-Event-ID`.
const UNREAD_LIMIT: Duration = Duration::from_secs(60);
/// Events read at once.
const PAGE: usize = 50;
/// Readers at once.
const MOST_READERS: usize = 64;

static READERS: LazyLock<std::sync::Arc<Semaphore>> =
    LazyLock::new(|| std::sync::Arc::new(Semaphore::new(MOST_READERS)));

/// Arguments in the query.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
struct Query {
    after: Option<String>,
    types: Option<String>,
    streams: Option<String>,
    node: Option<String>,
}

/// Where the stream is.
pub(super) fn routes() -> Router<Service> {
    Router::new().route(PATH, get(events))
}

/// Answers with events, from those after `Last-Event-ID` or `after` on, else with those that come.
async fn events(State(service): State<Service>, request: Request) -> Response {
    let query: Query = match arguments(Vec::new(), request.uri().query().unwrap_or_default()) {
        Ok(query) => query,
        Err(error) => return problem(&error),
    };
    let after = last_seen(request.headers()).or(query.after);
    let Ok(permit) = std::sync::Arc::clone(&READERS).try_acquire_owned() else {
        let busy = OperationError::transient("too many readers of events at once");
        return problem(&busy.with_next_step("Try again later."));
    };
    if let Some(limit) = request.extensions().get::<WriteLimit>() {
        limit.set(UNREAD_LIMIT);
    }
    if let Some(node) = query.node.filter(|node| node != "this") {
        let (types, streams, node) = (query.types, query.streams, Some(node));
        let wanted = ListFleetEvents { after, node, types, streams, ..ListFleetEvents::default() };
        return fleet_events::answer(&service, wanted, permit).await;
    }
    let read_to = match after.map(|after| after.trim().parse()) {
        Some(Ok(after)) => Ok(after),
        Some(Err(_)) => Err(OperationError::invalid("`Last-Event-ID` and `after` take the `id` of an event")),
        None => service.ask_for(|context| Ok(context.pipeline().catalog.shared().end_of_events()?.0)).await,
    };
    let read_to = match read_to {
        Ok(read_to) => read_to,
        Err(error) => return problem(&error),
    };
    let ctx = service.context.pipeline();
    let reader = EventReader {
        shared: ctx.catalog.shared().clone(),
        listener: ctx.announcer.appended().listen(),
        wanted: EventSelection::of(query.types.as_deref(), query.streams.as_deref()),
        read_to,
        stop: service.context.stop().clone(),
        _permit: permit,
    };
    follow(reader)
}

/// Who reads events for a client.
pub(super) trait EventSource: Send + 'static {
    /// The next events, or a sign of life; `None` when there will be no more.
    fn next(&mut self) -> impl Future<Output = Option<Bytes>> + Send;
}

/// Answers with what a reader finds. The first piece is sent at once: a client waits for the head of the answer.
pub(super) fn follow(reader: impl EventSource) -> Response {
    let pieces = stream::unfold((reader, true), |(mut reader, is_first)| async move {
        let piece = if is_first { Some(Bytes::from_static(b": events follow\n\n")) } else { reader.next().await };
        piece.map(|piece| (Ok::<_, Infallible>(piece), (reader, false)))
    });
    ([(CONTENT_TYPE, STREAM), (CACHE_CONTROL, "no-store")], Body::from_stream(pieces)).into_response()
}

fn last_seen(headers: &HeaderMap) -> Option<String> {
    headers.get("last-event-id").map(|id| String::from_utf8_lossy(id.as_bytes()).into_owned())
}

struct EventReader {
    shared: SharedCatalog,
    listener: EventListener,
    wanted: EventSelection,
    read_to: u64,
    stop: Stop,
    _permit: OwnedSemaphorePermit,
}

impl EventSource for EventReader {
    /// `None` when the daemon ends or the catalogue has failed.
    async fn next(&mut self) -> Option<Bytes> {
        let until = tokio::time::Instant::now() + HEARTBEAT;
        loop {
            tokio::select! {
                () = self.stop.requested() => return None,
                more = tokio::time::timeout_at(until, self.listener.after(self.read_to)) => match more {
                    // The number is told as well: a client that wants few events does not look at all others again.
                    Err(_) => return Some(format!(": alive\nid: {}\n\n", self.read_to).into()),
                    Ok(more) => more.ok()?,
                },
            }
            let (shared, after) = (self.shared.clone(), self.read_to);
            let page = spawn_blocking(move || shared.events(after, PAGE)).await.ok()?.ok()?;
            self.read_to = page.next;
            let text = self.text(&page);
            if !text.is_empty() {
                return Some(text.into());
            }
        }
    }
}

impl EventReader {
    fn text(&self, page: &EventPage) -> String {
        let mut text = String::new();
        if page.lost > 0 {
            let _ = write!(text, "event: lost\ndata: {{\"lost\":{}}}\n\n", page.lost);
        }
        for logged in page.events.iter().filter(|logged| self.wanted.wants(logged)) {
            // JSON has no line breaks of its own.
            let json = serde_json::to_string(logged).unwrap_or_default();
            let _ = write!(text, "id: {}\ndata: {json}\n\n", logged.sequence);
        }
        text
    }
}
