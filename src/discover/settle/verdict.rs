//! The judgement: facts and the time in, settled or waiting out. Pure.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::discover::lease::LeaseState;
use crate::discover::options::WatchOptions;
use crate::discover::writers::ServerState;
use crate::recording::journey::Evidence;

/// On whose behalf is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum Mode {
    /// The daemon.
    Watch,
    /// A batch run over paths that a person named.
    Process,
    /// A recovery: temporary names count as orphaned at once where no writer is certain.
    Recover,
}

/// What was seen happening to a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum SeenEvent {
    /// `IN_CLOSE_WRITE`.
    Closed {
        /// When it reached us, milliseconds since the Unix epoch.
        at_ms: i64,
    },
    /// A rename to this name.
    Renamed {
        /// When it reached us, milliseconds since the Unix epoch.
        at_ms: i64,
    },
}

impl SeenEvent {
    const fn at_ms(self) -> i64 {
        match self {
            Self::Closed { at_ms } | Self::Renamed { at_ms } => at_ms,
        }
    }

    const fn evidence(self) -> Evidence {
        match self {
            Self::Closed { .. } => Evidence::CloseSeen,
            Self::Renamed { .. } => Evidence::RenameSeen,
        }
    }
}

/// What `/proc` says about one file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct FileProcesses {
    /// Some process has it open for writing.
    pub is_written: bool,
    /// Every process of the machine could be read.
    pub is_complete: bool,
}

/// What was seen of whoever wrote a temporary name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum WriterState {
    /// No write and no close of it was seen.
    Unseen,
    /// It was seen being written or closed, not by which process.
    Seen,
    /// A process that was seen writing it runs.
    Lives,
    /// Every process that was seen writing it has ended.
    Ended,
}

/// All that the judgement needs to know of a candidate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "each is a fact of its own")]
pub struct SettleFacts {
    /// Whether it bears a temporary name.
    pub is_temporary: bool,
    /// Whether it may be a segment that its playlist does not name yet.
    pub may_be_segment: bool,
    /// Whether a live temporary of the same name stands beside it.
    pub has_live_temporary: bool,
    /// The last close or rename that was seen of it.
    pub seen: Option<SeenEvent>,
    /// The kernel's answer about writers.
    pub lease: LeaseState,
    /// What `/proc` says, if it was asked.
    pub processes: Option<FileProcesses>,
    /// Whether the server that wrote it runs.
    pub server: ServerState,
    /// Whether the settings name that server, so that no other program is expected to write there.
    pub server_is_named: bool,
    /// What was seen of its writer; asked of temporary names only.
    pub writer: WriterState,
    /// Modification time, milliseconds since the Unix epoch.
    pub last_write_ms: i64,
    /// Since when neither size nor times have changed, milliseconds since the Unix epoch.
    pub unchanged_since_ms: i64,
}

/// What is waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum WaitReason {
    /// A process has it open for writing.
    Writer,
    /// A live temporary of the same name has to go first.
    Temporary,
    /// Only weak evidence can be had: it must have been quiet for long enough.
    Quiet,
    /// It must have been unchanged a little longer.
    Settle,
    /// A temporary name whose server may still come back to it.
    Orphan,
    /// Its state cannot be read.
    Unreadable,
}

impl fmt::Display for WaitReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Writer => "it is being written",
            Self::Temporary => "a temporary file of its name is being written",
            Self::Quiet => "it must stay unchanged for longer, because a writer cannot be ruled out",
            Self::Settle => "it has just changed",
            Self::Orphan => {
                "it has a temporary name and its server may still write to it; `recover` processes it immediately"
            }
            Self::Unreadable => "its metadata cannot be read",
        })
    }
}

/// The judgement.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SettleVerdict {
    /// Nobody writes it any more, for this reason.
    Settled(Evidence),
    /// Not yet.
    Wait {
        /// When to ask again, milliseconds since the Unix epoch.
        until_ms: i64,
        /// What is waited for.
        reason: WaitReason,
    },
}

/// Shortest time between two questions about a file that is being written.
const ASK_AGAIN_MS: i64 = 1000;

/// Judges whether a file is settled.
///
/// A writer that is seen outweighs everything. Then the strongest evidence of none counts; a temporary name must be
/// orphaned besides.
pub fn judge(facts: &SettleFacts, options: &WatchOptions, now_ms: i64, mode: Mode) -> SettleVerdict {
    let again_ms = now_ms.saturating_add(ms(options.settle).max(ASK_AGAIN_MS));
    if facts.lease == LeaseState::Held || facts.processes.is_some_and(|p| p.is_written) {
        return SettleVerdict::Wait { until_ms: again_ms, reason: WaitReason::Writer };
    }
    if facts.has_live_temporary {
        return SettleVerdict::Wait { until_ms: again_ms, reason: WaitReason::Temporary };
    }
    match no_writer(facts, options, now_ms) {
        // Segments are closed a moment before they are named; nobody waits for a batch run over what is there.
        SettleVerdict::Settled(evidence) if facts.may_be_segment && mode == Mode::Watch => {
            unless_sooner(facts, options.settle, now_ms, WaitReason::Settle, evidence)
        }
        SettleVerdict::Settled(evidence) => unless_awaited(facts, options, now_ms, mode, evidence),
        wait @ SettleVerdict::Wait { .. } => wait,
    }
}

/// The strongest evidence that nobody writes, whatever the name.
fn no_writer(facts: &SettleFacts, options: &WatchOptions, now_ms: i64) -> SettleVerdict {
    // An event older than the last write tells of an earlier writer.
    if let Some(seen) = facts.seen.filter(|s| s.at_ms() >= facts.last_write_ms) {
        return SettleVerdict::Settled(seen.evidence());
    }
    if facts.lease == LeaseState::Free {
        return SettleVerdict::Settled(Evidence::Lease);
    }
    let unchanged_ms = now_ms.saturating_sub(facts.unchanged_since_ms);
    // Processes are read one after the other, so a short-lived writer may slip through: `settle` stands in for that.
    if facts.processes.is_some_and(|p| p.is_complete) {
        return unless_sooner(facts, options.settle, now_ms, WaitReason::Settle, Evidence::ProcScan);
    }
    let for_s = u64::try_from(unchanged_ms / 1000).unwrap_or(0);
    unless_sooner(facts, options.quiet, now_ms, WaitReason::Quiet, Evidence::Unchanged { for_s })
}

fn unless_sooner(
    facts: &SettleFacts,
    after: Duration,
    now_ms: i64,
    reason: WaitReason,
    evidence: Evidence,
) -> SettleVerdict {
    let due_ms = facts.unchanged_since_ms.saturating_add(ms(after));
    if now_ms >= due_ms { SettleVerdict::Settled(evidence) } else { SettleVerdict::Wait { until_ms: due_ms, reason } }
}

/// A temporary name without a writer waits until it is orphaned.
///
/// A writer renames right after its last close, or after minutes (Ant Media asks its bucket first), and may be of any
/// name. So a write or close that was seen, or a recent last write, outweighs that no known server runs.
fn unless_awaited(
    facts: &SettleFacts,
    options: &WatchOptions,
    now_ms: i64,
    mode: Mode,
    evidence: Evidence,
) -> SettleVerdict {
    if !facts.is_temporary || mode == Mode::Recover || server_is_surely_past(facts, options) {
        return SettleVerdict::Settled(evidence);
    }
    let mut due_ms = facts.unchanged_since_ms.saturating_add(ms(options.orphan_after));
    let is_past = match facts.writer {
        WriterState::Ended => true,
        WriterState::Seen | WriterState::Lives => false,
        WriterState::Unseen => server_seems_past(facts),
    };
    if is_past {
        // Also when the writer has ended: another process (`ffmpeg … && mv …`) may rename for it.
        due_ms = due_ms.min(facts.last_write_ms.saturating_add(ms(options.orphan_grace)));
    }
    if now_ms >= due_ms {
        return SettleVerdict::Settled(evidence);
    }
    // Its writer or the server may end earlier than that, so it is asked again meanwhile.
    let pause = if facts.writer == WriterState::Lives { options.settle } else { options.quiet };
    let until_ms = due_ms.min(now_ms.saturating_add(ms(pause).max(ASK_AGAIN_MS)));
    SettleVerdict::Wait { until_ms, reason: WaitReason::Orphan }
}

/// Whether no process of the server that the process list knows can have written it. That is no proof: the writer may
/// be a program of another name.
fn server_seems_past(facts: &SettleFacts) -> bool {
    match facts.server {
        ServerState::NotRunning | ServerState::Ended { .. } => true,
        ServerState::Running { since_ms } => since_ms > facts.last_write_ms,
        ServerState::Unknown => false,
    }
}

/// Whether the server that the settings name was seen to have ended, or to have been started again, since it wrote.
fn server_is_surely_past(facts: &SettleFacts, options: &WatchOptions) -> bool {
    facts.server_is_named
        && match facts.server {
            ServerState::Running { since_ms } => since_ms > facts.last_write_ms,
            ServerState::Ended { last_seen_ms } => {
                last_seen_ms.saturating_add(ms(options.orphan_grace)) >= facts.last_write_ms
            }
            ServerState::NotRunning | ServerState::Unknown => false,
        }
}

/// A duration as milliseconds, saturating.
pub(super) fn ms(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests;
