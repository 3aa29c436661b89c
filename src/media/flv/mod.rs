//! Flash Video (Adobe FLV 10.1, annex E) read by ourselves, for files with codecs that libavformat does not know there.
//!
//! H.265 and AV1 under the codec ids 12 and 13 that CDNs use, and everything of enhanced RTMP (its extended headers and
//! `FourCC` codes): Debian's FFmpeg takes them for other codecs or passes them on without one. All other FLV files are
//! libavformat's. Tag by tag and pure over `Read + Seek`; nothing here knows FFmpeg.
//!
//! [`walk_flv`] is for the sound ones among all of them: it names every packet with its place and time, for sample tables.

mod body;
mod extended;
mod reader;
mod script;
pub(super) mod tag;
mod walk;

pub(super) use body::{BodyContent, FlvBody};
pub(super) use extended::ExtendedClock;
pub(super) use reader::{FlvReader, FlvStep};
pub use script::{FlvMetadata, flv_said};
pub(super) use tag::{FlvTag, SCRIPT, TAG_HEADER_BYTES, TRAILER_BYTES, first_tag, read_tag, read_up_to};
pub(super) use walk::is_metadata;
pub use walk::{FlvPacket, FlvUnit, FlvWalk, WalkControl, flv_unsound_at, is_flv_head, walk_flv};
