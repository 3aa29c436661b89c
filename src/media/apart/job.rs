//! What a decoder is asked for and what it answers.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::fault::Class;
use crate::media::DecodeErrors;
use crate::media::picture::{Made, Wanted};
use crate::recording::Container;

/// What a decoder may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Memory beyond that of the program and its libraries, bytes.
    pub memory_bytes: u64,
    /// CPU time; wall-clock time is five times as much, since a decoder runs at the lowest priority.
    pub time: Duration,
    /// How long it may take until it says how far it is, if it does that.
    pub silence: Option<Duration>,
    /// Length of the answer, bytes.
    pub answer_bytes: usize,
}

/// One job.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Job {
    /// What the recording is called in messages.
    pub(super) name: String,
    pub(super) container: Container,
    pub(super) work: Work,
    /// When it is to come to an end with what it has, milliseconds of CPU time.
    pub(super) budget_ms: u64,
    pub(super) memory_bytes: u64,
    pub(super) cpu_seconds: u64,
}

/// What is to be done.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Work {
    /// A picture of it.
    Picture(Wanted),
    /// All packets are decoded: of the recording, or of its first bytes behind a header that follows the job.
    Check(Option<Headed>),
}

/// A header that is in no file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Headed {
    pub(super) header_bytes: u64,
    /// How much of the recording belongs to it, bytes.
    pub(super) len: u64,
}

/// What is said before the bytes of the picture.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Answer {
    Made(Made),
    /// What did not decode.
    Checked(Vec<DecodeErrors>),
    /// How far it has read, bytes. More follows.
    Progress(u64),
    /// Why there is none.
    Failed {
        message: String,
        class: Class,
    },
}
