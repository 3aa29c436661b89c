//! Asking a daemon for an operation: one connection each. It blocks; a stop ends the wait, and with the connection the
//! operation.

use std::io;
use std::path::{Path, PathBuf};

use axum::body::{Body, Bytes, to_bytes};
use futures::StreamExt as _;
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper::header::CONTENT_TYPE;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use tokio::net::UnixStream;

use super::routes::Route;
use super::wire::{LINES, request_of};
use crate::fault::chain;
use crate::operations::{ItemSink, OperationError};
use crate::pipeline::Stop;
use crate::runtime::Runtime;

/// A daemon, as seen from another process.
#[derive(Debug)]
pub struct Client {
    socket: PathBuf,
    stop: Stop,
    runtime: Runtime,
}

/// Takes a line of an answer; whether it was the last one.
type LineSink<'a> = &'a mut dyn FnMut(&[u8]) -> Result<bool, OperationError>;

/// A line of an answer.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
enum Line<I, D> {
    Item(I),
    Data(D),
    Error(OperationError),
}

impl Client {
    /// The daemon that listens there; an error if none does.
    pub fn connect(socket: &Path, stop: &Stop) -> io::Result<Self> {
        std::os::unix::net::UnixStream::connect(socket)?;
        Ok(Self { socket: socket.to_owned(), stop: stop.clone(), runtime: Runtime::start()? })
    }

    /// Has the daemon do an operation.
    pub fn perform<O: Route>(&self, operation: &O, tell: ItemSink<'_, O::Item>) -> Result<O::Data, OperationError> {
        let mut data = None;
        let whole = self.answered(request_of(operation)?, &mut |line| {
            match read::<Line<O::Item, O::Data>>(line)? {
                Line::Item(item) => tell(item)?,
                Line::Data(last) => data = Some(last),
                Line::Error(error) => return Err(error),
            }
            Ok(data.is_some())
        })?;
        match whole {
            Some(whole) => read(&whole),
            None => data.ok_or_else(cut),
        }
    }

    /// The answer if it is a whole one; lines are given away as they come. It is the same code for each operation.
    fn answered(&self, request: Request<String>, line: LineSink<'_>) -> Result<Option<Bytes>, OperationError> {
        self.runtime.block_on(async {
            tokio::select! {
                answered = self.exchange(request, line) => answered,
                () = self.stop.requested() => Err(OperationError::cancelled()),
            }
        })
    }

    async fn exchange(&self, request: Request<String>, line: LineSink<'_>) -> Result<Option<Bytes>, OperationError> {
        let stream = UnixStream::connect(&self.socket).await.map_err(|e| lost(&e))?;
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(|e| unanswered(&e))?;
        tokio::spawn(connection);
        let response = sender.send_request(request).await.map_err(|e| unanswered(&e))?;
        if response.headers().get(CONTENT_TYPE).is_some_and(|kind| kind == LINES) {
            return lines(response.into_body(), line).await.map(|()| None);
        }
        whole(response).await.map(Some)
    }
}

async fn whole(response: Response<Incoming>) -> Result<Bytes, OperationError> {
    // What another node has not done yet is no data.
    let is_success = response.status().is_success() && response.status() != StatusCode::ACCEPTED;
    let text = to_bytes(Body::new(response.into_body()), usize::MAX).await.map_err(|e| lost(&e))?;
    if is_success { Ok(text) } else { Err(read(&text)?) }
}

async fn lines(body: Incoming, take: LineSink<'_>) -> Result<(), OperationError> {
    let (mut body, mut unread) = (Body::new(body).into_data_stream(), Vec::new());
    while let Some(more) = body.next().await {
        unread.extend_from_slice(&more.map_err(|e| lost(&e))?);
        let whole = unread.iter().rposition(|byte| *byte == b'\n').map_or(0, |last| last + 1);
        let rest = unread.split_off(whole);
        for line in std::mem::replace(&mut unread, rest).split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
            if take(line)? {
                return Ok(());
            }
        }
    }
    Err(cut())
}

fn cut() -> OperationError {
    lost(&io::Error::from(io::ErrorKind::UnexpectedEof))
}

fn read<T: DeserializeOwned>(json: &[u8]) -> Result<T, OperationError> {
    serde_json::from_slice(json).map_err(|error| of_another_version(&error))
}

fn unanswered(error: &hyper::Error) -> OperationError {
    if error.is_parse() { of_another_version(error) } else { lost(error) }
}

fn of_another_version(error: &dyn std::error::Error) -> OperationError {
    let detail = format!("this command and the daemon have different versions: {}", chain(error));
    OperationError::transient(detail).with_next_step("Restart the daemon.")
}

fn lost(error: &dyn std::error::Error) -> OperationError {
    OperationError::transient(format!("the daemon ended before it answered: {}", chain(error)))
        .with_next_step("Interrupted work is resumed when it starts again. Run the command again.")
}
