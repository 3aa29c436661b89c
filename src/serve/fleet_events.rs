//! Events of all nodes as server-sent events: `GET /api/v1/events?node=…`, read from the fleet database every few seconds.
//!
//! While the database cannot be asked, nothing but signs of life are sent; what happened meanwhile follows.

use std::fmt::Write as _;
use std::time::Duration;

use axum::body::Bytes;
use axum::response::Response;
use tokio::sync::OwnedSemaphorePermit;

use super::answering::{Service, problem};
use super::events::{EventSource, HEARTBEAT, follow};
use crate::fleet::{Fleet, FleetError};
use crate::operations::{Context, FleetEventPage, ListFleetEvents, Operation as _, OperationError};
use crate::pipeline::Stop;

/// How often the database is asked.
const LOOK_AGAIN: Duration = Duration::from_secs(2);
/// Events read at once.
const PAGE: usize = 100;

/// Answers with the events of nodes behind a place, else with those that come.
pub(super) async fn answer(service: &Service, mut wanted: ListFleetEvents, permit: OwnedSemaphorePermit) -> Response {
    wanted.limit = PAGE;
    let begun = service.ask_for(move |context| begin(context, wanted)).await;
    let (wanted, context) = match begun {
        Ok(wanted) => (wanted, service.context.for_request()),
        Err(error) => return problem(&error),
    };
    let reader = FleetEventReader { stop: context.stop().clone(), context, wanted, _permit: permit };
    follow(reader)
}

/// Finds out where to begin; what cannot be asked for is refused before the answer begins.
fn begin(context: &Context, mut wanted: ListFleetEvents) -> Result<ListFleetEvents, OperationError> {
    if wanted.after.is_none() {
        let end = context.pipeline().fleet.as_ref().map(Fleet::end_of_events);
        wanted.after = end.transpose().map_err(|error: FleetError| OperationError::from(error))?;
    }
    ListFleetEvents { limit: 1, ..wanted.clone() }.run(context, &mut |nothing| match nothing {})?;
    Ok(wanted)
}

struct FleetEventReader {
    context: Context,
    wanted: ListFleetEvents,
    stop: Stop,
    _permit: OwnedSemaphorePermit,
}

impl EventSource for FleetEventReader {
    /// `None` when the daemon ends.
    async fn next(&mut self) -> Option<Bytes> {
        let until = tokio::time::Instant::now() + HEARTBEAT;
        loop {
            let (context, wanted) = (self.context.clone(), self.wanted.clone());
            let look = move || wanted.follow(&context);
            if let Ok(page) = tokio::task::spawn_blocking(look).await.ok()? {
                let text = text(&page);
                self.wanted.after = Some(page.next);
                if !text.is_empty() {
                    return Some(text.into());
                }
                if !page.is_end {
                    continue;
                }
            }
            if tokio::time::Instant::now() >= until {
                let place = self.wanted.after.as_deref().unwrap_or_default();
                return Some(format!(": alive\nid: {place}\n\n").into());
            }
            tokio::select! {
                () = self.stop.requested() => return None,
                () = tokio::time::sleep(LOOK_AGAIN) => {}
            }
        }
    }
}

fn text(page: &FleetEventPage) -> String {
    let mut text = String::new();
    for event in &page.items {
        // JSON has no line breaks of its own.
        let json = serde_json::to_string(event).unwrap_or_default();
        let _ = write!(text, "id: {}\ndata: {json}\n\n", event.cursor);
    }
    text
}
