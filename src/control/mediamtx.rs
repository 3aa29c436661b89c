//! `MediaMTX`: `record` in the configuration of a path, through its API (`/v3/config/paths`), and the state of the path
//! (`/v3/paths/get`).
//!
//! Read in `api/openapi.yaml`, `internal/api/api_config_paths.go` (`04d411da`) and `internal/core/path_manager.go`: a change of
//! `record` alone is applied to a live path without a break. Any other difference between the old and the new configuration of
//! a path ends its publisher, so that a path without a configuration of its own is not given one here.

use reqwest::Method;
use serde::Deserialize;
use serde_json::json;

use super::error::ControlError;
use super::http::Http;
use super::{Said, Switched};
use crate::recording::counted;

/// What is needed of a path.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct LivePath {
    conf_name: Option<String>,
    /// Whether a publisher is there and its tracks are known. Later releases call it `available`.
    #[serde(alias = "available")]
    ready: Option<bool>,
}

#[derive(Debug, Deserialize)]
struct PathConfig {
    record: Option<bool>,
}

#[derive(Debug, Deserialize)]
struct Failure {
    error: String,
}

/// A path may have several levels; they are segments of the address.
fn below<'a>(fixed: &[&'a str], name: &'a str) -> Vec<&'a str> {
    fixed.iter().copied().chain(name.split('/')).collect()
}

pub(super) async fn ask(http: &Http, stream: &str) -> Result<Said, ControlError> {
    let answer = http.ask(Method::GET, &below(&["v3", "paths", "get"], stream), &[], None).await?;
    if answer.status == 404 {
        // Of its own 404 only: any server has one.
        let is_own = answer.json::<Failure>("").is_ok_and(|failure| failure.error == "path not found");
        let detail = "does not have the stream".to_owned();
        return if is_own { Ok(Said { is_recording: Some(false), detail }) } else { Err(answer.refused(&["error"])) };
    }
    if !answer.is_success() {
        return Err(answer.refused(&["error"]));
    }
    let path: LivePath = answer.json("it is no path of MediaMTX")?;
    if path.ready == Some(false) {
        return Ok(Said { is_recording: Some(false), detail: "does not receive the stream".to_owned() });
    }
    let config = http.ask(Method::GET, &below(&["v3", "config", "paths", "get"], path.conf_name()), &[], None).await?;
    if !config.is_success() {
        return Err(config.refused(&["error"]));
    }
    Ok(path.said(config.json::<PathConfig>("it is no configuration of a path of MediaMTX")?.record))
}

impl LivePath {
    fn conf_name(&self) -> &str {
        self.conf_name.as_deref().unwrap_or_default()
    }

    fn said(&self, record: Option<bool>) -> Said {
        let (is_recording, word) = match (self.ready, record) {
            (_, Some(false)) => (Some(false), "no"),
            (Some(true), Some(true)) => (Some(true), "yes"),
            (_, Some(true)) => (None, "yes"),
            (_, None) => return Said { is_recording: None, detail: "does not say whether it records".to_owned() },
        };
        Said { is_recording, detail: format!("has `record: {word}` in the path configuration `{}`", self.conf_name()) }
    }
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct PathList {
    item_count: u64,
}

/// The list of paths, of which one is asked for: behind the same permission (`api`) as the switch.
pub(super) async fn probe(http: &Http) -> Result<String, ControlError> {
    let one = [("itemsPerPage", "1")];
    let answer = http.ask(Method::GET, &["v3", "paths", "list"], &one, None).await?;
    if !answer.is_success() {
        return Err(answer.refused(&["error"]));
    }
    let list: PathList = answer.json("it is no list of paths of MediaMTX")?;
    Ok(format!("answers; it has {}", counted(list.item_count, "path")))
}

pub(super) async fn switch(http: &Http, stream: &str, on: bool) -> Result<Switched, ControlError> {
    let path = below(&["v3", "config", "paths", "patch"], stream);
    let answer = http.ask(Method::PATCH, &path, &[], Some(&json!({ "record": on }))).await?;
    match answer.status {
        _ if answer.is_success() => Ok(Switched::Done(None)),
        404 if answer.json::<Failure>("").is_ok() => Err(ControlError::SharedPath(stream.to_owned())),
        _ => Err(answer.refused(&["error"])),
    }
}
