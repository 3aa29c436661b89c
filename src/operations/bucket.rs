//! Taking recordings that lie in a bucket to their end, or telling what that would take.

use std::sync::{Mutex, MutexGuard, TryLockError};
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Context, ItemSink, Operation, OperationError};
use crate::archive::{self, ArchiveItem, ArchiveJob, ArchiveReport};
use crate::config::Config;
use crate::deliver::{DeliverError, Targets, bucket_options};
use crate::discover::{Mode, NameRules};
use crate::recording::Shard;

/// Takes every recording below a URL to its end, once.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ProcessBucket {
    /// `s3://bucket/prefix`, `az://container/prefix` or `gs://bucket/prefix`.
    pub url: String,
    /// `recover` takes temporary names as orphaned at once.
    pub mode: Mode,
    /// Only tell what would be done.
    #[serde(default)]
    pub dry_run: bool,
    /// Only this part of the recordings, `i/n`: n processes with i from 1 to n take each recording once.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub shard: Option<Shard>,
}

impl Operation for ProcessBucket {
    type Item = ArchiveItem;
    type Data = ArchiveReport;

    fn run(&self, context: &Context, tell: ItemSink<'_, ArchiveItem>) -> Result<ArchiveReport, OperationError> {
        if self.mode == Mode::Watch {
            return Err(OperationError::invalid("`mode` must be `process` or `recover`"));
        }
        let _turn = if self.dry_run { None } else { Some(scratch_turn()?) };
        let (config, bucket) = (context.config(), OpenBucket::open(context, &self.url)?);
        let orphan_after = if self.mode == Mode::Recover { Duration::ZERO } else { config.watch.orphan_after };
        let job = bucket.job(context, &config, orphan_after)?;
        let job = ArchiveJob { shard: self.shard, dry_run: self.dry_run, ..job };
        Ok(archive::run(&job, &mut |item| tell(item).is_ok())?)
    }
}

/// Held by the run of this process that uses scratch space.
static SCRATCH: Mutex<()> = Mutex::new(());

/// Scratch space is for one run at a time.
fn scratch_turn() -> Result<MutexGuard<'static, ()>, OperationError> {
    match SCRATCH.try_lock() {
        Ok(turn) => Ok(turn),
        Err(TryLockError::Poisoned(ended)) => Ok(ended.into_inner()),
        Err(TryLockError::WouldBlock) => {
            let in_use = OperationError::transient("another run over a bucket is under way in this process");
            let next_step = "Nothing was done. Run it again when that one has ended, or with another `--state-dir`.";
            Err(in_use.with_next_step(next_step))
        }
    }
}

/// The store of a URL, and how the names in it are read.
#[derive(Debug)]
pub(super) struct OpenBucket {
    pub targets: Targets,
    /// The name of the target: the URL.
    pub url: String,
    pub rules: NameRules,
}

impl OpenBucket {
    pub(super) fn open(context: &Context, url: &str) -> Result<Self, OperationError> {
        let (config, ctx) = (context.config(), context.pipeline());
        let options = bucket_options(url, &config.deliver).map_err(|e| OperationError::configuration(&e))?;
        let targets = Targets::open(&options, &ctx.runtime).map_err(|e| OperationError::configuration(&e))?;
        let targets = targets.stopped_by(context.stop()).timed_by(&ctx.clock);
        let url = options.targets.first().map(|target| target.name.clone()).unwrap_or_default();
        Ok(Self { targets, url, rules: NameRules::new(&config.watch.temporary_suffixes) })
    }

    /// What is asked of it: everything, by this process alone. Temporary names must be unchanged for `orphan_after`.
    pub(super) fn job<'a>(
        &'a self,
        context: &'a Context,
        config: &'a Config,
        orphan_after: Duration,
    ) -> Result<ArchiveJob<'a>, DeliverError> {
        let ctx = context.pipeline();
        Ok(ArchiveJob {
            targets: &self.targets,
            url: &self.url,
            prefix: self.targets.prefix_of(&self.url)?,
            shard: None,
            dry_run: false,
            orphan_after_ms: i64::try_from(orphan_after.as_millis()).unwrap_or(i64::MAX),
            rules: &self.rules,
            finish: &config.finish,
            options: &config.archive,
            state_dir: &config.state_dir,
            ledger: &ctx.catalog,
            owner: ctx.catalog.owner(),
            decoder: ctx.decoder(),
            stop: context.stop(),
            now_ms: ctx.clock.now_ms(),
            may_change: &|| true,
        })
    }
}
