//! Events out: webhooks and hook commands, each a named consumer of the event log, at least once and in order per recording.
//!
//! ```text
//! catalogue appends ─▶ EventNotifier wakes ─▶ Endpoint: fills its EventWindow from the log ─▶ attempts (webhook | command) ─▶ done | failed
//!                                            ╰ cursor and failures are noted in the catalogue
//! ```
//!
//! An endpoint remembers sequence numbers, not events: one that is down costs the same memory after a day as after a minute, and no
//! other waits for it. Whether a local file may be freed is asked of [`Announcer::awaits`]. This room owns no clock and no settings;
//! it must not change anything that an event tells of.

mod announcer;
mod checks;
mod command;
mod endpoint;
mod error;
mod filter;
mod message;
mod notifier;
mod options;
mod secret;
mod signature;
mod webhook;
mod window;

pub use announcer::{Announcer, AwaitedBy, Replayed};
pub use checks::{EndpointCheck, checks};
pub use command::VARIABLES;
pub use error::AnnounceError;
pub use filter::is_like;
pub use notifier::{EventListener, EventNotifier};
pub use options::{AnnounceOptions, BodyFormat, CommandOptions, DEFAULT_TYPES, Signature, WebhookOptions};
