//! Commands: what the operator types, and what is printed in answer.
//!
//! ```text
//! arguments ─▶ args ─▶ run ─┬─ needs no state directory: inspect, doctor, config, setup, completions, man
//!                           ╰─ commands/… ─▶ executor ─┬─ opens the state directory itself ─▶ operations
//!                                                      ╰─ a daemon has it: serve::Client ─▶ the daemon ─▶ operations
//! ```

pub mod args;
mod asking;
pub mod bars;
mod commands;
pub mod executor;
pub mod exit;
pub mod logging;
mod memory;
pub mod output;
pub mod progress;
pub mod report;
pub mod run;
mod sheet;
pub mod signals;
pub mod table;

pub use run::main;
