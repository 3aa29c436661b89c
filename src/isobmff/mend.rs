//! Durations of a header that its own samples refute, mended in its bytes: a browser's recorder writes `mdhd` in ticks of the
//! movie, others leave `mvhd` as it was when they began.
//!
//! Only fields of fixed size are changed, so that a `moov` that moves stays byte for byte what it was but for these. An edit
//! list is believed where `mdhd` is right: an editor trims in that way.

use super::cursor::{ChildBox, children, children_of};
use super::movie::Movie;
use super::schedule::is_simple;
use super::timeline::extent;
use super::track::{Track, rescaled};
use super::validate::DURATION_TOLERANCE_MS;

/// A field of `moov`: where, how many bytes, and what it should say.
type MoovField = (usize, usize, u64);

impl Movie {
    /// Makes durations right that are off by more than a second; says whether any were.
    pub fn mend_durations(&mut self) -> bool {
        let timescale = self.header.timescale;
        let mut fields: Vec<MoovField> = Vec::new();
        let Some(moov) = children(&self.raw, 0).next() else { return false };
        let boxes: Vec<ChildBox<'_>> = children_of(&moov).filter(|b| b.fourcc.0 == *b"trak").collect();
        if boxes.len() != self.tracks.len() {
            return false;
        }
        for (track, read) in self.tracks.iter_mut().zip(&boxes) {
            mend_track(track, read, timescale, &mut fields);
        }
        let presented = self.tracks.iter().map(|track| presented(track, timescale)).max().unwrap_or(0);
        if self.header.duration > 0 && is_off(self.header.duration, presented, timescale) {
            self.header.duration = presented;
            fields.extend(children_of(&moov).find(|b| b.fourcc.0 == *b"mvhd").and_then(|b| field(&b, 0, presented)));
        }
        let fits = |(_, len, value): &MoovField| *len == 8 || u32::try_from(*value).is_ok();
        if fields.is_empty() || !fields.iter().all(fits) {
            return false;
        }
        for (at, len, value) in fields {
            self.raw[at..at + len].copy_from_slice(&value.to_be_bytes()[8 - len..]);
        }
        self.is_mended = true;
        true
    }
}

fn mend_track(track: &mut Track, read: &ChildBox<'_>, timescale: u32, fields: &mut Vec<MoovField>) {
    let Some(extent) = extent(&track.tables, track.tables.count_in_chunks()) else { return };
    let measured = u64::try_from(extent.end_dts).unwrap_or(0);
    if track.media.duration == 0 || !is_off(track.media.duration, measured, track.timescale()) {
        return;
    }
    let inside = |path: &[&[u8; 4]]| {
        path.iter().try_fold(*read, |found, name| children_of(&found).find(|b| b.fourcc.0 == **name))
    };
    track.media.duration = measured;
    fields.extend(inside(&[b"mdia", b"mdhd"]).and_then(|b| field(&b, 0, measured)));
    let end = u64::try_from(extent.end_pts).unwrap_or(0);
    if let [edit] = &mut track.edits[..]
        && let Some(media_time) = edit.media_time.filter(|_| is_simple(&[*edit]))
    {
        let whole = rescaled(end.saturating_sub(media_time), u64::from(timescale), u64::from(track.media.timescale));
        if is_off(edit.segment_duration, whole, timescale) {
            edit.segment_duration = whole;
            fields.extend(inside(&[b"edts", b"elst"]).and_then(|b| first_edit(&b, whole)));
        }
    }
    let whole = presented(track, timescale);
    if track.header.duration > 0 && is_off(track.header.duration, whole, timescale) {
        track.header.duration = whole;
        fields.extend(inside(&[b"tkhd"]).and_then(|b| field(&b, 4, whole)));
    }
}

/// How long a track is presented, in ticks of the movie.
fn presented(track: &Track, timescale: u32) -> u64 {
    if !track.edits.is_empty() {
        return track.edits.iter().map(|edit| edit.segment_duration).fold(0, u64::saturating_add);
    }
    let end = extent(&track.tables, track.tables.count_in_chunks()).map_or(0, |extent| extent.end_pts);
    rescaled(u64::try_from(end).unwrap_or(0), u64::from(timescale), u64::from(track.timescale()))
}

fn is_off(said: u64, measured: u64, timescale: u32) -> bool {
    rescaled(said.abs_diff(measured), 1000, u64::from(timescale)) > DURATION_TOLERANCE_MS.unsigned_abs()
}

/// The duration in `mvhd`, `mdhd` (§8.2.2, §8.4.2) and, behind four more bytes, `tkhd` (§8.3.2).
fn field(found: &ChildBox<'_>, more: usize, value: u64) -> Option<MoovField> {
    let (at, len) = match found.body.first()? {
        0 => (16 + more, 4),
        1 => (24 + more, 8),
        _ => return None,
    };
    place(found, at, len, value)
}

/// The duration of the first edit (§8.6.6).
fn first_edit(found: &ChildBox<'_>, value: u64) -> Option<MoovField> {
    place(found, 8, if *found.body.first()? == 0 { 4 } else { 8 }, value)
}

fn place(found: &ChildBox<'_>, at: usize, len: usize, value: u64) -> Option<MoovField> {
    let body = usize::try_from(found.offset).ok()? + (found.raw.len() - found.body.len());
    (found.body.len() >= at + len).then_some((body + at, len, value))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::isobmff::tests::{fixture, read};

    /// The fixture with its movie changed and written again.
    fn changed(change: impl Fn(&mut Movie)) -> (Movie, bool) {
        let mut movie = read(&fixture()).2;
        change(&mut movie);
        let mut movie = Movie::from_moov(movie.to_moov(0).unwrap()).unwrap();
        let is_mended = movie.mend_durations();
        assert_eq!(Movie::from_moov(movie.raw().to_vec()).unwrap().tracks, movie.tracks, "its bytes say the same");
        (movie, is_mended)
    }

    #[test]
    fn what_the_samples_refute_is_mended_and_nothing_else() {
        let (sound, is_mended) = changed(|_| ());
        assert!(!is_mended);
        let (mended, is_mended) = changed(|movie| {
            movie.header.duration /= 20;
            for track in &mut movie.tracks {
                track.media.duration /= 30;
                track.header.duration /= 20;
                track.edits.iter_mut().for_each(|edit| edit.segment_duration /= 20);
            }
        });
        assert!(is_mended && mended.is_mended());
        let off = |a: u64, b: u64, timescale| rescaled(a.abs_diff(b), 1000, u64::from(timescale)) > 50;
        assert!(!off(mended.header.duration, sound.header.duration, sound.header.timescale));
        for (ours, theirs) in mended.tracks.iter().zip(&sound.tracks) {
            assert!(!off(ours.media.duration, theirs.media.duration, theirs.timescale()));
            assert!(!off(ours.header.duration, theirs.header.duration, sound.header.timescale));
        }
    }

    #[test]
    fn what_an_editor_trimmed_stays_trimmed() {
        let (trimmed, is_mended) = changed(|movie| {
            movie.header.duration /= 2;
            for track in &mut movie.tracks {
                track.edits = vec![super::super::tables::elst::Edit::media(movie.header.duration, 0)];
                track.header.duration = movie.header.duration;
            }
        });
        assert!(!is_mended, "{trimmed:?}");
    }
}
