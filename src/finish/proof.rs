//! Whether decoders make pictures and sound of what salvage put together, asked before anything is written.
//!
//! Parameters of another recording may explain the media without being its own. So some pictures from a key picture on are
//! decoded in each third of the movie, with the sound that lies between them, behind a header of their own in memory
//! ([`media::decode_excerpt`]): nothing is written, and a decoder never holds the tables of the whole recording. Damage is
//! told from parameters that do not fit by looking on: it leaves other key pictures of the same third clean.

use std::ops::Range;
use std::path::Path;

use super::FinishError;
use super::inspect::header_error;
use crate::durable;
use crate::isobmff::tables::stsz::SampleSizes;
use crate::isobmff::{FrontPlan, IsoError, Movie, NewSample, Sample, TableBuilder, Track};
use crate::media::{self, ExcerptResult};
use crate::recording::{Container, TrackKind};

/// Pictures of an excerpt, its key picture among them.
const PICTURES: usize = 10;
/// Pictures of an excerpt where the movie has key pictures at its beginning only.
const PICTURES_WITHOUT_KEYS: usize = 120;
/// Packets of sound of an excerpt.
const SOUNDS: usize = 60;
/// No excerpt goes on behind so many bytes of pictures.
const EXCERPT_BYTES: u64 = 8 << 20;
/// Key pictures that are tried in each third before it counts as one that shows nothing.
const TRIES: usize = 8;
/// Of samples that can all be begun with, about so many are chosen from.
const MOST_KEYS: u64 = 1000;
/// A sample of all channels that is not coded is no longer.
const MOST_BLOCK_BYTES: u32 = 64;
/// One packet of sound in so many may be refused: Opus is parted at a wrong place here and there.
const REFUSED_SOUND_IN: u64 = 4;
/// From a key picture to what was found behind it, at most so many pictures are decoded.
const LEAD_PICTURES: u64 = 600;
/// Places that were found and are looked at.
const MOST_FOUND: usize = 8;

/// What decoders say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct DecodeProof {
    /// Whether every part of the movie that was asked for shows clean pictures, and sound.
    pub(super) is_clean: bool,
    /// Errors in all that was decoded.
    pub(super) errors: u64,
}

/// Which parts of a movie are asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ExcerptScope<'a> {
    /// Its beginning.
    Beginning,
    /// Its beginning, middle and end.
    All,
    /// The samples in these ranges of the file, which its own tables did not name.
    Found(&'a [Range<u64>]),
}

/// Asks decoders about a movie whose samples lie in a file.
pub(super) fn prove(path: &Path, movie: &Movie, parts: ExcerptScope<'_>) -> Result<DecodeProof, FinishError> {
    let track = movie.tracks.iter().position(|track| track.kind() == TrackKind::Video && track.tables.count() > 0);
    let leading = track.or_else(|| movie.tracks.iter().position(is_decoded_sound));
    let Some(leading) = leading else {
        // Sound that is not coded: nothing can be wrong with it that a decoder would notice.
        return Ok(DecodeProof { is_clean: !movie.tracks.is_empty() && track.is_none(), errors: 0 });
    };
    let job = DecodeJob { path, movie, leading, len: durable::metadata(path)?.len() };
    let asked = parts;
    let parts = job.parts(parts);
    if parts.is_empty() {
        // What was found may be sound alone, which its syntax proves; a movie without a key picture shows nothing.
        return Ok(DecodeProof { is_clean: matches!(asked, ExcerptScope::Found(_)), errors: 0 });
    }
    // One after the other: each decoder holds pictures of its own.
    parts.iter().map(|part| job.part(part)).collect::<Result<Vec<_>, _>>().map(|parts| DecodeProof::of(&parts))
}

impl DecodeProof {
    fn of(parts: &[Self]) -> Self {
        Self { is_clean: parts.iter().all(|part| part.is_clean), errors: parts.iter().map(|part| part.errors).sum() }
    }
}

/// Sound in packets; each sample of sound that is not coded is one of the table, and decodes whatever it is.
fn is_decoded_sound(track: &Track) -> bool {
    let is_coded =
        !matches!(track.tables.sizes, SampleSizes::Constant { size_bytes, .. } if size_bytes <= MOST_BLOCK_BYTES);
    track.kind() == TrackKind::Audio && is_coded && track.tables.count() > 0
}

/// Whether the beginning of a file of another container, which got its head from another recording, shows clean pictures.
pub(super) fn begins_clean(path: &Path, container: Container) -> Result<bool, FinishError> {
    let tries = u32::try_from(TRIES).unwrap_or(u32::MAX);
    let tracks = media::decode_from_keys(path, container, (PICTURES as u64, tries))?;
    Ok(tracks.iter().any(|track| track.shown > 0) && tracks.iter().all(is_clean))
}

/// Samples of the leading track that one excerpt begins with, each tried in turn until one is clean; and how many.
#[derive(Debug, PartialEq, Eq)]
struct ExcerptPart {
    begins: Vec<u64>,
    pictures: usize,
}

#[derive(Debug, Clone, Copy)]
struct DecodeJob<'a> {
    path: &'a Path,
    movie: &'a Movie,
    leading: usize,
    /// Length of the file.
    len: u64,
}

impl DecodeJob<'_> {
    fn track(&self) -> &Track {
        &self.movie.tracks[self.leading]
    }

    fn parts(&self, parts: ExcerptScope<'_>) -> Vec<ExcerptPart> {
        let count = self.track().tables.count();
        let keys: Vec<u64> = match &self.track().tables.sync {
            Some(numbers) => numbers.iter().map(|number| u64::from(*number).saturating_sub(1)).collect(),
            None => (0..count).step_by(usize::try_from(count / MOST_KEYS).unwrap_or(0).max(1)).collect(),
        };
        match parts {
            ExcerptScope::Beginning => thirds(count, &keys).into_iter().take(1).collect(),
            ExcerptScope::All => thirds(count, &keys),
            ExcerptScope::Found(ranges) => {
                ranges.iter().take(MOST_FOUND).filter_map(|range| self.found(range, &keys)).collect()
            }
        }
    }

    /// From the last key picture before what was found to some pictures of it; `None` where none of the track was found.
    fn found(&self, range: &Range<u64>, keys: &[u64]) -> Option<ExcerptPart> {
        let first = (0_u64..).zip(self.track().samples()).find(|(_, sample)| range.contains(&sample.offset))?.0;
        let key = keys[..keys.partition_point(|key| *key <= first)].last();
        let near = key.filter(|key| first - **key <= LEAD_PICTURES);
        let lead = near.map_or(0, |key| usize::try_from(first - key).unwrap_or(0));
        Some(ExcerptPart { begins: near.copied().into_iter().collect(), pictures: lead + PICTURES })
    }

    /// Decodes until an excerpt is clean. One that is not may have been hit.
    fn part(&self, part: &ExcerptPart) -> Result<DecodeProof, FinishError> {
        let mut errors = 0;
        for begin in &part.begins {
            let tracks = self.decode(*begin, part.pictures)?;
            errors += tracks.iter().map(|track| track.errors).sum::<u64>();
            if !tracks.is_empty() && tracks.iter().all(is_clean) {
                return Ok(DecodeProof { is_clean: true, errors });
            }
        }
        Ok(DecodeProof { is_clean: false, errors })
    }

    fn decode(&self, begin: u64, pictures: usize) -> Result<Vec<ExcerptResult>, FinishError> {
        crate::stop::check();
        let excerpt = self.excerpt(begin, pictures);
        let plan = excerpt.and_then(|movie| FrontPlan::spanning(&movie, &movie.to_ftyp(&[]), self.len, 1));
        let header = plan.map_err(|error| header_error(self.path, error))?.header;
        Ok(media::decode_excerpt(self.path, header, self.len)?)
    }

    /// A movie of some samples of the leading track, and the sound that lies between them.
    fn excerpt(&self, begin: u64, pictures: usize) -> Result<Movie, IsoError> {
        let most = if self.track().kind() == TrackKind::Video { pictures } else { SOUNDS };
        let mut bytes = 0;
        let is_within = |sample: &Sample| {
            let is_within = bytes < EXCERPT_BYTES;
            bytes += u64::from(sample.size_bytes);
            is_within
        };
        let skipped = usize::try_from(begin).unwrap_or(usize::MAX);
        let leading: Vec<Sample> = self.track().samples().skip(skipped).take(most).take_while(is_within).collect();
        let from = leading.iter().map(|sample| sample.offset).min().unwrap_or(0);
        let to = leading.iter().map(|sample| sample.offset).max().unwrap_or(0);
        let mut tracks = vec![filled(self.track(), leading.iter())?];
        let others = self.movie.tracks.iter().enumerate().filter(|(at, _)| *at != self.leading);
        for (_, track) in others.filter(|(_, track)| is_decoded_sound(track)) {
            let behind = track.samples().skip_while(|sample| sample.offset < from);
            let between: Vec<Sample> = behind.take_while(|sample| sample.offset < to).take(SOUNDS).collect();
            if !between.is_empty() {
                tracks.push(filled(track, between.iter())?);
            }
        }
        Ok(Movie::of_tracks(self.movie.header.timescale, tracks))
    }
}

/// The same track with these samples alone.
fn filled<'a>(track: &Track, samples: impl Iterator<Item = &'a Sample>) -> Result<Track, IsoError> {
    let mut tables = TableBuilder::default();
    samples.map(NewSample::of).try_for_each(|sample| tables.push(sample))?;
    let mut filled = track.emptied();
    filled.tables = tables.finish();
    Ok(filled)
}

/// Where excerpts begin in each third of so many samples: at key pictures from the first on, from the middle to both sides, and
/// from the last on backwards. A third without a key picture says nothing by itself; the one that it follows on then goes on longer.
fn thirds(count: u64, keys: &[u64]) -> Vec<ExcerptPart> {
    let bounds = [0, count / 3, count * 2 / 3, u64::MAX];
    let parts = (0..3).filter_map(|third| {
        let within =
            keys.partition_point(|key| *key < bounds[third])..keys.partition_point(|key| *key < bounds[third + 1]);
        let mut begins = keys[within].to_vec();
        match third {
            1 => begins.sort_by_key(|key| key.abs_diff(count / 2)),
            2 => begins.reverse(),
            _ => {}
        }
        begins.truncate(TRIES);
        (!begins.is_empty()).then_some(ExcerptPart { begins, pictures: PICTURES })
    });
    let mut parts: Vec<ExcerptPart> = parts.collect();
    if let [only] = &mut parts[..] {
        only.pictures = PICTURES_WITHOUT_KEYS;
    }
    parts
}

/// Pictures come out without an error and use all of their data; sound nearly always.
fn is_clean(track: &ExcerptResult) -> bool {
    match track.kind {
        TrackKind::Video => track.shown > 0 && track.errors == 0 && track.is_covered != Some(false),
        TrackKind::Audio => track.errors * REFUSED_SOUND_IN <= track.packets,
        TrackKind::Subtitle | TrackKind::Data => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_third_is_tried_from_its_outer_end_and_the_middle_from_within() {
        let keys: Vec<u64> = (0..30).map(|n| n * 50).collect();
        let parts = thirds(1500, &keys);
        let begins: Vec<&[u64]> = parts.iter().map(|part| &part.begins[..2]).collect();
        assert_eq!(begins, [[0, 50], [750, 700], [1450, 1400]]);
        assert!(parts.iter().all(|part| part.begins.len() == TRIES && part.pictures == PICTURES));
    }

    #[test]
    fn a_movie_with_one_key_picture_is_looked_at_longer() {
        assert_eq!(thirds(9000, &[0]), [ExcerptPart { begins: vec![0], pictures: PICTURES_WITHOUT_KEYS }]);
        assert_eq!(thirds(9000, &[]), []);
        assert_eq!(thirds(2, &[0, 1]).len(), 2);
    }
}
