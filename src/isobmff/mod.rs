//! ISO base media (ISO/IEC 14496-12): what a file's header says, whether it holds, and a header written anew.
//!
//! Nearly everything that is wrong with an MP4 on disk is in its header, so this room reads and writes headers only. It
//! is pure over `Read + Seek` and never reads the body of an `mdat`, except to digest payloads ([`payloads`]).
//!
//! ```text
//! file ─ boxes::top_level ─▶ Layout ─ Movie::read ─▶ Movie ─ validate ─▶ ValidationResult (defects, track summaries)
//!                               │                      │
//!                               ├─ SparseMovie::read   │  (sizes and chunk offsets stay in the file, for clips)
//!                               ├─ fragment::read ─────┤  (tables of moof … become tables of moov)
//!                               │                      │
//!                               ╰──── FrontPlan ◀──────╯  (new header, ranges of the old file behind it)
//! ```
//!
//! Every limit is a named constant. A hostile header ends in a defect or an error within time and memory that its own
//! bytes pay for: tables are taken as far as their bytes go, and walks are over tables, not over claimed counts.

mod accounting;
pub mod appended;
mod astray;
pub mod boxes;
pub mod build;
mod codec;
mod compare;
mod cursor;
mod encode;
mod error;
pub mod fragment;
pub mod headers;
mod lookup;
mod mend;
pub mod movie;
mod nal;
pub mod outside;
mod overview;
pub mod payloads;
mod place;
pub mod plan;
pub mod samples;
mod schedule;
mod sparse;
pub mod tables;
mod tags;
mod timeline;
pub mod track;
pub mod validate;
mod wrapped;
mod writer;
mod zeros;

pub use accounting::{media_bodies, unexplained, unlisted};
pub use appended::AppendedRecordings;
pub use astray::find as find_header;
pub use boxes::{BoxHeader, FileShape, FourCc, Layout, top_level};
pub use build::{NewSample, TableBuilder};
pub use compare::first_difference;
pub use error::IsoError;
pub use fragment::FragmentedMovie;
pub use fragment::write::{FragmentSample, IndexEntry, TrackFragment, fragment, segment_index};
pub use headers::pasp::PixelAspect;
pub use lookup::{SampleLookup, SampleTime};
pub use movie::Movie;
pub use outside::{check_for_others, check_headers};
pub use overview::TableOverview;
pub use payloads::{PacketCheck, check_packets, first_payload_digests, payload_digests};
pub use place::{FrontTail, front_header, relocated};
pub use plan::FrontPlan;
pub use samples::{Chunk, Sample, SampleTables};
pub use schedule::{PresentationStart, common_timescale};
pub use sparse::SparseMovie;
pub use tags::Tags;
pub use track::Track;
pub use validate::{ValidationResult, validate};
pub use wrapped::unwrap_offsets;
pub use writer::has_brand;
pub use zeros::{end_of_data, end_of_data_in};

#[cfg(test)]
mod tests;
