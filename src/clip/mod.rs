//! Clips: a span of time of a stream as one virtual MP4 over the finished files of the catalogue, and the timeline of a stream.
//!
//! ```text
//! stream, [start, end) ─ choose ─▶ VoDs ─ indexed (cached) ─▶ sample tables ─ cut ─▶ samples of each file
//!                                            ─ join ─▶ tracks on one clock ─ progressive | fragmented ─▶ Clip
//! ```
//!
//! A [`Clip`] is a header in memory and ranges of files, so its length is known and any range of it can be read. Media is neither copied
//! nor decoded. A clip holds whole samples: it begins at the keyframe before the start, and an edit list hides what is before the start and
//! behind the end. A gap between two recordings is silence and the duration of the last picture before it: times in the clip are those of
//! the clock on the wall. This room reads files through `durable`, those that were freed through `deliver` by ranges of their proven
//! copies, and changes nothing.

mod cache;
mod choose;
mod cut;
mod error;
mod fragmented;
mod indexed;
mod join;
mod kept;
mod layout;
mod place;
mod progressive;
mod reader;
mod silence;
mod stores;
mod timeline;

pub use cache::ClipCache;
pub use choose::{ClipFormat, ClipRequest};
pub use error::ClipError;
pub use layout::Clip;
pub use reader::ClipReader;
pub use stores::Stores;
pub use timeline::{Timeline, TimelineSpan, timeline};
