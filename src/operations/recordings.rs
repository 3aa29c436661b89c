//! Recordings as the journal knows them, in every state.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Context, ItemSink, NoItem, Operation, OperationError, cursor};
use crate::catalog::JournalEntry;
use crate::fault::{Class, chain};
use crate::recording::journey::{Evidence, Stage, Step};
use crate::recording::{Defect, name};

/// Recordings of a page at most.
const PAGE_LIMIT: usize = 1000;

/// A page of recordings, in no order that means anything.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct ListRecordings {
    /// Only those in this state: `begun`, `splicing`, `publishing`, `catalogued`, `finished`, `quarantined`, `failed`, `left out`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub state: Option<String>,
    /// Only those of this stream.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stream: Option<String>,
    /// How many at most; a page has no more than 1,000.
    pub limit: usize,
    /// The `next` of the page before.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub after: Option<String>,
}

impl Default for ListRecordings {
    fn default() -> Self {
        Self { state: None, stream: None, limit: 100, after: None }
    }
}

/// The page.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RecordingPage {
    /// The recordings.
    pub items: Vec<RecordingStatus>,
    /// Where the next page begins, if there is more.
    pub next: Option<String>,
    /// Entries that cannot be read, in words.
    pub unreadable: Vec<String>,
}

/// One recording.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RecordingStatus {
    /// Its file.
    pub path: PathBuf,
    /// The root that it was found under.
    pub root: PathBuf,
    /// Its stream.
    pub stream_id: String,
    /// The preset that read its name.
    pub server: String,
    /// Its size when it was found, bytes.
    pub size_bytes: u64,
    /// Name of the state.
    pub state: String,
    /// Why nobody is believed to write it any more.
    pub evidence: Evidence,
    /// Attempts so far.
    pub attempts: u32,
    /// Its VoD, once it has one.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub vod_id: Option<String>,
    /// What is wrong with it, where that is why it is quarantined.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub defects: Vec<Defect>,
    /// Why the last attempt failed, or the next step could not be done yet.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub message: Option<String>,
    /// What can be done about that.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub class: Option<Class>,
    /// When it is tried again, milliseconds since the Unix epoch; not by itself if absent.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub due_ms: Option<i64>,
}

impl RecordingStatus {
    fn of(entry: JournalEntry) -> Self {
        let candidate = entry.settled.candidate();
        let mut status = Self {
            path: candidate.path.clone(),
            root: candidate.root.clone(),
            stream_id: candidate.facts.stream_id.clone(),
            server: candidate.server.clone(),
            size_bytes: candidate.fingerprint.size_bytes,
            state: entry.step.name().to_owned(),
            evidence: entry.settled.evidence(),
            attempts: entry.attempts,
            vod_id: None,
            defects: Vec::new(),
            message: None,
            class: None,
            due_ms: None,
        };
        match entry.step {
            Step::Splicing { record, .. } | Step::Publishing { record, .. } => status.vod_id = Some(record.vod_id),
            Step::Catalogued { vod_id, .. } | Step::Done { vod_id } => status.vod_id = Some(vod_id),
            Step::Quarantined { defects } => status.defects = defects,
            Step::Failed { class, message, due_ms } => {
                (status.class, status.message, status.due_ms) = (Some(class), Some(message), due_ms);
            }
            Step::Begun | Step::LeftOut => {}
        }
        if let Some(postponed) = entry.postponed {
            status.class = Some(postponed.class);
            status.message = Some(postponed.message);
            status.due_ms = Some(postponed.due_ms);
        }
        status
    }
}

impl Operation for ListRecordings {
    type Item = NoItem;
    type Data = RecordingPage;

    fn run(&self, context: &Context, _tell: ItemSink<'_, NoItem>) -> Result<RecordingPage, OperationError> {
        let mut after = cursor(self.after.as_deref())?;
        self.state.as_deref().map(known_state).transpose()?;
        let limit = self.limit.clamp(1, PAGE_LIMIT);
        let (mut items, mut unreadable) = (Vec::new(), Vec::new());
        loop {
            context.go_on()?;
            // No more than is still missing is read at once, so that the cursor stands behind the last item.
            let page = context.pipeline().catalog.entries(after.as_ref(), limit - items.len())?;
            items.extend(page.items.into_iter().map(|(_, entry)| RecordingStatus::of(entry)).filter(|s| self.wants(s)));
            unreadable.extend(page.unreadable.iter().map(|error| chain(error)));
            after = page.next;
            if after.is_none() || items.len() >= limit {
                return Ok(RecordingPage { items, next: after.map(|next| next.to_string()), unreadable });
            }
        }
    }
}

impl ListRecordings {
    fn wants(&self, status: &RecordingStatus) -> bool {
        self.state.as_ref().is_none_or(|state| *state == status.state)
            && self.stream.as_ref().is_none_or(|stream| *stream == status.stream_id)
    }
}

fn known_state(state: &str) -> Result<(), OperationError> {
    if Stage::ALL.iter().any(|stage| stage.name() == state) {
        return Ok(());
    }
    let known: Vec<_> = Stage::ALL.iter().map(|stage| stage.name()).collect();
    let text = format!("`{}` is not a state; use one of {}", name::printable_text(state), known.join(", "));
    Err(OperationError::invalid(text))
}
