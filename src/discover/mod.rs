//! Which files exist, what changed, and whether anybody is still writing.
//!
//! ```text
//! RootWatcher (hints) ─╮
//! scan (truth) ────────┴─▶ Candidate ─▶ Settler ─▶ Settled (with Evidence) | Wait (until, why) | Gone | Changed
//!                       ╰▶ Unit (HLS, DASH: delivered whole, never a recording)
//! ```
//!
//! Assumes nothing about what becomes of a recording. It opens files for reading only, changes none, and must not
//! keep one open: another process may want to write it.

mod candidate;
mod configured;
mod error;
mod existing;
mod fragments;
mod growing;
mod hls;
mod lease;
mod mediamtx_playback;
mod mounts;
mod newest;
mod options;
mod pages;
mod preset;
mod root;
mod running;
mod scan;
mod settle;
mod watch;
mod writers;

pub use candidate::{NameClass, NameRules};
pub use configured::{Configured, configuration_at, configuration_of, installed_configuration};
pub use error::{DiscoverError, Problem};
pub use existing::{ExistingSummary, KindCount};
pub use fragments::{FragmentHandling, fragments_of};
pub use growing::{GROWS_WITHIN, Growth, OpenFor, OpenHere, is_recent, open_here};
pub use hls::{Readiness, Unit, UnitKind};
pub use lease::{LeaseState, LeaseUnavailable, is_on_network, probe};
pub use newest::{NewestCandidates, newest_first};
pub use options::*;
pub use pages::{FilePage, file_page};
pub use preset::{NameReading, Namer, ServerChoice, TemplateError, check_template, choose_for_root, choose_server};
pub use root::{RootedPath, root_of};
pub use running::{RunningServer, running_servers};
pub use scan::{Finding, PathClass, Scan, Search};
pub use settle::{
    FileProcesses, Mode, SeenEvent, SettleFacts, SettleOutcome, SettleVerdict, Settled, Settler, WaitReason,
    WriterState, judge,
};
pub use watch::{RootWatcher, WatchEvent};
pub use writers::{OpenFiles, ProcessId, ServerState};
