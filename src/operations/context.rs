//! What operations work with: a running pipeline, the configuration in force, and the wish of whoever asked.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use super::{Logins, OperationError};
use crate::clip::ClipCache;
use crate::config::Config;
use crate::pipeline::{Engine, PipelineContext, Stop};
use crate::stop::{self, Stopped};

/// The configuration in force. A reload replaces it for what is asked for afterwards.
#[derive(Debug, Clone)]
pub struct SharedConfig(Arc<RwLock<Arc<Config>>>);

impl SharedConfig {
    /// With this one to begin with.
    pub fn new(config: Config) -> Self {
        Self(Arc::new(RwLock::new(Arc::new(config))))
    }

    /// The one that is in force now.
    pub fn get(&self) -> Arc<Config> {
        Arc::clone(&self.0.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Another one is in force from now on.
    pub fn set(&self, config: Config) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(config);
    }
}

/// One for a process, and a part of it for each request ([`Context::for_request`]).
#[derive(Debug, Clone)]
pub struct Context {
    engine: Arc<Engine>,
    clips: Arc<ClipCache>,
    logins: Logins,
    config: SharedConfig,
    stop: Stop,
    is_alone: bool,
    asks_others: bool,
    /// Whether the first scan is done and changes are heard.
    is_ready: Arc<AtomicBool>,
}

impl Context {
    /// For operations on a running pipeline whose settings came from this configuration.
    pub fn new(engine: Arc<Engine>, config: SharedConfig) -> Self {
        let stop = engine.pipeline().stop.clone();
        Self {
            engine,
            clips: Arc::default(),
            logins: Logins::default(),
            config,
            stop,
            is_alone: true,
            asks_others: true,
            is_ready: Arc::default(),
        }
    }

    /// The same for one request among others, which can be stopped alone.
    #[must_use]
    pub fn for_request(&self) -> Self {
        Self { stop: self.stop.part(), is_alone: false, ..self.clone() }
    }

    /// The same for what another node asks, which is not passed on to a third.
    #[must_use]
    pub fn for_node(&self) -> Self {
        Self { asks_others: false, ..self.for_request() }
    }

    /// Whether what belongs to another node is asked of that one.
    pub(super) const fn asks_others(&self) -> bool {
        self.asks_others
    }

    /// Whether this process does nothing but the operation.
    pub const fn is_alone(&self) -> bool {
        self.is_alone
    }

    /// From now on the first scan is done and changes are heard.
    pub fn say_ready(&self) {
        self.is_ready.store(true, Ordering::Relaxed);
    }

    /// Whether that was said.
    pub fn is_ready(&self) -> bool {
        self.is_ready.load(Ordering::Relaxed)
    }

    /// What the pipeline shares.
    pub fn pipeline(&self) -> &PipelineContext {
        self.engine.pipeline()
    }

    /// What the stages of the running pipeline share.
    pub fn engine(&self) -> &Engine {
        &self.engine
    }

    /// Clips, and what is kept to make them.
    pub fn clips(&self) -> &ClipCache {
        &self.clips
    }

    /// Codes with which a browser logs in, and where the page is.
    pub const fn logins(&self) -> &Logins {
        &self.logins
    }

    /// The wish that this request, or the whole process, ends.
    pub const fn stop(&self) -> &Stop {
        &self.stop
    }

    /// An error if it shall end.
    pub fn go_on(&self) -> Result<(), OperationError> {
        if self.stop.is_requested() { Err(OperationError::cancelled()) } else { Ok(()) }
    }

    /// Does work that only reads media and directories between its own safe points; it ends at the next block when it shall.
    pub fn stoppable<T>(&self, work: impl FnOnce() -> T) -> Result<T, OperationError> {
        stop::stoppable(&self.stop, work).map_err(|Stopped| OperationError::cancelled())
    }

    /// The configuration in force.
    pub fn config(&self) -> Arc<Config> {
        self.config.get()
    }

    /// Carries on with what the last process left half done, to its end; for a process of its own, before its first
    /// [`Process`](super::Process): what a scan finds of such a recording is not what will be there afterwards.
    pub fn carry_on(&self) -> Result<(), OperationError> {
        self.engine.resume()?;
        self.engine.pool().wait_until_idle();
        Ok(())
    }
}
