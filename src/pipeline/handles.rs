//! What the narrow contexts are made from.

use std::sync::Arc;

use super::active_config::ActiveConfig;
use super::roots::Roots;
use crate::catalog::Catalog;
use crate::clock::Clock;
use crate::fleet::Fleet;
use crate::stop::Stop;

/// Handles on what each context has a part of; a context takes those that its functions use.
pub(super) struct Handles {
    pub catalog: Catalog,
    pub clock: Clock,
    pub stop: Stop,
    pub config: ActiveConfig,
    pub roots: Arc<Roots>,
    pub fleet: Option<Fleet>,
}

impl Handles {
    pub fn new(catalog: Catalog, clock: Clock, stop: Stop, config: ActiveConfig, fleet: Option<Fleet>) -> Self {
        let roots = Arc::new(Roots::new(&catalog, &config, fleet.as_ref()));
        Self { catalog, clock, stop, config, roots, fleet }
    }
}

#[cfg(test)]
impl Handles {
    /// For one context alone: an empty catalogue in a directory, no targets, and a clock that stands.
    pub fn for_test(dir: &std::path::Path) -> Self {
        let settings = super::PipelineSettings { state_dir: dir.join("state"), ..Default::default() };
        let catalog = Catalog::open(&settings.state_dir).unwrap();
        let runtime = crate::runtime::Runtime::start().unwrap();
        let targets = crate::deliver::Targets::open(&settings.deliver, &runtime).unwrap();
        let clock = Clock::standing_at(1_700_000_000_000);
        let snapshot = super::active_config::ConfigSnapshot::of(settings, targets, &clock, None);
        Self::new(catalog, clock, Stop::default(), ActiveConfig::new(snapshot), None)
    }
}
