//! What the daemon is told from outside.

use std::fmt;

use super::active_config::PipelineSettings;

/// What the daemon is told from outside.
pub enum Control {
    /// New settings (SIGHUP).
    Reload {
        /// All of them.
        settings: Box<PipelineSettings>,
        /// Is told when they are in force.
        then: Box<dyn FnOnce() + Send>,
    },
}

impl fmt::Debug for Control {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self::Reload { settings, .. } = self;
        f.debug_struct("Reload").field("settings", settings).finish_non_exhaustive()
    }
}
