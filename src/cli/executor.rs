//! Whom a command asks for an operation: this process, which has the state directory, or the daemon that has it.

use std::io;

use super::commands::CommandError;
use crate::operations::{Context, NoItem, OperationError};
use crate::serve::{Client, Route};

/// Who does what a command asks for.
#[derive(Debug)]
pub enum Executor {
    /// This process.
    Here(Context),
    /// The daemon that has the state directory, or owns the root.
    Daemon(Client),
}

impl Executor {
    /// Has an operation done; `print` gets each item as it comes, and an item that cannot be printed ends the operation.
    pub fn perform<O: Route>(
        &self,
        operation: &O,
        mut print: impl FnMut(O::Item) -> io::Result<()>,
    ) -> Result<O::Data, CommandError> {
        let mut unprinted = None;
        let mut tell = |item| {
            print(item).map_err(|error| {
                unprinted = Some(error);
                OperationError::cancelled()
            })
        };
        let done = match self {
            Self::Here(context) => operation.run(context, &mut tell),
            Self::Daemon(client) => client.perform(operation, &mut tell),
        };
        unprinted.map_or(done.map_err(CommandError::Operation), |error| Err(CommandError::Output(error)))
    }

    /// Has an operation done that tells nothing on the way.
    pub fn ask<O: Route<Item = NoItem>>(&self, operation: &O) -> Result<O::Data, CommandError> {
        self.perform(operation, |nothing| match nothing {})
    }
}
