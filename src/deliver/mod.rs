//! Object stores: puts finished recordings into buckets and directories, and proves that they arrived.
//!
//! Owns `object_store`, runs its calls on the process's runtime and shows a blocking face, [`Targets`]. A delivery succeeds
//! only when the store itself reports the size and, where it reports one, the checksum of what was read from disk in the same
//! pass.
//!
//! It must not decide what is delivered when (the pipeline does), nor free anything locally (`retain` does).

mod adopt;
mod asking;
mod assembling;
mod assembly_parts;
mod attributes;
mod azure;
mod backend;
mod bandwidth;
mod blocks;
mod borrowed;
mod bucket;
mod buffers;
mod checksum;
mod composing;
mod conditions;
mod credentials;
mod diagnose;
mod directory;
mod doctor;
mod error;
mod google;
mod inventory;
mod ledger;
mod limits;
mod linking;
mod location;
mod memory;
mod multipart;
mod names;
mod network;
mod objects;
mod options;
mod parts;
mod profile;
mod raw_listing;
mod reading;
mod source;
mod tags;
mod target;
#[cfg(test)]
mod tests;
mod transfer;
mod trial;
mod uplink;
mod upload;
mod verify;
mod view;
mod wire;
#[cfg(test)]
mod words;
mod xml;

pub use asking::ProofCheck;
pub use assembling::{Assembled, Assembly};
pub use assembly_parts::{AssemblyPart, ServerCopy};
pub use attributes::{ObjectAttributes, content_type};
pub use borrowed::bucket_options;
pub use composing::is_composed_header;
pub use credentials::{ReadableSecret, readable_secrets};
pub use diagnose::{Cause, Provider, Verb};
pub use doctor::TargetCheck;
pub use error::{DeliverError, Result};
pub use inventory::{InventoryObject, ObjectOrigin};
pub use ledger::{Ledger, LedgerFault, NullLedger, SharedKeys};
pub use linking::{Link, LinkOptions};
pub use memory::{MemoryBucket, MemoryObject};
pub use objects::{ObjectPage, SeenObject};
pub use options::*;
pub use parts::{PartPlan, SINGLE_PUT_MAX_BYTES};
pub use reading::{Looked, Pinned, PinnedObject};
pub use target::{Difference, RemoteState, Removal, Targets};
pub use view::VisibleRoot;
pub use wire::OpenUpload;
