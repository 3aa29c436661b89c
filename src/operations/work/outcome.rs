//! How work on an item ended, before the database has accepted it.

use std::time::Duration;

use serde_json::Value;

use super::super::reason::reason_of;
use crate::fault::{Class, Fault, chain};
use crate::fleet::{NewWork, WorkFailure, WorkResult};
use crate::printable::Printable;
use crate::recording::Defect;

/// How it ended.
#[derive(Debug)]
pub(super) enum ItemOutcome {
    /// A page was listed.
    Page {
        /// What was found.
        found: Vec<NewWork>,
        /// Where the next one begins.
        next: Option<String>,
    },
    /// It is done.
    Done(Box<WorkResult>),
    /// It failed.
    Failed(WorkFailure),
    /// It cannot be done yet.
    Later {
        /// What is waited for.
        why: String,
        /// How long.
        after: Duration,
    },
    /// This process was told to stop.
    Stopped,
}

impl ItemOutcome {
    pub fn done(outcome: &str, details: Value) -> Self {
        Self::Done(Box::new(WorkResult { outcome: outcome.to_owned(), details, vod: None }))
    }

    pub fn failed(class: Class, message: &str) -> Self {
        Self::Failed(WorkFailure { class, reason: reason_of(message), message: message.to_owned() })
    }

    pub fn of(error: &dyn Fault) -> Self {
        match error.class() {
            Class::Cancelled => Self::Stopped,
            class => Self::failed(class, &chain(error)),
        }
    }

    /// It can never be finished, for what is wrong with it.
    pub fn unusable(defects: &[Defect]) -> Self {
        let words: Vec<_> = defects.iter().map(|defect| Printable(defect).to_string()).collect();
        let message = if words.is_empty() { "it cannot be finished".to_owned() } else { words.join("; ") };
        let reason = words.first().map_or_else(|| message.clone(), |first| reason_of(first));
        Self::Failed(WorkFailure { class: Class::Permanent, reason, message })
    }
}
