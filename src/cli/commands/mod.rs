//! One file per command. A command gets what it works on and two ends to print to, so that it runs in a process of its
//! own and behind the daemon's socket alike.

pub mod catalog;
pub mod config;
pub mod doctor;
pub mod help;
pub mod inspect;
pub mod process;
pub mod queue;
pub mod recover;
pub mod retain;
pub mod undo;
pub mod vod;
pub mod watch;

use std::io;

use crate::catalog::CatalogError;
use crate::durable::RootError;
use crate::fault::Fault;

/// Why a command ended early: an error with its class and hint, or output that nobody reads any more.
#[derive(Debug)]
pub enum Failure {
    /// The configuration is wrong.
    Configuration(Box<dyn Fault>),
    /// Another process owns the state directory and does not answer.
    InUse(CatalogError),
    /// Another process owns a root that was named.
    RootInUse(RootError),
    /// A room's error.
    Fault(Box<dyn Fault>),
    /// The command was used wrongly.
    Usage(String),
    /// Writing the results failed.
    Output(io::Error),
}

impl<E: Fault + 'static> From<E> for Failure {
    fn from(error: E) -> Self {
        Self::Fault(Box::new(error))
    }
}

impl Failure {
    /// For results that cannot be written.
    pub const fn output(error: io::Error) -> Self {
        Self::Output(error)
    }
}
