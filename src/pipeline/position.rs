//! Where a recording stands in the journal, as the thread knows that works on it.

use super::journaling::Journaling;
use crate::catalog::{CatalogError, JournalKey};
use crate::recording::journey::{Stage, Step};

/// A recording and its stage; it moves only together with the journal.
#[derive(Debug, Clone, Copy)]
pub(super) struct Position {
    pub key: JournalKey,
    pub stage: Stage,
}

impl Position {
    /// Journals the next step. An error leaves both where they are.
    pub fn advance(&mut self, ctx: &Journaling, to: Step) -> Result<(), CatalogError> {
        let next = to.stage();
        ctx.catalog.advance(&self.key, self.stage, to, ctx.clock.now_ms())?;
        self.stage = next;
        Ok(())
    }
}
