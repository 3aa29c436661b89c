//! FFmpeg behind one door.
//!
//! What media is in a file ([`probe`]), one full pass over its packets ([`read`]), the same packets in another
//! container ([`remux`]), and whether two readings hold the same media ([`compare`]). This is the only room that
//! knows ffmpeg-next, and `ffi` is the only place with `unsafe`; no FFmpeg type leaves.
//!
//! Files are opened by us and handed over as streams: libavformat opens nothing by itself, so a hostile recording
//! cannot reach the network, a playlist or another file, and a name need not be UTF-8. A clean end of file says
//! nothing about wholeness; [`whole`] compares what the container declares with what is there.

pub mod apart;
mod compare;
mod decode;
mod error;
mod excerpt;
mod ffi;
mod fits;
mod flv;
mod frame;
mod meter;
mod payload;
mod picture;
mod presented;
mod probe;
mod reading;
mod remux;
mod slab;
mod superframes;
mod tables;
#[cfg(test)]
mod tests;
mod timeline;
mod versions;
mod watch;
pub mod whole;

pub use compare::{Mismatch, compare, differences};
pub use decode::{DecodeErrors, decode_check, decode_check_headed};
pub use error::MediaError;
pub use excerpt::{ExcerptResult, decode_excerpt, decode_from_keys};
pub use fits::fits;
pub use flv::{FlvMetadata, FlvPacket, FlvUnit, FlvWalk, WalkControl, flv_said, flv_unsound_at, is_flv_head, walk_flv};
pub use meter::TrackReading;
pub use picture::{Format as PictureFormat, Made as MadePicture, Wanted as WantedPicture};
pub use presented::PresentationTimes;
pub use probe::{Probe, ProbedTrack, probe};
pub use reading::{MediaReading, read};
pub use remux::{HeaderPlacement, OutputStart, Remux, Remuxed, remux};
pub use tables::read_by_tables;
pub use versions::{Versions, is_installed, versions};
pub use watch::PassControl;
