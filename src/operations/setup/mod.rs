//! `setup`: a first run. Finds ingest servers, proposes a configuration, writes it.
//!
//! ```text
//! find (/proc, configuration files) ─▶ propose (pure) ─▶ text (pure) ─▶ check ─▶ write_configuration
//! ```
//!
//! It needs no catalogue and no daemon, so its steps are functions and not operations of the interface: whoever can ask a
//! daemon has a configuration. What is asked of a person is asked in `cli/`.

mod accounts;
mod apply;
mod find;
mod propose;
mod render;
mod service;

pub use accounts::Accounts;
pub use apply::{Credential, check, is_packaged, is_taken, taken, write_configuration, write_credential};
pub use find::{FoundRoot, FoundServer, PathKind, find, place};
pub use propose::{NoProposal, Proposal, Wishes, propose, summary};
pub use render::{Surroundings, USER, next_commands, text};
pub use service::checks_of_service;
