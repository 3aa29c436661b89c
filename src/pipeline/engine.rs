//! The pipeline at work: the pool that finishes, the couriers that carry, and what the last process left to be done.

use std::path::Path;
use std::sync::Arc;

use tracing::info;

use super::active_config::PipelineSettings;
use super::context::{OpeningOptions, PipelineContext};
use super::courier::Couriers;
use super::error::PipelineError;
use super::journey;
use super::pictures::Studio;
use super::pool::{OutcomeListener, Pool, Urgency};
use super::resuming;
use super::shared::Claimer;
use crate::catalog::CatalogError;
use crate::cpu_permits::CpuPermit;
use crate::discover::Settled;
use crate::fleet::Fleet;
use crate::stop::Stop;

/// A running pipeline. `watch`, `process` and `recover` all work on one.
#[derive(Debug)]
pub struct Engine {
    ctx: Arc<PipelineContext>,
    pool: Arc<Pool>,
    claimer: Claimer,
    couriers: Couriers,
    studio: Studio,
}

impl Engine {
    /// Opens the pipeline and starts the threads that finish; those that carry begin with [`crate::pipeline::run`] and
    /// [`crate::pipeline::watch`].
    pub fn start(settings: PipelineSettings, stop: Stop, opening: OpeningOptions) -> Result<Self, PipelineError> {
        let (jobs, background_nice) = (settings.finish.jobs, settings.finish.background_nice);
        let ctx = Arc::new(PipelineContext::open(settings, stop, opening)?);
        let at = Arc::clone(&ctx);
        let run = move |settled: &Settled, cpu_permit: &CpuPermit<'_>| {
            (!at.stop.is_requested()).then(|| journey::run(&at, settled, cpu_permit))
        };
        let pool = Arc::new(Pool::start(jobs, background_nice, run).map_err(PipelineError::Threads)?);
        let (couriers, studio, claimer) = (Couriers::of(&ctx), Studio::of(&ctx), Claimer::of(&ctx, &pool));
        Ok(Self { ctx, pool, claimer, couriers, studio })
    }

    /// What its stages share.
    pub fn pipeline(&self) -> &Arc<PipelineContext> {
        &self.ctx
    }

    /// Its queue and threads.
    pub fn pool(&self) -> &Pool {
        &self.pool
    }

    /// Whether a recording waits or is worked on.
    pub fn holds(&self, path: &Path) -> bool {
        self.pool.holds(path) || self.claimer.holds(path)
    }

    /// Its couriers.
    pub fn couriers(&self) -> &Couriers {
        &self.couriers
    }

    /// What makes pictures.
    pub(super) fn studio(&self) -> &Studio {
        &self.studio
    }

    /// Gives what new settings say of them as many threads as they ask for.
    pub fn adjust(&self) -> Result<(), PipelineError> {
        let finish = &self.ctx.settings().finish;
        self.pool.resize(finish.jobs, finish.background_nice).map_err(PipelineError::Threads)?;
        self.couriers.adjust()
    }

    /// Carries on with what the journal says was under way; call once, before anything is submitted.
    pub fn resume(&self) -> Result<(), CatalogError> {
        let again = resuming::resume(&self.ctx)?;
        if !again.is_empty() {
            info!(recordings = again.len(), "resuming interrupted recordings");
        }
        // Each runs alone: if one of them makes the process die again, that is held against no other (promise 6).
        for settled in again {
            self.submit(settled, Urgency::Live, None);
        }
        Ok(())
    }

    /// Queues a recording; `listener` hears how its journey ended. Says whether it will. One in a shared root is asked for first, and
    /// may then not be this node's.
    pub fn submit(&self, settled: Settled, urgency: Urgency, listener: Option<OutcomeListener>) -> bool {
        if self.ctx.roots.is_shared(settled.path()) {
            return self.claimer.want(settled, urgency, listener);
        }
        self.pool.submit(settled, urgency, listener)
    }

    /// Ends in order: takes nothing new, lets what is under way come to its next safe point, joins the threads.
    pub fn stop_working(&self) {
        self.claimer.close();
        self.pool.close();
        self.pool.wait_until_idle();
        self.claimer.join();
        self.studio.join();
        self.couriers.join();
        self.ctx.announcer.join();
        self.ctx.fleet.iter().for_each(Fleet::join);
    }
}
