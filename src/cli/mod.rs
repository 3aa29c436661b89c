//! Commands: what the operator types, and what is printed in answer.
//!
//! ```text
//! arguments ─▶ args ─▶ run ─┬─ needs no house: inspect, doctor, config, completions, man
//!                           ├─ opens the house itself ─────────────▶ commands/…
//!                           ╰─ the daemon has it: socket ─▶ the daemon ─▶ commands/…
//! ```

pub mod args;
pub mod bars;
mod commands;
pub mod exit;
pub mod human;
pub mod logging;
mod memory;
pub mod output;
pub mod progress;
pub mod report;
pub mod run;
pub mod signals;
pub mod socket;
pub mod table;

pub use run::main;
