//! What waits: deliveries, recordings that failed, uploads that nobody ended.

use std::path::{Path, PathBuf};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Context, ItemSink, NoItem, Operation, OperationError, fleet};
use crate::catalog::{CatalogError, DeliveryFilter, JournalEntry, Retry};
use crate::fault::chain;
use crate::pipeline::PipelineContext;
use crate::recording::journey::{Postponed, Step};
use crate::recording::name::printable_text;
use crate::recording::{Delivery, DeliveryState};
use crate::retain::KeepReason;

/// Entries of the journal that are read at once.
const PAGE: usize = 500;

/// What waits for delivery, what failed and what is quarantined.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct ListQueue {
    /// Delivered ones, too.
    pub all: bool,
}

/// The queue.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Queue {
    /// Deliveries.
    pub deliveries: Vec<QueuedDelivery>,
    /// Recordings that did not come to their end.
    pub recordings: Vec<StoppedRecording>,
    /// Roots of which nothing is freed by a target.
    pub not_freed: Vec<NotFreed>,
    /// Entries that cannot be read, in words.
    pub unreadable: Vec<String>,
}

/// A delivery.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct QueuedDelivery {
    /// As it stands in the queue.
    pub delivery: Delivery,
    /// Until when its target is paused as a whole, if it is.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub paused_until_ms: Option<i64>,
}

/// A recording that failed, is quarantined, was left out or cannot be carried on yet.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct StoppedRecording {
    /// Its file.
    pub path: PathBuf,
    /// Name of the state.
    pub state: String,
    /// Attempts so far.
    pub attempts: u32,
    /// The last step that the journal has; none if the journal could not be written.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub step: Option<Step>,
    /// Why the next step could not be done yet.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub postponed: Option<Postponed>,
}

/// A root of which nothing is freed by a target.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct NotFreed {
    /// Name of the target.
    pub target: String,
    /// The root.
    pub root: PathBuf,
    /// Why.
    pub reason: String,
}

impl Operation for ListQueue {
    type Item = NoItem;
    type Data = Queue;

    fn run(&self, context: &Context, _tell: ItemSink<'_, NoItem>) -> Result<Queue, OperationError> {
        let ctx = context.pipeline();
        let filter = DeliveryFilter { pending_only: !self.all, ..DeliveryFilter::default() };
        let deliveries = ctx.catalog.deliveries(&filter)?;
        let (stopped, unread) = from_journal(ctx, StoppedRecording::of)?;
        let unjournalled = ctx.unjournalled().into_iter().map(StoppedRecording::unjournalled);
        let unreadable = deliveries.unreadable.iter().chain(&unread).map(|error| chain(error));
        Ok(Queue {
            unreadable: unreadable.collect(),
            deliveries: deliveries.items.into_iter().map(|delivery| QueuedDelivery::of(ctx, delivery)).collect(),
            recordings: stopped.into_iter().chain(unjournalled).collect(),
            not_freed: ctx.delivering.shown_roots()?.into_iter().map(NotFreed::of).collect(),
        })
    }
}

/// What is wanted of the entries of the journal, and what of it cannot be read, looked at a page at a time.
fn from_journal<T>(
    ctx: &PipelineContext,
    wanted: impl Fn(JournalEntry) -> Option<T>,
) -> Result<(Vec<T>, Vec<CatalogError>), CatalogError> {
    let (mut found, mut unreadable, mut after) = (Vec::new(), Vec::new(), None);
    loop {
        let page = ctx.catalog.entries(after.as_ref(), PAGE)?;
        found.extend(page.items.into_iter().filter_map(|(_, entry)| wanted(entry)));
        unreadable.extend(page.unreadable);
        after = page.next;
        if after.is_none() {
            return Ok((found, unreadable));
        }
    }
}

impl QueuedDelivery {
    fn of(ctx: &PipelineContext, delivery: Delivery) -> Self {
        Self { paused_until_ms: ctx.delivering.target_waits_until(&delivery.target), delivery }
    }
}

impl StoppedRecording {
    fn of(entry: JournalEntry) -> Option<Self> {
        let has_ended = matches!(entry.step, Step::Quarantined { .. } | Step::Failed { .. } | Step::LeftOut);
        (has_ended || entry.postponed.is_some()).then(|| Self {
            path: entry.settled.path().to_owned(),
            state: entry.step.name().to_owned(),
            attempts: entry.attempts,
            step: Some(entry.step),
            postponed: entry.postponed,
        })
    }

    fn unjournalled((path, why): (PathBuf, Postponed)) -> Self {
        Self { path, state: "failed".to_owned(), attempts: why.tries, step: None, postponed: Some(why) }
    }
}

impl NotFreed {
    fn of((target, root): (String, PathBuf)) -> Self {
        let reason = KeepReason::View { target: target.clone(), root: root.clone() }.to_string();
        Self { target, root, reason }
    }
}

/// Makes deliveries due now, and paused targets with them.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct RetryDeliveries {
    /// Delivery ids, or paths of delivered files; every pending delivery if none is given.
    pub ids: Vec<String>,
    /// The directory in which relative paths begin.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub directory: Option<PathBuf>,
    /// Without `ids`: only deliveries to this target.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub target: Option<String>,
    /// Without `ids`: only deliveries that failed last with this message.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
}

/// How many there were.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Retried {
    /// Deliveries that are due now.
    pub retried: usize,
}

impl Operation for RetryDeliveries {
    type Item = NoItem;
    type Data = Retried;

    fn run(&self, context: &Context, _tell: ItemSink<'_, NoItem>) -> Result<Retried, OperationError> {
        let ctx = context.pipeline();
        let mut retried = 0;
        if self.ids.is_empty() && self.target.is_none() && self.message.is_none() {
            retried += ctx.catalog.retry(Retry::All, ctx.clock.now_ms())?;
        } else if self.ids.is_empty() {
            retried += self.retry_filtered(context)?;
        }
        for named in &self.ids {
            for id in self.deliveries_of(ctx, named)? {
                retried += ctx.catalog.retry(Retry::One(&id), ctx.clock.now_ms())?;
            }
        }
        ctx.resume_targets();
        Ok(Retried { retried })
    }
}

impl RetryDeliveries {
    fn retry_filtered(&self, context: &Context) -> Result<usize, OperationError> {
        let ctx = context.pipeline();
        let (mut retried, mut after) = (0, None);
        loop {
            context.go_on()?;
            let target = self.target.as_deref();
            let filter = DeliveryFilter { pending_only: true, target, limit: Some(PAGE), after };
            let page = ctx.catalog.deliveries(&filter)?;
            for delivery in page.items.iter().filter(|delivery| self.has_message(delivery)) {
                retried += ctx.catalog.retry(Retry::One(&delivery.id), ctx.clock.now_ms())?;
            }
            after = page.next;
            if after.is_none() {
                return Ok(retried);
            }
        }
    }

    fn has_message(&self, delivery: &Delivery) -> bool {
        let said = match &delivery.state {
            DeliveryState::Waiting { last_fault, .. } => last_fault.as_ref().map(|(_, message)| message),
            DeliveryState::Stuck { message } => Some(message),
            DeliveryState::Delivered { .. } => None,
        };
        self.message.as_ref().is_none_or(|message| said == Some(message))
    }

    /// The deliveries that are meant: one by its id, or all of a file.
    fn deliveries_of(&self, ctx: &PipelineContext, named: &str) -> Result<Vec<String>, OperationError> {
        if ctx.catalog.delivery(named)?.is_some() {
            return Ok(vec![named.to_owned()]);
        }
        let path = self.directory.as_deref().unwrap_or(Path::new("")).join(named);
        let is_meant = |delivery: &Delivery| delivery.asset.files.iter().any(|file| file.path == path);
        let deliveries = ctx.catalog.deliveries(&DeliveryFilter::default())?.items.into_iter();
        let ids: Vec<_> = deliveries.filter(is_meant).map(|delivery| delivery.id).collect();
        if !ids.is_empty() {
            return Ok(ids);
        }
        let is_this = |entry: JournalEntry| (entry.settled.path() == path).then_some(());
        let is_unfinished = !from_journal(ctx, is_this)?.0.is_empty();
        if let Some(error) = fleet::of_another_node(ctx, named.split(['@', '.']).next().unwrap_or_default()) {
            return Err(error);
        }
        let named = printable_text(named);
        Err(OperationError::not_found(if is_unfinished {
            format!("`{named}` is a recording that is not finished; `aftercast recover` retries it")
        } else {
            format!("no delivery has the id or the file `{named}`; `aftercast queue list` lists all deliveries")
        }))
    }
}

/// Finds the unfinished uploads of every target that are not ours to continue, and aborts them if told so.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct CollectUploads {
    /// Abort them; otherwise they are only told.
    pub abort: bool,
}

/// One upload.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Upload {
    /// Name of the target.
    pub target: String,
    /// The key that its object would have.
    pub key: String,
    /// The store's id of it.
    pub upload_id: String,
    /// When it was begun, in the store's words.
    pub begun: String,
    /// Whether it is aborted now.
    pub aborted: bool,
}

/// How many there were.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct CollectedUploads {
    /// Uploads found.
    pub found: u64,
}

impl Operation for CollectUploads {
    type Item = Upload;
    type Data = CollectedUploads;

    fn run(&self, context: &Context, tell: ItemSink<'_, Upload>) -> Result<CollectedUploads, OperationError> {
        let (ctx, mut found) = (context.pipeline(), 0);
        let targets = ctx.targets();
        for name in targets.names() {
            for upload in targets.open_uploads(name, &ctx.catalog)? {
                if self.abort {
                    targets.abort_upload(name, &upload)?;
                }
                found += 1;
                let (target, aborted) = (name.to_owned(), self.abort);
                tell(Upload { target, key: upload.key, upload_id: upload.upload_id, begun: upload.begun, aborted })?;
            }
        }
        Ok(CollectedUploads { found })
    }
}
