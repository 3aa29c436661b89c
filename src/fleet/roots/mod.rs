//! Which roots this node may work on: each is registered in the database, and has one node or is shared.
//!
//! ```text
//! file in the root (`.aftercast-root`: id, node, epoch) ─╮
//! database (`root`: owner, epoch), with each heartbeat  ─┴▶ table ─▶ may this be changed, may this be deleted?
//! ```
//!
//! A node whose root was adopted by another finds that out with its next heartbeat, and before a step that cannot be undone: what
//! was last confirmed counts for 20 s. If the database cannot be reached, local roots are worked on as the file in them says.

mod refusal;
mod registered;
mod table;

pub use refusal::RootRefusal;
pub(super) use registered::{Adoption, adopt, adoptable, move_vods, owned, register};
pub(super) use table::{Confirmation, FirstRight, Holder, RootTable, judge};
pub use table::{FleetRoot, RootAct, SecondRight};
