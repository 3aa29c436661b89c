//! What waits: deliveries, recordings that failed, uploads that nobody ended.

use std::fmt;
use std::path::{Path, PathBuf};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::addressed::{VodHolder, ask_holder, holder_of};
use super::reason::failure_of;
use super::{Context, ItemSink, NoItem, Operation, OperationError, cursor, wrong_cursor};
use crate::catalog::{CatalogError, Cursor, DeliveryFilter, JournalEntry, Retry};
use crate::fault::{Class, chain};
use crate::fleet::CommandKind;
use crate::pipeline::PipelineContext;
use crate::recording::Delivery;
use crate::recording::journey::{Postponed, Step};
use crate::recording::name::printable_text;
use crate::retain::KeepReason;

/// Deliveries, and entries of the journal, that are read at once.
const PAGE: usize = 500;
/// Entries of a page at most.
const PAGE_LIMIT: usize = 1000;

/// A page of what waits for delivery, what failed and what is quarantined: deliveries by their ids, then recordings.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct ListQueue {
    /// Delivered ones, too.
    pub all: bool,
    /// How many at most; a page has no more than 1,000.
    pub limit: usize,
    /// The `next` of the page before.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub after: Option<String>,
}

impl Default for ListQueue {
    fn default() -> Self {
        Self { all: false, limit: 100, after: None }
    }
}

/// A page of the queue.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Queue {
    /// Deliveries.
    pub deliveries: Vec<QueuedDelivery>,
    /// Recordings that did not come to their end; behind the last delivery.
    pub recordings: Vec<StoppedRecording>,
    /// Roots of which nothing is freed by a target; on the last page.
    pub not_freed: Vec<NotFreed>,
    /// Entries that cannot be read, in words.
    pub unreadable: Vec<String>,
    /// Where the next page begins, if there is more.
    pub next: Option<String>,
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
    /// Why it failed last, in words that are the same for all deliveries that failed alike; names and numbers are `…`.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub reason: Option<String>,
    /// What can be done about that.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub class: Option<Class>,
}

/// A recording that failed, is quarantined, was left out or cannot be carried on yet.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct StoppedRecording {
    /// Its file.
    pub path: PathBuf,
    /// Its stream, if the journal could be written.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub stream_id: Option<String>,
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
        let limit = self.limit.clamp(1, PAGE_LIMIT);
        let mut queue = Queue::default();
        let place = match QueuePlace::read(self.after.as_deref())? {
            QueuePlace::Deliveries(after) => queue.take_deliveries(ctx, self.all, limit, after)?,
            recordings @ QueuePlace::Recordings(_) => recordings,
        };
        queue.next = match place {
            QueuePlace::Recordings(after) if queue.len() < limit => queue.take_recordings(context, limit, after)?,
            place => Some(place),
        }
        .map(|place| place.to_string());
        if queue.next.is_none() {
            // Few, and of no table that could be read from a place on.
            queue.recordings.extend(ctx.unjournalled().into_iter().map(StoppedRecording::unjournalled));
            queue.not_freed = ctx.delivering.shown_roots()?.into_iter().map(NotFreed::of).collect();
        }
        Ok(queue)
    }
}

/// Where a page begins: behind a delivery, or behind an entry of the journal.
enum QueuePlace {
    Deliveries(Option<Cursor>),
    Recordings(Option<Cursor>),
}

impl QueuePlace {
    const DELIVERIES: char = 'd';
    const RECORDINGS: char = 'r';

    fn read(after: Option<&str>) -> Result<Self, OperationError> {
        let Some(after) = after else { return Ok(Self::Deliveries(None)) };
        let behind = |key: &str| cursor(Some(key).filter(|key| !key.is_empty()));
        match (after.strip_prefix(Self::DELIVERIES), after.strip_prefix(Self::RECORDINGS)) {
            (Some(key), _) => Ok(Self::Deliveries(behind(key)?)),
            (_, Some(key)) => Ok(Self::Recordings(behind(key)?)),
            (None, None) => Err(wrong_cursor()),
        }
    }
}

impl fmt::Display for QueuePlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (table, after) = match self {
            Self::Deliveries(after) => (Self::DELIVERIES, after),
            Self::Recordings(after) => (Self::RECORDINGS, after),
        };
        write!(f, "{table}{}", after.as_ref().map_or_else(String::new, ToString::to_string))
    }
}

impl Queue {
    const fn len(&self) -> usize {
        self.deliveries.len() + self.recordings.len() + self.unreadable.len()
    }

    /// Takes deliveries until the page is full; says where the next one begins.
    fn take_deliveries(
        &mut self,
        ctx: &PipelineContext,
        all: bool,
        limit: usize,
        after: Option<Cursor>,
    ) -> Result<QueuePlace, CatalogError> {
        let filter = DeliveryFilter { pending_only: !all, limit: Some(limit), after, ..DeliveryFilter::default() };
        let page = ctx.catalog.deliveries(&filter)?;
        self.deliveries.extend(page.items.into_iter().map(|delivery| QueuedDelivery::of(ctx, delivery)));
        self.unreadable.extend(page.unreadable.iter().map(|error| chain(error)));
        Ok(page.next.map_or(QueuePlace::Recordings(None), |next| QueuePlace::Deliveries(Some(next))))
    }

    /// Takes recordings that stopped until the page is full; says where the next one begins, if there is more.
    fn take_recordings(
        &mut self,
        context: &Context,
        limit: usize,
        mut after: Option<Cursor>,
    ) -> Result<Option<QueuePlace>, OperationError> {
        loop {
            context.go_on()?;
            // No more than is still missing is read at once, so that the cursor stands behind the last item.
            let page = context.pipeline().catalog.entries(after.as_ref(), limit - self.len())?;
            self.recordings.extend(page.items.into_iter().filter_map(|(_, entry)| StoppedRecording::of(entry)));
            self.unreadable.extend(page.unreadable.iter().map(|error| chain(error)));
            after = page.next;
            if after.is_none() || self.len() >= limit {
                return Ok(after.map(|next| QueuePlace::Recordings(Some(next))));
            }
        }
    }
}

/// Whether the journal has an entry of this file. What cannot be read is none.
fn has_entry(ctx: &PipelineContext, path: &Path) -> Result<bool, CatalogError> {
    let mut after = None;
    loop {
        let page = ctx.catalog.entries(after.as_ref(), PAGE)?;
        if page.items.iter().any(|(_, entry)| entry.settled.path() == path) {
            return Ok(true);
        }
        after = page.next;
        if after.is_none() {
            return Ok(false);
        }
    }
}

impl QueuedDelivery {
    fn of(ctx: &PipelineContext, delivery: Delivery) -> Self {
        let (class, reason) = failure_of(&delivery.state).unzip();
        Self { paused_until_ms: ctx.delivering.target_waits_until(&delivery.target), delivery, reason, class }
    }
}

impl StoppedRecording {
    fn of(entry: JournalEntry) -> Option<Self> {
        let has_ended = matches!(entry.step, Step::Quarantined { .. } | Step::Failed { .. } | Step::LeftOut);
        (has_ended || entry.postponed.is_some()).then(|| Self {
            path: entry.settled.path().to_owned(),
            stream_id: Some(entry.settled.candidate().facts.stream_id.clone()),
            state: entry.step.name().to_owned(),
            attempts: entry.attempts,
            step: Some(entry.step),
            postponed: entry.postponed,
        })
    }

    fn unjournalled((path, why): (PathBuf, Postponed)) -> Self {
        Self {
            path,
            stream_id: None,
            state: "failed".to_owned(),
            attempts: why.tries,
            step: None,
            postponed: Some(why),
        }
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
    /// Without `ids`: only deliveries that failed last for this reason, as the queue has it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Without `ids`: only deliveries whose last failure is of this class.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub class: Option<Class>,
    /// If another node has one of `ids`, which is away: leave that to the node for when it is back, within 7 days.
    pub queue: bool,
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
        let is_filtered = self.target.is_some() || self.reason.is_some() || self.class.is_some();
        if self.ids.is_empty() && !is_filtered {
            retried += ctx.catalog.retry(Retry::All, ctx.clock.now_ms())?;
        } else if self.ids.is_empty() {
            retried += self.retry_filtered(context)?;
        }
        for named in &self.ids {
            retried += self.retry_named(context, named)?;
        }
        ctx.resume_targets();
        Ok(Retried { retried })
    }
}

impl RetryDeliveries {
    fn retry_named(&self, context: &Context, named: &str) -> Result<usize, OperationError> {
        let (ctx, mut retried) = (context.pipeline(), 0);
        let ids = self.deliveries_of(context, named)?;
        for id in &ids {
            retried += ctx.catalog.retry(Retry::One(id), ctx.clock.now_ms())?;
        }
        if !ids.is_empty() {
            return Ok(retried);
        }
        // Ids of deliveries begin with that of the VoD.
        match holder_of(context, named.split(['@', '.']).next().unwrap_or_default()) {
            Ok(VodHolder::Other(vod)) => {
                let one = Self { ids: vec![named.to_owned()], queue: self.queue, ..Self::default() };
                let mut nothing = |nothing: NoItem| match nothing {};
                let done: Retried = ask_holder(context, &vod, (CommandKind::Retry, &one, self.queue), &mut nothing)?;
                Ok(done.retried)
            }
            _ => self.unknown(context, named),
        }
    }

    /// Why nothing of this name is retried.
    fn unknown(&self, context: &Context, named: &str) -> Result<usize, OperationError> {
        let path = self.directory.as_deref().unwrap_or(Path::new("")).join(named);
        let is_unfinished = has_entry(context.pipeline(), &path)?;
        let named = printable_text(named);
        Err(OperationError::not_found(if is_unfinished {
            format!("`{named}` is a recording that is not finished; `aftercast recover` retries it")
        } else {
            format!("no delivery has the id or the file `{named}`; `aftercast queue list` lists all deliveries")
        }))
    }

    fn retry_filtered(&self, context: &Context) -> Result<usize, OperationError> {
        let filter = DeliveryFilter { pending_only: true, target: self.target.as_deref(), ..DeliveryFilter::default() };
        let (ctx, mut retried) = (context.pipeline(), 0);
        each_delivery(context, filter, |delivery| {
            if self.has_failed_so(delivery) {
                retried += ctx.catalog.retry(Retry::One(&delivery.id), ctx.clock.now_ms())?;
            }
            Ok(())
        })?;
        Ok(retried)
    }

    fn has_failed_so(&self, delivery: &Delivery) -> bool {
        if self.reason.is_none() && self.class.is_none() {
            return true;
        }
        failure_of(&delivery.state).is_some_and(|(class, reason)| {
            self.reason.as_ref().is_none_or(|wanted| *wanted == reason)
                && self.class.is_none_or(|wanted| wanted == class)
        })
    }

    /// The deliveries of this node that are meant: one by its id, or all of a file.
    fn deliveries_of(&self, context: &Context, named: &str) -> Result<Vec<String>, OperationError> {
        let ctx = context.pipeline();
        if ctx.catalog.delivery(named)?.is_some() {
            return Ok(vec![named.to_owned()]);
        }
        let path = self.directory.as_deref().unwrap_or(Path::new("")).join(named);
        let mut ids = Vec::new();
        each_delivery(context, DeliveryFilter::default(), |delivery| {
            if delivery.asset.files.iter().any(|file| file.path == path) {
                ids.push(delivery.id.clone());
            }
            Ok(())
        })?;
        Ok(ids)
    }
}

/// Looks at deliveries, a page at a time. What cannot be read is left out.
fn each_delivery(
    context: &Context,
    mut filter: DeliveryFilter<'_>,
    mut look: impl FnMut(&Delivery) -> Result<(), CatalogError>,
) -> Result<(), OperationError> {
    filter.limit = Some(PAGE);
    loop {
        context.go_on()?;
        let page = context.pipeline().catalog.deliveries(&filter)?;
        page.items.iter().try_for_each(&mut look)?;
        filter.after = page.next;
        if filter.after.is_none() {
            return Ok(());
        }
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
