//! The lost beginnings of Matroska, WebM and FLV: what a demuxer must read before the first packet, made from another
//! recording of the stream, in front of what is left of the file.
//!
//! Nothing of the media is changed: the mended file is new bytes, then the old file from its first whole block on.

mod blocks;
mod clusters;
mod ebml;
mod flv;
mod matroska;
mod times;

use std::io::{Read, Seek};

use super::reference::{Reference, ReferenceTrack};
use super::source::Source;
use super::{Origin, SalvageError};
use crate::isobmff;
use crate::recording::Container;
pub use clusters::ClusterRepair;

/// Bytes by which a head is known.
const SEEN_BYTES: usize = 16;
/// Bytes read at once where only the beginnings of elements are looked at.
const GLANCE_BYTES: usize = 8192;
/// Largest head that is remembered.
pub const MOST_HEAD_BYTES: usize = 64 << 10;

/// A file with a new beginning.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MendedFile {
    /// What stands in front.
    pub head: Vec<u8>,
    /// From where on the old file follows.
    pub from: u64,
    /// Where the reference came from.
    pub source: Origin,
}

/// The parts of a sound file that another one of its stream may need in front; `None` for containers that need none.
pub fn head_of<R: Read + Seek>(reader: R, len: u64, container: Container) -> Option<Vec<u8>> {
    let mut source = Source::new(reader, len);
    let head = match container {
        Container::Matroska | Container::Webm => matroska::head_of(source.at(0, MOST_HEAD_BYTES)),
        Container::Flv => flv::head_of(source.at(0, MOST_HEAD_BYTES)),
        _ => None,
    };
    source.finish().ok().and(head)
}

/// A new beginning for a file of `len` bytes that has lost its own; `None` if no reference has one, or if nothing of
/// the container is left.
pub fn mend<R: Read + Seek>(
    reader: R,
    len: u64,
    container: Container,
    references: &[Reference],
) -> Result<Option<MendedFile>, SalvageError> {
    let mut source = Source::new(reader, len);
    if is_head(source.at(0, SEEN_BYTES), container) {
        source.finish().map_err(SalvageError::Read)?;
        return Ok(Some(MendedFile { head: Vec::new(), from: 0, source: Origin::Media }));
    }
    let mended = match container {
        Container::Matroska | Container::Webm => {
            let heads = references.iter().filter_map(|r| Some((matroska_head(r, container)?, r.origin)));
            let place = clusters::first_block(&mut source, len);
            heads.take(1).next().zip(place).map(|((head, origin), place)| MendedFile {
                head: [&head[..], &place.opening].concat(),
                from: place.at,
                source: origin,
            })
        }
        Container::Flv => {
            let heads = references.iter().filter_map(|r| Some((flv_head(r)?, r.origin)));
            let place = flv::first_tag(&mut source, len);
            heads.take(1).next().zip(place).map(|((head, source), from)| MendedFile { head, from, source })
        }
        _ => None,
    };
    source.finish().map_err(SalvageError::Read)?;
    Ok(mended)
}

fn is_head(bytes: &[u8], container: Container) -> bool {
    match container {
        Container::Matroska | Container::Webm => matroska::is_head(bytes),
        Container::Flv => flv::is_head(bytes),
        _ => false,
    }
}

/// Whether clusters of a Matroska or WebM file with a head were hit.
pub fn are_clusters_hit<R: Read + Seek>(mut reader: R, len: u64) -> Result<bool, SalvageError> {
    // Zeros behind it are not read by anybody.
    let data_end = isobmff::end_of_data(&mut reader, len)?;
    let mut source = Source::with_window(&mut reader, data_end, GLANCE_BYTES);
    let is_sound = clusters::is_sound(&mut source, data_end);
    source.finish().map_err(SalvageError::Read)?;
    if is_sound {
        return Ok(false);
    }
    Ok(!repair_clusters(reader, len)?.patches.is_empty())
}

/// What mends the clusters of a Matroska or WebM file with a head.
pub fn repair_clusters<R: Read + Seek>(mut reader: R, len: u64) -> Result<ClusterRepair, SalvageError> {
    let data_end = isobmff::end_of_data(&mut reader, len)?;
    let mut source = Source::new(reader, len);
    let repair = clusters::repair(&mut source, data_end, len);
    source.finish().map_err(SalvageError::Read)?;
    Ok(repair)
}

fn matroska_head(reference: &Reference, container: Container) -> Option<Vec<u8>> {
    let own = reference.head.as_ref().filter(|head| matroska::is_head(head));
    own.cloned().or_else(|| matroska::head_for(&reference.tracks, container))
}

fn flv_head(reference: &Reference) -> Option<Vec<u8>> {
    let own = reference.head.as_ref().filter(|head| flv::is_head(head));
    own.cloned().or_else(|| flv::head_for(&reference.tracks))
}

/// A box of a track's sample description by its name.
fn configuration(known: &ReferenceTrack, name: [u8; 4]) -> Option<&[u8]> {
    super::reference::configuration(known.track.descriptions.raw(), name)
}

/// The `AudioSpecificConfig` in the `esds` of a track: the decoder specific info (ISO/IEC 14496-1 §7.2.6.7).
fn audio_specific(known: &ReferenceTrack) -> Option<&[u8]> {
    const TAG: u8 = 5;
    let esds = configuration(known, *b"esds")?;
    // Behind the decoder configuration, whose fixed part is 13 bytes long and begins with the kind of object.
    let start = esds.windows(2).position(|w| w[0] == 0x40 && w[1] & 0xFC == 0x14)? + 13;
    let (tag, mut rest) = esds.get(start..)?.split_first()?;
    let mut length = 0_usize;
    loop {
        let (byte, behind) = rest.split_first()?;
        rest = behind;
        length = length << 7 | usize::from(byte & 0x7F);
        if byte & 0x80 == 0 {
            break;
        }
    }
    rest.get(..length).filter(|_| *tag == TAG)
}
