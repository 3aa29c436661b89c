//! A movie written as `ftyp` and `moov`.
//!
//! Tables are written compact, boxes in version 1 only where 32 bits do not hold a number, and whatever was kept byte
//! for byte stands beside them. `mvex` is not written: what is written here has no fragments.

use super::boxes::FourCc;
use super::encode::{boxed, checked};
use super::error::IsoError;
use super::fragment;
use super::movie::Movie;
use super::tables::{ctts, elst, sdtp, stco, stsc, stss, stsz, stts};
use super::track::Track;

impl Movie {
    /// Writes the `moov` box, every chunk offset moved by `shift_bytes`.
    pub fn to_moov(&self, shift_bytes: u64) -> Result<Vec<u8>, IsoError> {
        let mut out = Vec::new();
        self.write_moov(shift_bytes, &mut out)?;
        Ok(out)
    }

    /// Appends what [`Self::to_moov`] gives.
    pub(super) fn write_moov(&self, shift_bytes: u64, out: &mut Vec<u8>) -> Result<(), IsoError> {
        let last_track_id = self.tracks.iter().map(Track::id).max().unwrap_or(0);
        boxed(out, *b"moov", |out| {
            self.header.write(out, last_track_id);
            self.tracks.iter().for_each(|track| write_track(out, track, shift_bytes));
            out.extend(&self.kept);
        });
        checked(out)
    }

    /// Writes the `moov` box of a file whose samples are all in fragments, `duration` ticks of the movie long (§8.8.1).
    pub fn to_fragmented_moov(&self, duration: u64) -> Result<Vec<u8>, IsoError> {
        let mut out = Vec::new();
        let last_track_id = self.tracks.iter().map(Track::id).max().unwrap_or(0);
        boxed(&mut out, *b"moov", |out| {
            self.header.write(out, last_track_id);
            self.tracks.iter().for_each(|track| write_track(out, track, 0));
            fragment::trex::write(out, duration, self.tracks.iter().map(Track::id));
            out.extend(&self.kept);
        });
        checked(&out)?;
        Ok(out)
    }

    /// Writes a file type box that fits the movie (§4.3): QuickTime's if the old one was, else `isom`, with `iso4` where
    /// composition offsets are negative.
    pub fn to_ftyp(&self, old: &[u8]) -> Vec<u8> {
        let is_quicktime = old.get(8..12) == Some(b"qt  ");
        let has_video = |name: &[u8; 4]| self.tracks.iter().filter_map(Track::entry).any(|e| e.fourcc.0 == *name);
        let needs_iso4 = self.tracks.iter().filter_map(|t| t.tables.compositions.as_ref()).any(ctts::has_negative);
        let mut brands = vec![if is_quicktime { *b"qt  " } else { *b"isom" }];
        if !is_quicktime {
            brands.extend([*b"iso2", *b"mp41"]);
            brands.extend(needs_iso4.then_some(*b"iso4"));
            brands.extend(has_video(b"avc1").then_some(*b"avc1"));
            brands.extend(has_video(b"av01").then_some(*b"av01"));
        }
        file_type(brands[0], &brands)
    }
}

fn file_type(major: [u8; 4], compatible: &[[u8; 4]]) -> Vec<u8> {
    let mut out = Vec::new();
    boxed(&mut out, *b"ftyp", |out| {
        out.extend(major);
        out.extend(0x200_u32.to_be_bytes());
        out.extend(compatible.iter().flatten());
    });
    out
}

fn write_track(out: &mut Vec<u8>, track: &Track, shift_bytes: u64) {
    boxed(out, *b"trak", |out| {
        track.header.write(out);
        elst::write(out, &track.edits);
        out.extend(&track.kept.trak);
        boxed(out, *b"mdia", |out| {
            track.media.write(out);
            out.extend(&track.hdlr);
            out.extend(&track.kept.mdia);
            boxed(out, *b"minf", |out| {
                out.extend(&track.kept.minf);
                boxed(out, *b"stbl", |out| write_tables(out, track, shift_bytes));
            });
        });
    });
}

fn write_tables(out: &mut Vec<u8>, track: &Track, shift_bytes: u64) {
    let tables = &track.tables;
    out.extend(track.descriptions.raw());
    stts::write(out, &tables.durations);
    if let Some(offsets) = &tables.compositions {
        ctts::write(out, offsets);
    }
    if let Some(numbers) = &tables.sync {
        stss::write(out, numbers);
    }
    if let Some(entries) = &tables.dependencies {
        sdtp::write(out, entries);
    }
    stsc::write(out, &tables.chunk_runs);
    stsz::write(out, &tables.sizes);
    let shift = if track.is_external() { 0 } else { shift_bytes };
    let offsets: Vec<u64> = tables.chunk_offsets.iter().map(|offset| offset.saturating_add(shift)).collect();
    stco::write(out, &offsets);
    out.extend(&track.kept.stbl);
}

/// Whether a brand stands in a file type box, as major or compatible brand.
pub fn has_brand(ftyp: &[u8], brand: FourCc) -> bool {
    let brands = ftyp.get(8..).unwrap_or_default();
    brands.chunks_exact(4).enumerate().any(|(index, found)| index != 1 && found == brand.0)
}
