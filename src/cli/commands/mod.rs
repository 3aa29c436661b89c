//! One file per command: it asks for operations and prints what they answer, in a process of its own and beside a daemon
//! alike.

pub mod adopt;
pub mod batch;
pub mod bucket;
pub mod catalog;
pub mod config;
pub mod doctor;
pub mod events;
pub mod help;
pub mod inspect;
pub mod open;
pub mod process;
pub mod queue;
pub mod recover;
pub mod rescan;
pub mod retain;
pub mod setup;
pub mod status;
pub mod stream;
pub mod undo;
pub mod vod;
pub mod watch;
pub mod work;

use std::io;

use crate::operations::OperationError;

/// Why a command ended early.
#[derive(Debug)]
pub enum CommandError {
    /// What was asked for did not happen.
    Operation(OperationError),
    /// Writing the results failed.
    Output(io::Error),
}

impl<E: Into<OperationError>> From<E> for CommandError {
    fn from(error: E) -> Self {
        Self::Operation(error.into())
    }
}

impl CommandError {
    /// For results that cannot be written.
    pub const fn output(error: io::Error) -> Self {
        Self::Output(error)
    }

    /// The command was used wrongly.
    pub fn usage(text: impl Into<String>) -> Self {
        Self::Operation(OperationError::invalid(text))
    }
}
