//! A scan that somebody asks for: what was copied into a root, or is on a file system that tells nothing, is found at once.

use std::path::PathBuf;
use std::time::Duration;

use crossbeam_channel::RecvTimeoutError;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Context, ItemSink, NoItem, Operation, OperationError};
use crate::pipeline::{RescanRefusal, ScannedRoot};
use crate::recording::name::printable;

/// How often it is looked whether the answer is still wanted.
const LOOK: Duration = Duration::from_millis(100);

/// Scans the configured roots, or one of them, at once, and tells what was found. What is taken is worked on afterwards.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Rescan {
    /// A configured root; all if `None`.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub root: Option<PathBuf>,
}

/// What a scan found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Rescanned {
    /// Root by root, in the order of the configuration.
    pub roots: Vec<ScannedRoot>,
}

impl Operation for Rescan {
    type Item = NoItem;
    type Data = Rescanned;

    fn run(&self, context: &Context, _tell: ItemSink<'_, NoItem>) -> Result<Rescanned, OperationError> {
        let ctx = context.pipeline();
        let settings = ctx.settings();
        if let Some(root) = &self.root
            && !settings.watch.roots.iter().any(|known| known.path == *root)
        {
            return Err(OperationError::not_found(format!("`{}` is not a configured root", printable(root)))
                .with_next_step("Use a path of `watch.roots`; `aftercast process PATH` takes any other directory."));
        }
        let answered =
            ctx.discovering.rescans.ask(self.root.clone(), context.stop()).map_err(|refusal| match refusal {
                RescanRefusal::NotWatched => OperationError::invalid("no daemon is watching")
                    .with_next_step("Run `aftercast process PATH`, which scans the path itself."),
                RescanRefusal::TooMany => OperationError::transient("too many others wait for a scan")
                    .with_next_step("Try again when the scan that is under way has ended."),
            })?;
        loop {
            match answered.recv_timeout(LOOK) {
                Ok(roots) => return Ok(Rescanned { roots }),
                Err(RecvTimeoutError::Timeout) => context.go_on()?,
                Err(RecvTimeoutError::Disconnected) => return Err(OperationError::cancelled()),
            }
        }
    }
}
