//! One track of a movie: what it is, when its samples are due and where they lie.

use super::boxes::FourCc;
use super::codec::codec_name;
use super::cursor::{ChildBox, children_of};
use super::error::DefectLog;
use super::headers::stsd::{SampleDescriptions, SampleEntry};
use super::headers::{dref, mdhd::MediaHeader, pasp::PixelAspect, tkhd::TrackHeader};
use super::samples::{Chunks, SampleTables, Samples};
use super::tables::elst::Edit;
use super::tables::{ctts, elst, sdtp, stco, stsc, stss, stsz, stts};
use super::timeline::extent;
use crate::recording::TrackKind;

/// Boxes that are not understood here, byte for byte, by the box they lie in.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct KeptBoxes {
    pub(super) trak: Vec<u8>,
    pub(super) mdia: Vec<u8>,
    pub(super) minf: Vec<u8>,
    pub(super) stbl: Vec<u8>,
}

/// A track (ISO/IEC 14496-12 §8.3).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Track {
    /// `tkhd`.
    pub header: TrackHeader,
    /// `mdhd`.
    pub media: MediaHeader,
    /// What kind of media: `vide`, `soun`, `text`, …
    pub handler: FourCc,
    /// `stsd`.
    pub descriptions: SampleDescriptions,
    /// `elst`; empty if there is none.
    pub edits: Vec<Edit>,
    /// The sample tables.
    pub tables: SampleTables,
    /// The `hdlr` box, byte for byte.
    pub(super) hdlr: Vec<u8>,
    /// For each entry of `dref`, whether it means this file.
    pub(super) data_references: Vec<bool>,
    pub(super) kept: KeptBoxes,
}

impl Track {
    /// Makes a track from nothing: `stsd` is a whole box, the picture size in samples is 0 × 0 for sound. It is shown as wide as
    /// the first description says.
    ///
    /// `None` if `stsd` is no such box.
    pub fn new(id: u32, handler: FourCc, timescale: u32, stsd: &[u8], (width, height): (u16, u16)) -> Option<Self> {
        let mut minf = media_information(handler);
        minf.extend(dref::SELF_CONTAINED_DINF);
        let descriptions = SampleDescriptions::new(stsd, handler)?;
        let aspect = descriptions.entries().first().and_then(|entry| entry.aspect).unwrap_or(PixelAspect::SQUARE);
        Some(Self {
            header: TrackHeader::new(id, handler.0 == *b"soun", aspect.shown_width(width), height),
            media: MediaHeader::new(timescale),
            handler,
            descriptions,
            edits: Vec::new(),
            tables: SampleTables::default(),
            hdlr: handler_box(handler),
            data_references: vec![true],
            kept: KeptBoxes { minf, ..KeptBoxes::default() },
        })
    }

    /// The track's number, as `tkhd` gives it.
    pub const fn id(&self) -> u32 {
        self.header.id
    }

    /// Ticks per second of the track's clock; never 0.
    pub const fn timescale(&self) -> u32 {
        self.media.timescale
    }

    /// What it carries.
    pub const fn kind(&self) -> TrackKind {
        match &self.handler.0 {
            b"vide" | b"auxv" => TrackKind::Video,
            b"soun" => TrackKind::Audio,
            b"text" | b"sbtl" | b"subt" | b"subp" | b"clcp" => TrackKind::Subtitle,
            _ => TrackKind::Data,
        }
    }

    /// The first sample description.
    pub fn entry(&self) -> Option<&SampleEntry> {
        self.descriptions.entries().first()
    }

    /// Codec name as FFmpeg says it; `unknown` without a sample description.
    pub fn codec(&self) -> String {
        self.entry().map_or_else(|| "unknown".to_owned(), codec_name)
    }

    /// Walks the samples in decoding order.
    pub fn samples(&self) -> Samples<'_> {
        self.tables.samples()
    }

    /// Walks the chunks in order.
    pub fn chunks(&self) -> Chunks<'_> {
        self.tables.chunks()
    }

    /// Whether samples of this track lie in another file (§8.7.2). Where all references lead to others, they do whatever the
    /// sample descriptions refer to.
    pub fn is_external(&self) -> bool {
        if !self.data_references.is_empty() && self.data_references.iter().all(|is_here| !is_here) {
            return true;
        }
        let is_external = |entry: &SampleEntry| {
            let index = usize::from(entry.data_reference_index).checked_sub(1);
            index.and_then(|i| self.data_references.get(i)) == Some(&false)
        };
        self.descriptions.entries().iter().any(is_external)
    }

    /// From a composition time to when it is presented, in ticks of the track: leading empty edits minus the media time
    /// of the first edit that is not empty.
    pub fn presentation_shift(&self, movie_timescale: u32) -> i64 {
        let empty: u64 = self
            .edits
            .iter()
            .take_while(|e| e.media_time.is_none())
            .map(|e| e.segment_duration)
            .fold(0, u64::saturating_add);
        let media_time = self.edits.iter().find_map(|e| e.media_time).unwrap_or(0);
        let delay = rescaled(empty, u64::from(self.timescale()), u64::from(movie_timescale.max(1)));
        saturating_i64(delay).saturating_sub(saturating_i64(media_time))
    }

    /// The earliest composition time of its samples, in ticks of the track; 0 without samples.
    pub fn earliest_composition(&self) -> i64 {
        extent(&self.tables, self.tables.count_in_chunks()).map_or(0, |extent| extent.first_pts)
    }

    /// The same track with nothing in it: no samples, no edits, and none of the boxes that count samples.
    #[must_use]
    pub fn emptied(&self) -> Self {
        let kept = KeptBoxes { stbl: Vec::new(), ..self.kept.clone() };
        let data_references = vec![true; self.data_references.len()];
        Self {
            header: self.header.clone(),
            edits: Vec::new(),
            media: self.media.clone(),
            handler: self.handler,
            hdlr: self.hdlr.clone(),
            descriptions: self.descriptions.clone(),
            tables: SampleTables::default(),
            data_references,
            kept,
        }
    }

    /// The same with the boxes left out that name other tracks or describe the file that it was read from.
    #[must_use]
    pub fn alone(&self) -> Self {
        let emptied = self.emptied();
        let kept = KeptBoxes { trak: Vec::new(), ..emptied.kept };
        Self { kept, ..emptied }
    }

    /// Reads a `trak` box; what is missing is noted, and `None` says that there is no track to speak of.
    pub(super) fn read(trak: &ChildBox<'_>, notes: &mut DefectLog) -> Option<Self> {
        let mut parts = TrackParts::default();
        parts.read_trak(trak, notes);
        parts.finish(trak, notes)
    }
}

pub(super) fn saturating_i64(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

/// `value · to / from`, rounded to nearest.
pub(super) fn rescaled(value: u64, to: u64, from: u64) -> u64 {
    let product = u128::from(value) * u128::from(to) + u128::from(from) / 2;
    u64::try_from(product / u128::from(from.max(1))).unwrap_or(u64::MAX)
}

/// `vmhd`, `smhd` or `nmhd` (§12.1.2, §12.2.2, §8.4.5.2).
fn media_information(handler: FourCc) -> Vec<u8> {
    match &handler.0 {
        b"vide" => b"\0\0\0\x14vmhd\0\0\0\x01\0\0\0\0\0\0\0\0".to_vec(),
        b"soun" => b"\0\0\0\x10smhd\0\0\0\0\0\0\0\0".to_vec(),
        _ => b"\0\0\0\x0Cnmhd\0\0\0\0".to_vec(),
    }
}

/// `hdlr` without a name (§8.4.3).
fn handler_box(handler: FourCc) -> Vec<u8> {
    let mut out = b"\0\0\0\x21hdlr\0\0\0\0\0\0\0\0".to_vec();
    out.extend(handler.0);
    out.extend([0; 13]);
    out
}

/// What was found of a track so far; a box that comes twice counts once, the first time.
#[derive(Default)]
struct TrackParts {
    header: Option<TrackHeader>,
    media: Option<MediaHeader>,
    handler: Option<FourCc>,
    stsd: Option<Vec<u8>>,
    edits: Option<Vec<Edit>>,
    durations: Option<stts::Durations>,
    compositions: Option<ctts::CompositionOffsets>,
    chunk_runs: Option<Vec<stsc::ChunkRun>>,
    sizes: Option<stsz::SampleSizes>,
    chunk_offsets: Option<Vec<u64>>,
    sync: Option<Vec<u32>>,
    dependencies: Option<Vec<u8>>,
    hdlr: Vec<u8>,
    data_references: Option<Vec<bool>>,
    kept: KeptBoxes,
}

/// Takes a value once; a duplicate is noted and left.
fn once<T>(
    slot: &mut Option<T>,
    found: &ChildBox<'_>,
    notes: &mut DefectLog,
    value: impl FnOnce(&mut DefectLog) -> Option<T>,
) {
    if slot.is_some() {
        notes.malformed(found.offset, format!("a second `{}` where one is allowed; the first is used", found.fourcc));
    } else {
        *slot = value(notes);
    }
}

pub(super) fn note_torn(found: &ChildBox<'_>, notes: &mut DefectLog) {
    if found.is_torn {
        notes.malformed(found.offset, format!("`{}` is longer than the box it lies in (§4.2)", found.fourcc));
    }
}

impl TrackParts {
    fn read_trak(&mut self, trak: &ChildBox<'_>, notes: &mut DefectLog) {
        for found in children_of(trak) {
            note_torn(&found, notes);
            match &found.fourcc.0 {
                b"tkhd" => once(&mut self.header, &found, notes, |_| TrackHeader::read(found.body)),
                b"mdia" => self.read_mdia(&found, notes),
                b"edts" => self.read_edts(&found, notes),
                _ => found.append_to(&mut self.kept.trak),
            }
        }
    }

    fn read_edts(&mut self, edts: &ChildBox<'_>, notes: &mut DefectLog) {
        for found in children_of(edts).filter(|found| found.fourcc.0 == *b"elst") {
            once(&mut self.edits, &found, notes, |notes| Some(elst::read(&found, notes)));
        }
    }

    fn read_mdia(&mut self, mdia: &ChildBox<'_>, notes: &mut DefectLog) {
        for found in children_of(mdia) {
            note_torn(&found, notes);
            match &found.fourcc.0 {
                b"mdhd" => once(&mut self.media, &found, notes, |_| MediaHeader::read(found.body)),
                b"hdlr" => self.read_hdlr(&found, notes),
                b"minf" => self.read_minf(&found, notes),
                _ => found.append_to(&mut self.kept.mdia),
            }
        }
    }

    fn read_hdlr(&mut self, hdlr: &ChildBox<'_>, notes: &mut DefectLog) {
        let kind = hdlr.body.get(8..).and_then(|rest| rest.first_chunk()).copied().map(FourCc);
        if self.handler.is_none() {
            self.hdlr = hdlr.to_vec();
        }
        once(&mut self.handler, hdlr, notes, |_| kind);
    }

    fn read_minf(&mut self, minf: &ChildBox<'_>, notes: &mut DefectLog) {
        for found in children_of(minf) {
            note_torn(&found, notes);
            match &found.fourcc.0 {
                b"stbl" => self.read_stbl(&found, notes),
                b"dinf" => {
                    found.append_to(&mut self.kept.minf);
                    let table = children_of(&found).find(|c| c.fourcc.0 == *b"dref");
                    once(&mut self.data_references, &found, notes, |_| table.map(|t| dref::read(&t)));
                }
                _ => found.append_to(&mut self.kept.minf),
            }
        }
    }

    fn read_stbl(&mut self, stbl: &ChildBox<'_>, notes: &mut DefectLog) {
        for found in children_of(stbl) {
            note_torn(&found, notes);
            match &found.fourcc.0 {
                b"stsd" => once(&mut self.stsd, &found, notes, |_| Some(found.to_vec())),
                b"stts" => once(&mut self.durations, &found, notes, |n| Some(stts::read(&found, n))),
                b"ctts" => once(&mut self.compositions, &found, notes, |n| Some(ctts::read(&found, n))),
                b"stsc" => once(&mut self.chunk_runs, &found, notes, |n| Some(stsc::read(&found, n))),
                b"stsz" | b"stz2" => once(&mut self.sizes, &found, notes, |n| Some(stsz::read(&found, n))),
                b"stco" | b"co64" => once(&mut self.chunk_offsets, &found, notes, |n| Some(stco::read(&found, n))),
                b"stss" => once(&mut self.sync, &found, notes, |n| Some(stss::read(&found, n))),
                b"sdtp" => once(&mut self.dependencies, &found, notes, |n| Some(sdtp::read(&found, n))),
                _ => found.append_to(&mut self.kept.stbl),
            }
        }
    }

    fn finish(self, trak: &ChildBox<'_>, notes: &mut DefectLog) -> Option<Track> {
        let handler = self.handler.unwrap_or(FourCc(*b"    "));
        let descriptions = self.stsd.as_deref().and_then(|raw| SampleDescriptions::new(raw, handler));
        let media = self.media.filter(|media| media.timescale > 0);
        let (Some(header), Some(media), Some(descriptions)) = (self.header, media, descriptions) else {
            notes.malformed(trak.offset, "`trak` without a valid `tkhd` (§8.3.2), `mdhd` (§8.4.2) or `stsd` (§8.5.2)");
            return None;
        };
        let tables = SampleTables {
            durations: self.durations.unwrap_or_default(),
            compositions: self.compositions,
            chunk_runs: self.chunk_runs.unwrap_or_default(),
            sizes: self.sizes.unwrap_or_default(),
            chunk_offsets: self.chunk_offsets.unwrap_or_default(),
            sync: self.sync,
            dependencies: self.dependencies,
        };
        Some(Track {
            header,
            media,
            handler,
            descriptions,
            edits: self.edits.unwrap_or_default(),
            tables,
            hdlr: self.hdlr,
            data_references: self.data_references.unwrap_or_default(),
            kept: self.kept,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::isobmff::cursor::children;

    #[test]
    fn rescaling_rounds_and_does_not_overflow() {
        assert_eq!(rescaled(1, 48_000, 1000), 48);
        assert_eq!(rescaled(1, 1000, 48_000), 0);
        assert_eq!(rescaled(u64::MAX, u64::MAX, 1), u64::MAX);
    }

    #[test]
    fn a_handler_box_counts_its_own_bytes() {
        let hdlr = handler_box(FourCc(*b"vide"));
        let read = children(&hdlr, 0).next().unwrap();
        assert_eq!((read.raw.len(), read.is_torn), (hdlr.len(), false));
    }
}
