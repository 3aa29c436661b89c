//! What can be typed about work that several nodes share.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};

use crate::operations::BatchRate;

/// Commands on batches.
#[derive(Debug, Subcommand)]
pub enum BatchCommand {
    /// Start a batch, and print its id
    Start {
        /// Directory, or s3://, az:// or gs:// URL
        #[arg(long, value_name = "ROOT")]
        root: PathBuf,
        /// What to do with each recording, instead of what `process` does
        #[arg(long, value_enum, value_name = "KIND")]
        reprocess: Option<Reprocess>,
        /// At most this many recordings a second on all nodes together, such as 50, 600/min or 1000/h
        #[arg(long, value_name = "RATE")]
        rate: Option<BatchRate>,
    },
    /// Show progress, rate, time left and failures by reason
    Status {
        /// Id of the batch; all if none is given
        id: Option<i64>,
    },
    /// Claim nothing of a batch until it is resumed
    Pause {
        /// Id of the batch
        id: i64,
    },
    /// Resume a paused batch
    Resume {
        /// Id of the batch
        id: i64,
    },
    /// End a batch; recordings that are being processed are finished
    Cancel {
        /// Id of the batch
        id: i64,
    },
}

/// What a batch does with each recording.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Reprocess {
    /// Treat temporary names as orphaned, and try again what could not be finished before
    Salvage,
    /// Make pictures
    Posters,
    /// Read headers and report what is incomplete; change nothing
    Verify,
    /// Deliver to the configured targets
    Deliver,
}

/// Options of `work`.
#[derive(Debug, Args)]
pub struct WorkArgs {
    /// End when no batch has work left, instead of waiting for more
    #[arg(long)]
    pub stop_when_empty: bool,
}
