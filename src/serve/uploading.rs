//! `POST /api/v1/streams/{id}/reference/upload`: an intact recording of a stream as the body, for whoever has it and has not the daemon's
//! disk. It is kept in memory while it is read, in a file without a name, and one at a time.

use std::fs::File;
use std::io::{self, Write as _};
use std::time::Duration;

use axum::body::Body;
use axum::extract::{Path, State};
use axum::response::{IntoResponse as _, Response};
use axum::routing::post;
use axum::{Json, Router};
use futures::StreamExt as _;
use rustix::fs::{MemfdFlags, memfd_create};
use tokio::sync::Semaphore;

use super::answering::{Service, busy, problem};
use super::wire::not_valid;
use crate::fault::chain;
use crate::operations::{OperationError, StreamTaught, teach_stream};

/// Where it is.
pub(super) const PATH: &str = "/api/v1/streams/{id}/reference/upload";
/// Longest recording that is taken, bytes: a few seconds are enough.
const MOST_BYTES: usize = 64 << 20;
/// How long each piece of it may take to arrive, and the whole.
const PIECE_PATIENCE: Duration = Duration::from_secs(10);
const WHOLE_PATIENCE: Duration = Duration::from_secs(600);

static TURN: Semaphore = Semaphore::const_new(1);

pub(super) fn routes() -> Router<Service> {
    Router::new().route(PATH, post(uploaded))
}

async fn uploaded(State(service): State<Service>, Path(id): Path<String>, body: Body) -> Response {
    match taught(&service, id, body).await {
        Ok(taught) => Json(taught).into_response(),
        Err(error) => problem(&error),
    }
}

async fn taught(service: &Service, id: String, body: Body) -> Result<StreamTaught, OperationError> {
    let _turn = TURN.try_acquire().map_err(|_| busy())?;
    let late = |_| OperationError::invalid("the recording did not arrive in time; nothing was changed");
    let file = tokio::time::timeout(WHOLE_PATIENCE, received(body)).await.map_err(late)??;
    service.ask_for(move |context| teach_stream(context, &id, &file)).await
}

/// The body in a file that is only in memory.
async fn received(body: Body) -> Result<File, OperationError> {
    let no_room = |error: &io::Error| {
        OperationError::transient(format!("there is no memory for the recording: {}", chain(error)))
    };
    let made = memfd_create("reference", MemfdFlags::CLOEXEC).map_err(io::Error::from);
    let mut file = File::from(made.map_err(|error| no_room(&error))?);
    let (mut pieces, mut bytes) = (body.into_data_stream(), 0);
    loop {
        let late = |_| OperationError::invalid("the recording did not arrive in time; nothing was changed");
        let Some(piece) = tokio::time::timeout(PIECE_PATIENCE, pieces.next()).await.map_err(late)? else {
            return Ok(file);
        };
        let piece = piece.map_err(|error| not_valid(&error))?;
        bytes += piece.len();
        if bytes > MOST_BYTES {
            return Err(OperationError::invalid(format!("the recording has more than {} MiB", MOST_BYTES >> 20))
                .with_next_step("Use a shorter recording of the same stream, or `aftercast stream reference`."));
        }
        file.write_all(&piece).map_err(|error| no_room(&error))?;
    }
}
