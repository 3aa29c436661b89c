//! Ant Media Server: `PUT {app}/rest/v2/broadcasts/{id}/recording/{true|false}`, and the broadcast's own fields.
//!
//! Read in `BroadcastRestService.java` and `RestServiceBase.java` (`enableRecordMuxing`), and in its documentation
//! (`mp4-and-webm-recording.md`). A switch that is so already is answered with `success: false` by some releases.

use reqwest::Method;
use serde::Deserialize;
use serde_json::json;

use super::error::ControlError;
use super::http::Http;
use super::{Format, Said, Switched};
use crate::recording::counted;

/// `mp4Enabled` and `webMEnabled` of a broadcast: on, as the application says, off.
const ON: i32 = 1;
const OFF: i32 = -1;

/// What is needed of `io.antmedia.datastore.db.types.Broadcast`.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Broadcast {
    status: Option<String>,
    #[serde(default)]
    mp4_enabled: i32,
    #[serde(default, rename = "webMEnabled")]
    webm_enabled: i32,
}

/// `io.antmedia.rest.model.Result`.
#[derive(Debug, Deserialize)]
struct Outcome {
    success: bool,
    message: Option<String>,
}

impl Broadcast {
    const fn switch_of(&self, format: Format) -> i32 {
        match format {
            Format::Mp4 => self.mp4_enabled,
            Format::WebM => self.webm_enabled,
        }
    }

    fn said(&self) -> Said {
        let status = self.status.as_deref().unwrap_or_default();
        if status != "broadcasting" {
            // A stream that comes back has this status before its status is `broadcasting`; nothing is recorded until then.
            let detail = format!("does not receive the stream (status `{status}`)");
            return Said { is_recording: (!status.is_empty()).then_some(false), detail };
        }
        let (is_recording, detail) = match (self.mp4_enabled, self.webm_enabled) {
            (ON, _) | (_, ON) => (Some(true), "has recording switched on for the stream"),
            (OFF, OFF) => (Some(false), "has recording switched off for the stream"),
            _ => (None, "records the stream if its application's settings say so"),
        };
        Said { is_recording, detail: detail.to_owned() }
    }
}

async fn broadcast(http: &Http, app: &str, stream: &str) -> Result<Option<Broadcast>, ControlError> {
    let answer = http.ask(Method::GET, &[app, "rest", "v2", "broadcasts", stream], &[], None).await?;
    match answer.status {
        404 => Ok(None),
        _ if answer.is_success() => answer.json("it is no broadcast of Ant Media Server").map(Some),
        _ => Err(answer.refused(&["message"])),
    }
}

pub(super) async fn ask(http: &Http, app: &str, stream: &str) -> Result<Said, ControlError> {
    let found = broadcast(http, app, stream).await?;
    // An application of another name is 404 as well, so that this proves nothing.
    let unknown =
        || Said { is_recording: None, detail: format!("has no broadcast of this id in the application `{app}`") };
    Ok(found.map_or_else(unknown, |broadcast| broadcast.said()))
}

/// `io.antmedia.rest.model.SimpleStat`.
#[derive(Debug, Deserialize)]
struct Count {
    number: i64,
}

/// The number of broadcasts (`broadcasts/count`): behind the same filters of addresses and tokens as the switch.
pub(super) async fn probe(http: &Http, app: &str) -> Result<String, ControlError> {
    let answer = http.ask(Method::GET, &[app, "rest", "v2", "broadcasts", "count"], &[], None).await?;
    if !answer.is_success() {
        return Err(answer.refused(&["message"]));
    }
    let count: Count = answer.json("it is no number of broadcasts of Ant Media Server")?;
    Ok(format!("answers; the application `{app}` has {}", counted(count.number.max(0).unsigned_abs(), "broadcast")))
}

pub(super) async fn switch(
    http: &Http,
    app: &str,
    stream: &str,
    on: bool,
    format: Format,
) -> Result<Switched, ControlError> {
    let wanted = if on { "true" } else { "false" };
    let kind = if format == Format::WebM { "webm" } else { "mp4" };
    let path = [app, "rest", "v2", "broadcasts", stream, "recording", wanted];
    // The resource takes JSON only, an empty object too.
    let answer = http.ask(Method::PUT, &path, &[("recordType", kind)], Some(&json!({}))).await?;
    if !answer.is_success() {
        return Err(answer.refused(&["message"]));
    }
    let outcome: Outcome = answer.json("it is no result of Ant Media Server")?;
    if outcome.success {
        return Ok(Switched::Done(None));
    }
    let is_so = |broadcast: Broadcast| broadcast.switch_of(format) == if on { ON } else { OFF };
    if broadcast(http, app, stream).await?.is_some_and(is_so) {
        return Ok(Switched::Already);
    }
    Err(ControlError::NotDone(outcome.message.unwrap_or_default()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_broadcast_tells_off_only_where_it_is_certain() {
        for (broadcast, is_recording) in [
            (json!({ "status": "broadcasting", "mp4Enabled": 1, "webMEnabled": 0 }), Some(true)),
            (json!({ "status": "broadcasting", "mp4Enabled": -1, "webMEnabled": 1 }), Some(true)),
            (json!({ "status": "broadcasting", "mp4Enabled": 0, "webMEnabled": 0 }), None),
            (json!({ "status": "broadcasting", "mp4Enabled": -1, "webMEnabled": 0 }), None),
            (json!({ "status": "broadcasting", "mp4Enabled": -1, "webMEnabled": -1 }), Some(false)),
            (json!({ "status": "finished", "mp4Enabled": 1, "webMEnabled": 0 }), Some(false)),
            (json!({ "status": null, "mp4Enabled": 1 }), None),
            (json!({}), None),
        ] {
            let read: Broadcast = serde_json::from_value(broadcast.clone()).unwrap();
            assert_eq!(read.said().is_recording, is_recording, "{broadcast}");
        }
    }
}
