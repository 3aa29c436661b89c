//! What a decoder is asked for and what it answers.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::fault::Class;
use crate::media::picture::{Made, Wanted};
use crate::recording::Container;

/// What a decoder may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Memory beyond that of the program and its libraries, bytes.
    pub memory_bytes: u64,
    /// CPU time; wall-clock time is five times as much, since a decoder runs at the lowest priority.
    pub time: Duration,
    /// Length of the answer, bytes.
    pub answer_bytes: usize,
}

/// One job.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Job {
    /// What the recording is called in messages.
    pub(super) name: String,
    pub(super) container: Container,
    pub(super) wanted: Wanted,
    /// When it is to come to an end with what it has, milliseconds of CPU time.
    pub(super) budget_ms: u64,
    pub(super) memory_bytes: u64,
    pub(super) cpu_seconds: u64,
}

/// What is said before the bytes of the picture.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Reply {
    /// Whether its system calls were restricted.
    pub(super) is_confined: bool,
    pub(super) answer: Answer,
}

/// What came of a job.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Answer {
    Made(Made),
    /// Why there is none.
    Failed {
        message: String,
        class: Class,
    },
}
