//! `OvenMediaEngine`: `:startRecord`, `:stopRecord` and `:records` of an application. The address may name the virtual host
//! (`…/v1/vhosts/{vhost}`); without, it is `default`.
//!
//! Read in `docs/rest-api/v1/virtualhost/application/recording.md` (`308a41de`). A recording has an id that its creator chooses;
//! one that others began is found by the name of its output stream.

use reqwest::Method;
use serde::Deserialize;
use serde_json::{Value, json};

use super::error::ControlError;
use super::http::{Answer, Http};
use super::{Said, Switched};
use crate::durable;
use crate::recording::counted;

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Reply {
    status_code: u16,
    #[serde(default)]
    response: Option<Vec<Record>>,
}

/// A recording under way, or one that waits for its stream.
#[derive(Debug, Deserialize)]
struct Record {
    id: String,
    state: String,
    stream: Stream,
}

#[derive(Debug, Deserialize)]
struct Stream {
    name: String,
}

impl Record {
    fn is_open(&self) -> bool {
        matches!(self.state.as_str(), "ready" | "recording")
    }
}

/// The address of an action of an application.
async fn act(http: &Http, app: &str, action: &str, body: &Value) -> Result<Answer, ControlError> {
    let name = format!("{app}:{action}");
    let whole = ["v1", "vhosts", "default", "apps", &name];
    let below = if http.path().is_empty() { &whole[..] } else { &whole[3..] };
    http.ask(Method::POST, below, &[], Some(body)).await
}

/// The recordings of an application.
async fn records(http: &Http, app: &str) -> Result<Vec<Record>, ControlError> {
    let answer = act(http, app, "records", &json!({})).await?;
    if answer.status == 204 {
        return Ok(Vec::new());
    }
    if !answer.is_success() {
        return Err(answer.refused(&["message"]));
    }
    let reply: Reply = answer.json("it is no list of recordings of OvenMediaEngine")?;
    match (reply.status_code, reply.response) {
        // Without any recording there is no list.
        (204, None) => Ok(Vec::new()),
        (_, Some(all)) => Ok(all),
        (_, None) => Err(ControlError::NotUnderstood("it has no list of recordings")),
    }
}

/// The recordings of a stream.
async fn records_of(http: &Http, app: &str, stream: &str) -> Result<Vec<Record>, ControlError> {
    let all = records(http, app).await?;
    Ok(all.into_iter().filter(|record| record.stream.name == stream).collect())
}

/// The list of recordings takes a POST as every action does, and changes nothing.
pub(super) async fn probe(http: &Http, app: &str) -> Result<String, ControlError> {
    let records = records(http, app).await?;
    Ok(format!("answers; the application `{app}` has {}", counted(records.len() as u64, "recording")))
}

pub(super) async fn ask(http: &Http, app: &str, stream: &str) -> Result<Said, ControlError> {
    let records = records_of(http, app, stream).await?;
    let is = |state: &str| records.iter().any(|record| record.state == state);
    let (is_recording, detail) = match () {
        () if is("recording") => (Some(true), "lists a recording of the stream"),
        () if is("ready") => (None, "is ready to record the stream when it comes"),
        () if records.is_empty() => (Some(false), "lists no recording of the stream"),
        () => (None, "lists a recording of the stream that is ending or failed"),
    };
    Ok(Said { is_recording, detail: detail.to_owned() })
}

pub(super) async fn switch(http: &Http, app: &str, stream: &str, on: bool) -> Result<Switched, ControlError> {
    let open: Vec<_> = records_of(http, app, stream).await?.into_iter().filter(Record::is_open).collect();
    if on != open.is_empty() {
        return Ok(Switched::Already);
    }
    if on {
        did(&act(http, app, "startRecord", &json!({ "id": id(), "stream": { "name": stream } })).await?)?;
    }
    for record in open {
        did(&act(http, app, "stopRecord", &json!({ "id": record.id })).await?)?;
    }
    Ok(Switched::Done(None))
}

/// Unlike any other: an id that was used is refused.
fn id() -> String {
    format!("aftercast-{}", durable::random_id())
}

fn did(answer: &Answer) -> Result<(), ControlError> {
    let is_done = answer.is_success()
        && (answer.body.is_empty() || answer.json::<Value>("").is_ok_and(|reply| reply["statusCode"] == 200));
    if is_done { Ok(()) } else { Err(answer.refused(&["message"])) }
}
