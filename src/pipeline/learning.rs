//! What other nodes learn of streams that recordings wait for here, and what they have not been told of keys in stores: looked at now
//! and then, on a thread of its own, so that a database that is slow holds up nothing else.

use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use tracing::{debug, warn};

use super::context::PipelineContext;
use super::remembering;
use super::teaching::{self, SeenVersions};
use crate::fault::chain;

/// How often other nodes are asked.
const PAUSE: Duration = Duration::from_secs(10);

/// The thread.
#[derive(Debug, Default)]
pub(super) struct LearningThread(Option<JoinHandle<()>>);

impl LearningThread {
    /// Begins to ask, if there are other nodes.
    pub(super) fn begin(ctx: &Arc<PipelineContext>) -> Self {
        let Some(fleet) = ctx.fleet.clone() else { return Self::default() };
        let ctx = Arc::clone(ctx);
        let asking = std::thread::Builder::new().name("learning".into()).spawn(move || {
            let mut seen = SeenVersions::new();
            while !ctx.stop.is_requested() {
                if fleet.is_connected() {
                    if let Err(error) = teaching::wake_by_others(&ctx.journaling, &mut seen) {
                        warn!(error = chain(&error), "cannot look for recordings that wait for codec parameters");
                    }
                    if let Err(error) = remembering::tell_keys(&ctx.catalog, &fleet) {
                        debug!(error = chain(&*error), "other nodes are told of keys later");
                    }
                }
                fleet.pause(PAUSE, &ctx.stop);
            }
        });
        Self(asking.inspect_err(|error| warn!(error = chain(error), "no thread to ask other nodes")).ok())
    }

    /// Waits for its end; it sees the wish to stop.
    pub(super) fn join(&mut self) {
        if let Some(asking) = self.0.take() {
            let _ = asking.join();
        }
    }
}
