//! What can go wrong between this process and a decoder.

use std::io;
use std::time::Duration;

use crate::fault::{Class, Fault};

/// An error of a job. None of them says anything about the recording but that this was not done.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ApartError {
    /// The process cannot be started, or not be talked to.
    #[error("cannot run the decoder process")]
    Start(#[source] io::Error),
    /// It took too long.
    #[error("the decoder took longer than {} s and was ended", .0.as_secs())]
    TimedOut(Duration),
    /// It said nothing of how far it is.
    #[error("the decoder made no progress for {} s and was ended", .0.as_secs())]
    Silent(Duration),
    /// It crashed, or met one of its limits.
    #[error("the decoder was ended by {}", signal_name(*.0))]
    Signal(i32),
    /// It ended without an answer.
    #[error("the decoder ended without an answer (exit code {0})")]
    NoAnswer(i32),
    /// It answered more than it may.
    #[error("the decoder answered more than {0} bytes")]
    TooLarge(usize),
    /// It says why it cannot do it.
    #[error("{message}")]
    Refused {
        /// Its words.
        message: String,
        /// What to do about it.
        class: Class,
    },
    /// A stop was requested.
    #[error("stopped")]
    Stopped,
}

impl ApartError {
    /// Whether the decoder died of it, which may be once and not again: the kernel was out of memory, or somebody killed it.
    pub const fn is_death(&self) -> bool {
        matches!(self, Self::Signal(_) | Self::NoAnswer(_))
    }
}

impl Fault for ApartError {
    fn class(&self) -> Class {
        match self {
            Self::Start(_) => Class::Environment,
            Self::Stopped => Class::Cancelled,
            Self::Refused { class, .. } => *class,
            _ => Class::Permanent,
        }
    }
}

fn signal_name(signal: i32) -> String {
    let name = match signal {
        libc::SIGILL => "SIGILL",
        libc::SIGABRT => "SIGABRT",
        libc::SIGBUS => "SIGBUS",
        libc::SIGFPE => "SIGFPE",
        libc::SIGKILL => "SIGKILL",
        libc::SIGSEGV => "SIGSEGV",
        libc::SIGSYS => "SIGSYS",
        libc::SIGXCPU => "SIGXCPU: it used all CPU time that it is allowed",
        other => return format!("signal {other}"),
    };
    format!("signal {signal} ({name})")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_end_is_said_in_words() {
        assert_eq!(ApartError::Signal(6).to_string(), "the decoder was ended by signal 6 (SIGABRT)");
        assert!(ApartError::Signal(libc::SIGXCPU).to_string().contains("CPU time"));
        assert_eq!(ApartError::Stopped.class(), Class::Cancelled);
    }
}
