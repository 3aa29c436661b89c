//! One file per command. A command gets what it works on and two ends to print to, so that it runs in a process of its
//! own and behind the daemon's socket alike.

pub mod catalog;
pub mod config;
pub mod doctor;
pub mod inspect;
pub mod process;
pub mod queue;
pub mod retain;
pub mod vod;
pub mod watch;

use std::error::Error;
use std::io;

use crate::fault::Fault;

/// Why a command ended early: an error with its class and hint, or output that nobody reads any more.
#[derive(Debug)]
pub enum Failure {
    /// A room's error.
    Fault(Box<dyn Fault + Send + Sync>),
    /// The command was used wrongly.
    Usage(String),
    /// Writing the results failed.
    Output(io::Error),
}

impl<E: Fault + Send + Sync + 'static> From<E> for Failure {
    fn from(error: E) -> Self {
        Self::Fault(Box::new(error))
    }
}

impl Failure {
    /// For results that cannot be written.
    pub const fn output(error: io::Error) -> Self {
        Self::Output(error)
    }

    /// The error itself, where there is one.
    pub fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Fault(_) | Self::Usage(_) => None,
            Self::Output(error) => Some(error),
        }
    }
}
