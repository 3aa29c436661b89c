//! Items that are objects of a bucket.

use std::ffi::OsStr;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::json;

use super::super::batch::BatchKind;
use super::super::bucket::OpenBucket;
use super::super::{Context, OperationError};
use super::outcome::ItemOutcome;
use crate::archive::{ArchiveItem, ArchiveJob, ArchiveRun, ItemState};
use crate::deliver::{PinnedObject, is_composed_header};
use crate::discover::NameClass;
use crate::fleet::{NewWork, SharedWork, WorkItem};

/// Objects come after pages.
const PRIORITY: i32 = 100;

/// A bucket that is worked on.
#[derive(Debug)]
pub(super) struct BucketPlace {
    bucket: OpenBucket,
    run: ArchiveRun,
}

/// Which state of an object was listed.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct ListedObject {
    size_bytes: u64,
    etag: Option<String>,
    modified_ms: i64,
}

impl BucketPlace {
    pub fn open(context: &Context, url: &str) -> Result<Self, OperationError> {
        let bucket = OpenBucket::open(context, url)?;
        let run = ArchiveRun::begin(&bucket.job(context, &context.config(), Duration::ZERO)?);
        Ok(Self { bucket, run })
    }

    /// Lists a page.
    pub fn list(&self, kind: BatchKind, page: &WorkItem) -> ItemOutcome {
        let begins = (!page.item.is_empty()).then(|| page.item.clone());
        let listed = match self.bucket.targets.objects(&self.bucket.url, "", begins) {
            Ok(listed) => listed,
            Err(error) => return ItemOutcome::of(&error),
        };
        let is_wanted = |object: &PinnedObject| {
            let name = OsStr::new(object.key.rsplit('/').next().unwrap_or_default());
            // What a killed worker left is cleared away by the next one.
            matches!(self.bucket.rules.class(name), NameClass::Recording { .. }) || is_composed_header(&object.key)
        };
        let found = listed.objects.iter().filter(|object| is_wanted(object)).map(|object| work(kind, page, object));
        ItemOutcome::Page { found: found.collect(), next: listed.next }
    }

    /// Takes an object to its end.
    pub fn take(&mut self, context: &Context, shared: &SharedWork, kind: BatchKind, item: &WorkItem) -> ItemOutcome {
        let listed = item.args.clone().and_then(|args| serde_json::from_value::<ListedObject>(args).ok());
        let Some(ListedObject { size_bytes, etag, modified_ms }) = listed else {
            return ItemOutcome::failed(
                crate::fault::Class::Permanent,
                "the item was written by another version of this program",
            );
        };
        let object =
            PinnedObject { target: self.bucket.url.clone(), key: item.item.clone(), size_bytes, etag, modified_ms };
        let config = context.config();
        let orphan_after = if kind == BatchKind::Salvage { Duration::ZERO } else { config.watch.orphan_after };
        let job = match self.bucket.job(context, &config, orphan_after) {
            Ok(job) => job,
            Err(error) => return ItemOutcome::of(&error),
        };
        let may_change = || matches!(shared.is_still_mine(item, None), Ok(true));
        let job = ArchiveJob { dry_run: kind == BatchKind::Verify, may_change: &may_change, ..job };
        match self.run.take(&job, &object) {
            Ok(Some(ended)) => outcome(&ended, orphan_after),
            Ok(None) if context.stop().is_requested() => ItemOutcome::Stopped,
            Ok(None) => ItemOutcome::done("left alone", json!({})),
            Err(error) => ItemOutcome::of(&error),
        }
    }
}

fn work(kind: BatchKind, page: &WorkItem, object: &PinnedObject) -> NewWork {
    let PinnedObject { size_bytes, etag, modified_ms, .. } = object.clone();
    let fingerprint = etag.clone().unwrap_or_else(|| format!("{size_bytes} {modified_ms}"));
    NewWork {
        kind: kind.name().to_owned(),
        root: page.root.clone(),
        item: object.key.clone(),
        fingerprint,
        args: serde_json::to_value(ListedObject { size_bytes, etag, modified_ms }).ok(),
        batch_id: page.batch_id,
        priority: PRIORITY,
        delay_ms: 0,
    }
}

fn outcome(ended: &ArchiveItem, orphan_after: Duration) -> ItemOutcome {
    let details = || json!({ "to": ended.to, "transferred": ended.transferred, "defects": ended.defects.iter().map(ToString::to_string).collect::<Vec<_>>() });
    match &ended.state {
        ItemState::Waiting { message } => ItemOutcome::Later { why: message.clone(), after: orphan_after },
        ItemState::Quarantined => ItemOutcome::unusable(&ended.defects),
        ItemState::Failed { class, message, .. } => ItemOutcome::failed(*class, message),
        ItemState::Planned { way } => ItemOutcome::done(&format!("incomplete: {}", way.name()), details()),
        state => ItemOutcome::done(state.name(), details()),
    }
}
