//! Taking recordings that lie in a bucket to their end, or telling what that would take.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Context, ItemSink, Operation, OperationError};
use crate::archive::{self, ArchiveItem, ArchiveJob, ArchiveReport};
use crate::deliver::{Targets, bucket_options};
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
        let (config, ctx, stop) = (context.config(), context.pipeline(), context.stop());
        let options = bucket_options(&self.url, &config.deliver).map_err(|e| OperationError::configuration(&e))?;
        let url = options.targets.first().map(|target| target.name.clone()).unwrap_or_default();
        let targets = Targets::open(&options, &ctx.runtime).map_err(|e| OperationError::configuration(&e))?;
        let targets = targets.stopped_by(stop).timed_by(&ctx.clock);
        let orphan_after = if self.mode == Mode::Recover { 0 } else { config.watch.orphan_after.as_millis() };
        let rules = NameRules::new(&config.watch.temporary_suffixes);
        let job = ArchiveJob {
            targets: &targets,
            url: &url,
            prefix: targets.prefix_of(&url)?,
            shard: self.shard,
            dry_run: self.dry_run,
            orphan_after_ms: i64::try_from(orphan_after).unwrap_or(i64::MAX),
            rules: &rules,
            finish: &config.finish,
            options: &config.archive,
            state_dir: &config.state_dir,
            ledger: &ctx.catalog,
            owner: ctx.catalog.owner(),
            decoder: ctx.decoder(),
            stop,
            now_ms: ctx.clock.now_ms(),
            may_change: &|| true,
        };
        Ok(archive::run(&job, &mut |item| tell(item).is_ok())?)
    }
}
