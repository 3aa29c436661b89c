//! Several nodes with one catalogue, in PostgreSQL: what this node has catalogued is told to the database, and what all nodes have
//! catalogued is read from it.
//!
//! ```text
//! catalogue marks a change ─▶ replicate: batches, upsert by revision ─▶ schema `aftercast` ─▶ listing (this node and others)
//! event log                 ─▶                                       ─╯
//! other nodes ─▶ commands (taken once) ─▶ inbox ─▶ operations   feed (events of all)   stream_configs (what salvage needs)
//! session: connect · migrate · claim the identity (epoch + 1) · heartbeat every 5 s ─▶ health (status, metrics, log)
//! roots: whose each is ([`roots`]) · recordings in shared ones, each once ([`shared`]; rows whose files are gone: [`sweeping`])
//! work: what any node may do, each item once (batches; claims with tokens)
//! ```
//!
//! The catalogue in the state directory stays the truth of what this node is doing: nothing of a recording waits for the
//! database. Only the database's clock counts. Nothing here exists without `[fleet] database`. No statement is prepared under a
//! name and no session state is kept, so that pgbouncer may pool transactions. This room must not change a recording.

mod alive;
mod claim;
mod commands;
mod connecting;
mod counting;
mod engine;
mod error;
mod feed;
mod health;
mod heartbeat;
mod inbox;
mod listing;
mod object_removal;
mod objects;
mod options;
mod place;
mod questions;
mod replicate;
mod rooted;
mod roots;
mod rows;
mod schema;
mod shared;
mod stream_configs;
mod sweeping;
mod tls;
mod transaction;
mod work;

pub use commands::{CommandKind, CommandProgress, CommandRequest, CommandState, FleetCommand};
pub use connecting::{DatabaseCheck, check};
pub use engine::{Fleet, FleetHome, NeededFleet, leave};
pub use error::FleetError;
pub use feed::{FeedEvent, FeedPage, FeedQuery};
pub use health::FleetHealth;
pub use listing::{FleetNode, FleetOrder, FleetPage, FleetQuery, FleetVod, NodeOfVod, VodFlag};
pub use objects::{ObjectHolder, ProvenKey};
pub use options::{FleetOptions, check_address, http_address};
pub use rooted::{AdoptedRoot, CheckedRoot, check_roots};
pub use roots::{FleetRoot, RootAct, RootRefusal, SecondRight};
pub use shared::{SharedClaim, SharedItem, SharedLease, SharedResult};
pub use work::{
    BatchSpec, BatchState, BatchStatus, Batches, LIST, NewWork, OutcomeCount, PageRules, RunningBatch, SharedWork,
    WorkFailure, WorkItem, WorkResult, WorkScope,
};
