//! The only `unsafe` of the program: safe faces over libavformat, libavcodec and libswscale.
//!
//! Everything here hands plain Rust values to the rest of the room. Files are opened by us and given to FFmpeg as
//! streams (`ahead`, `behind`), so errors keep their kind and FFmpeg opens nothing.

mod ahead;
mod behind;
pub(in crate::media) mod decoder;
mod extras;
mod facts;
mod headed;
mod late;
mod leading;
pub(in crate::media) mod library;
pub(in crate::media) mod log;
pub(in crate::media) mod picture;
pub(in crate::media) mod sink;
pub(in crate::media) mod source;
pub(in crate::media) mod stream;
mod tags;

pub(in crate::media) use extras::Chapter;
pub(in crate::media) use ffmpeg_next::Packet;
pub(in crate::media) use ffmpeg_next::packet::Flags;
pub(in crate::media) use sink::Sink;
pub(in crate::media) use source::{MediaSource, ProbeDepth, ReadOutcome};
pub(in crate::media) use stream::TimeBase;
