//! Operations for other processes: HTTP/1.1 with JSON under `/api/v1`, on the Unix socket in the daemon's state directory (mode
//! 0600), and the client that commands use beside a daemon.
//!
//! ```text
//! Client ─▶ request ─▶ HttpServer ─▶ router ─▶ a thread of its own: Operation::run ─▶ one JSON value
//!                                                                              ╰▶ lines: {"item":…} … {"data":…} or {"error":…}
//! ```
//!
//! Errors before the first line are `application/problem+json` (RFC 9457) with class, cause and next step. A client that goes away stops what
//! it asked for at the next safe point; one that does not send is let go after a while, and one that reads slowly (`vod export |
//! less`) slows down its own operation only. This room decides nothing: what can be asked for is an operation.

mod access;
mod answer_cache;
mod answering;
mod antmedia;
mod asking;
mod client;
mod coding;
mod error;
mod events;
mod fleet_events;
mod listening;
mod media;
mod metrics;
mod openapi;
mod page;
mod playback;
mod public;
mod routes;
mod sessions;
mod sharing;
#[cfg(test)]
mod tests;
mod tls;
mod uploading;
mod wire;
mod writing;

pub use access::Role;
pub use client::Client;
pub use error::ServeError;
pub use listening::{HttpServer, Secrets};
pub use routes::{AnswerForm, Method, ROUTES, Route};
