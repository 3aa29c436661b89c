//! Whether a stream is being recorded, from evidence and its ingest server's word; and switching it there.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Context, ItemSink, NoItem, Operation, OperationError};
use crate::control::{self, Control, Format, Said, Switched};
use crate::discover::{Growth, RootOptions, Server};
use crate::fault::chain;
use crate::pipeline::{Growing, growing};
use crate::recording::name::{printable, printable_text};

/// Whether a stream is being recorded now, and what tells it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ShowRecording {
    /// Id of the stream.
    pub id: String,
    /// Only in this root; if `None`, in all.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub root: Option<PathBuf>,
}

/// Tells the ingest server of a root to record a stream, or to stop recording it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SwitchRecording {
    /// Id of the stream.
    pub id: String,
    /// Whether it is to be recorded.
    pub record: bool,
    /// The root whose server is told; needed where several have `control`.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub root: Option<PathBuf>,
    /// `mp4` or `webm`, for Ant Media Server; `mp4` if `None`.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub format: Option<String>,
}

/// Whether a stream is being recorded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum RecordingState {
    /// A file of it is growing.
    Recording,
    /// It is certain that it is not.
    NotRecording,
    /// It cannot be told.
    Unknown,
}

/// What a state is based on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum Basis {
    /// Its files.
    Files,
    /// The list of the machine's processes and their open files.
    Processes,
    /// What its ingest server answers.
    Server,
    /// Nothing that proves it.
    Nothing,
}

/// The answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct StreamRecording {
    /// Id of the stream.
    pub stream_id: String,
    /// Recording if it is in some root, not recording only if that is certain of all.
    pub state: RecordingState,
    /// Each root.
    pub roots: Vec<RootRecording>,
}

/// A stream in one root.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RootRecording {
    /// The root's directory.
    pub root: PathBuf,
    /// Whether it is being recorded there.
    pub state: RecordingState,
    /// What that is based on.
    pub basis: Basis,
    /// The same in words.
    pub detail: String,
    /// Files of the stream that are not settled yet: evidence.
    pub files: Vec<Growth>,
    /// Whether its ingest server can be told to record.
    pub can_switch: bool,
}

/// What came of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SwitchedRecording {
    /// Id of the stream.
    pub stream_id: String,
    /// The root whose server was told.
    pub root: PathBuf,
    /// Its server.
    pub server: String,
    /// What it was told.
    pub record: bool,
    /// Whether it was so before.
    pub was_so: bool,
    /// The file that the server names, if it names one; as the server sees it.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub path: Option<PathBuf>,
}

impl Operation for ShowRecording {
    type Item = NoItem;
    type Data = StreamRecording;

    fn run(&self, context: &Context, _tell: ItemSink<'_, NoItem>) -> Result<StreamRecording, OperationError> {
        let roots = roots_of(context, self.root.as_ref())?;
        recording_of(context, &self.id, &roots)
    }
}

impl Operation for SwitchRecording {
    type Item = NoItem;
    type Data = SwitchedRecording;

    fn run(&self, context: &Context, _tell: ItemSink<'_, NoItem>) -> Result<SwitchedRecording, OperationError> {
        let format = self.format.as_deref().map(container_of).transpose()?.unwrap_or_default();
        let roots = roots_of(context, self.root.as_ref())?;
        switch_recording(context, &self.id, self.record, format, &roots)
    }
}

/// The configured roots, or the one that is named.
fn roots_of(context: &Context, named: Option<&PathBuf>) -> Result<Vec<RootOptions>, OperationError> {
    let mut roots = context.pipeline().settings().watch.roots.clone();
    if let Some(named) = named {
        roots.retain(|root| root.path == *named);
        if roots.is_empty() {
            return Err(OperationError::not_found(format!("`{}` is not a configured root", printable(named))));
        }
    }
    Ok(roots)
}

/// An id may have several levels, and they become those of an address: none of them may lead elsewhere.
fn check(stream: &str) -> Result<(), OperationError> {
    if stream.split('/').any(|level| matches!(level, "" | "." | "..")) {
        let shown = printable_text(stream);
        let detail = format!("`{shown}` is not the id of a stream: it has an empty, `.` or `..` segment");
        return Err(OperationError::invalid(detail));
    }
    Ok(())
}

/// The container that a request names.
pub fn container_of(name: &str) -> Result<Format, OperationError> {
    match name {
        "mp4" => Ok(Format::Mp4),
        "webm" => Ok(Format::WebM),
        other => {
            let detail = format!("unknown format `{}`; use `mp4` or `webm`", printable_text(other));
            Err(OperationError::invalid(detail))
        }
    }
}

/// Whether a stream is being recorded in these roots. A server is asked only where no file of the stream grows.
pub fn recording_of(context: &Context, stream: &str, roots: &[RootOptions]) -> Result<StreamRecording, OperationError> {
    check(stream)?;
    let mut told = Vec::new();
    for root in roots {
        context.go_on()?;
        let seen = growing(&context.pipeline().discovering, root, stream)?;
        let control = Control::of(root);
        let asked = control.as_ref().filter(|_| !seen.is_growing);
        let said = asked.map(|control| {
            let said = context.pipeline().runtime.block_on(control.ask(stream, context.stop()));
            said.map_err(|error| chain(&error))
        });
        let (state, basis, detail) = judge(&seen, said.as_ref());
        let (root, can_switch) = (root.path.clone(), control.is_some());
        told.push(RootRecording { root, state, basis, detail, files: seen.files, can_switch });
    }
    Ok(StreamRecording { stream_id: stream.to_owned(), state: of_all(&told), roots: told })
}

fn of_all(roots: &[RootRecording]) -> RecordingState {
    let all_are_off = !roots.is_empty() && roots.iter().all(|root| root.state == RecordingState::NotRecording);
    match () {
        () if roots.iter().any(|root| root.state == RecordingState::Recording) => RecordingState::Recording,
        () if all_are_off => RecordingState::NotRecording,
        () => RecordingState::Unknown,
    }
}

/// What is said where nothing proves a recording, and nothing its absence.
const UNSEEN: &str = "no file of the stream is seen growing in this root";

/// What files and server together tell. A growing file is proof. That a server means to record is none: a disk may be full, or the
/// stream may carry nothing that it records.
fn judge(seen: &Growing, said: Option<&Result<Said, String>>) -> (RecordingState, Basis, String) {
    let nothing = |detail: String| (RecordingState::Unknown, Basis::Nothing, detail);
    if seen.is_growing {
        return (RecordingState::Recording, Basis::Files, "a file of the stream is growing".to_owned());
    }
    if let Some(Ok(said)) = said
        && let Some(is_recording) = said.is_recording
    {
        let detail = format!("the ingest server {}", said.detail);
        return if is_recording {
            (RecordingState::Unknown, Basis::Server, format!("{detail}, but {UNSEEN}"))
        } else {
            (RecordingState::NotRecording, Basis::Server, detail)
        };
    }
    if seen.is_none_certain {
        let detail = "no process has a file of the stream open for writing".to_owned();
        return (RecordingState::NotRecording, Basis::Processes, detail);
    }
    match said {
        None => nothing(UNSEEN.to_owned()),
        Some(Ok(said)) => nothing(format!("{UNSEEN}, and the ingest server {}", said.detail)),
        Some(Err(why)) => nothing(format!("{UNSEEN}, and the ingest server cannot be asked: {why}")),
    }
}

/// Switches the recording of a stream at the server of the only one of these roots that has `control`.
pub fn switch_recording(
    context: &Context,
    stream: &str,
    record: bool,
    format: Format,
    roots: &[RootOptions],
) -> Result<SwitchedRecording, OperationError> {
    check(stream)?;
    let (root, control) = switch_of(roots)?;
    let server = root.server.name();
    let switched = context.pipeline().runtime.block_on(control.switch(stream, record, format, context.stop()))?;
    let (was_so, path) = match switched {
        Switched::Done(path) => (false, path),
        Switched::Already => (true, None),
        Switched::Unchanged => (require_so(context, stream, record, root).map(|()| true)?, None),
    };
    let shown = printable(&root.path);
    tracing::info!(stream = %printable_text(stream), root = %shown, server, record, was_so, "recording switched");
    let stream_id = stream.to_owned();
    Ok(SwitchedRecording { stream_id, root: root.path.clone(), server: server.to_owned(), record, was_so, path })
}

fn switch_of(roots: &[RootOptions]) -> Result<(&RootOptions, Control), OperationError> {
    let mut found = roots.iter().filter_map(|root| Some((root, Control::of(root)?)));
    match (found.next(), found.next()) {
        (Some(only), None) => Ok(only),
        (Some(_), Some(_)) => Err(OperationError::invalid("several roots have `control`")
            .with_next_step("Name one of them: `root` in the body of the request, or its application in the path.")),
        (None, _) => Err(no_switch(roots)),
    }
}

/// Why none of these roots has a switch.
fn no_switch(roots: &[RootOptions]) -> OperationError {
    let could = |root: &&RootOptions| control::has_switch(root.server) || root.server == Server::Auto;
    if let Some(root) = roots.iter().find(could) {
        let detail = format!("`control` is not set for the root `{}`", printable(&root.path));
        return OperationError::not_supported(detail).with_next_step(
            "Set `control` and `server` in [[watch.root]] to switch recording from here, or switch it at the ingest server.",
        );
    }
    let servers: Vec<_> = roots.iter().map(|root| root.server.name()).collect();
    let detail = match servers.first() {
        Some(server) => {
            format!("the ingest server `{server}` has no interface that switches the recording of a stream")
        }
        None => "no root is configured".to_owned(),
    };
    OperationError::not_supported(detail).with_next_step("Switch recording in the ingest server's own configuration.")
}

/// Of a server that says only that it changed nothing, the files tell whether it is as it was wished.
fn require_so(context: &Context, stream: &str, record: bool, root: &RootOptions) -> Result<(), OperationError> {
    let is_growing = growing(&context.pipeline().discovering, root, stream)?.is_growing;
    if is_growing == record {
        return Ok(());
    }
    let (server, shown) = (root.server.name(), printable_text(stream));
    let detail = if record {
        format!("`{server}` did not begin to record `{shown}`, and no file of it is growing")
    } else {
        format!("`{server}` did not stop recording `{shown}`, and a file of it is growing")
    };
    let app = printable_text(&root.application());
    Err(OperationError::transient(detail).with_next_step(format!(
        "Check that the stream is live in the application `{app}` (`app` in [[watch.root]]), and that its recorder is `manual` \
         and named by `rec` in `control` if it has a name."
    )))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(is_recording: Option<bool>) -> Said {
        Said { is_recording, detail: "says so".into() }
    }

    #[test]
    fn it_is_off_only_where_that_is_certain() {
        use RecordingState::{NotRecording, Recording, Unknown};
        let none = Growing::default();
        let grows = Growing { is_growing: true, ..none.clone() };
        let certain = Growing { is_none_certain: true, ..none.clone() };
        let fails = Err("no route".to_owned());
        for (seen, said, state, basis) in [
            (&grows, None, Recording, Basis::Files),
            (&grows, Some(Ok(said(Some(false)))), Recording, Basis::Files),
            (&none, None, Unknown, Basis::Nothing),
            (&none, Some(fails.clone()), Unknown, Basis::Nothing),
            (&none, Some(Ok(said(None))), Unknown, Basis::Nothing),
            (&none, Some(Ok(said(Some(false)))), NotRecording, Basis::Server),
            (&none, Some(Ok(said(Some(true)))), Unknown, Basis::Server),
            (&certain, Some(Ok(said(Some(true)))), Unknown, Basis::Server),
            (&certain, None, NotRecording, Basis::Processes),
            (&certain, Some(fails), NotRecording, Basis::Processes),
        ] {
            let (told, on, detail) = judge(seen, said.as_ref());
            assert_eq!((told, on), (state, basis), "{seen:?} {said:?}: {detail}");
            assert!(!detail.is_empty());
        }
    }

    #[test]
    fn an_id_has_levels_that_lead_nowhere_else() {
        assert!(["room1", "live/cam1", "...", "a.b", "ä b"].iter().all(|id| check(id).is_ok()));
        assert!(["", "/a", "a/", "a//b", "..", "a/../b", "./a"].iter().all(|id| check(id).is_err()));
    }

    #[test]
    fn of_several_roots_one_is_enough_and_all_are_needed() {
        use RecordingState::{NotRecording, Recording, Unknown};
        let root = |state| RootRecording {
            root: "/r".into(),
            state,
            basis: Basis::Nothing,
            detail: String::new(),
            files: Vec::new(),
            can_switch: false,
        };
        for (states, all) in [
            (&[][..], Unknown),
            (&[Unknown, Recording], Recording),
            (&[NotRecording, Unknown], Unknown),
            (&[NotRecording, NotRecording], NotRecording),
        ] {
            let roots: Vec<_> = states.iter().map(|state| root(*state)).collect();
            assert_eq!(of_all(&roots), all, "{states:?}");
        }
    }
}
