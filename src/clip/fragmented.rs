//! A clip in fragments: a header without samples, an index, then a fragment for each second or more, each beginning with a keyframe.
//!
//! In a fragment the samples of each track lie together. The media of all tracks begins at one moment, so that pictures and sound stay
//! together in a player that does not heed edit lists.

use super::error::ClipError;
use super::join::{JoinedSample, JoinedTrack, scaled};
use super::layout::ClipBuilder;
use super::progressive::{present, timed, timescale};
use crate::isobmff::{FragmentSample, IndexEntry, Movie, TrackFragment, fragment, segment_index};
use crate::recording::TrackKind;

/// How long a fragment is at least, seconds.
const LEAST_SECONDS: i64 = 1;
/// How long one may be that has no second keyframe, seconds.
const MOST_SECONDS: i64 = 10;

/// Lays a clip out.
pub fn lay(tracks: &[JoinedTrack], start_ms: i64) -> Result<ClipBuilder, ClipError> {
    tracks.iter().try_for_each(|joined| check_parameters(joined, start_ms))?;
    let leading = tracks.iter().position(|joined| joined.track.kind() == TrackKind::Video).unwrap_or(0);
    let Some(lead) = tracks.get(leading) else { return Ok(ClipBuilder::default()) };
    let cuts = cuts(lead);
    let (used, entries) = (vec![0; tracks.len()], Vec::with_capacity(cuts.len()));
    let mut fragments =
        FragmentWriter { tracks, origins: origins(tracks), used, media: ClipBuilder::default(), entries };
    for (number, from) in cuts.iter().enumerate() {
        let until = cuts.get(number + 1).map(|next| (lead.samples[*next].dts, lead.track.timescale()));
        fragments.add(number, until, lead.samples[*from].is_sync, leading)?;
    }
    fragments.finish(leading, start_ms)
}

/// Refuses a track with several descriptions: FFmpeg (5.1, `mov_read_trun`), and Chromium with it, decodes all fragments of a track with the
/// first one, whatever `tfhd` says.
fn check_parameters(joined: &JoinedTrack, start_ms: i64) -> Result<(), ClipError> {
    let mut samples = joined.samples.iter().zip(joined.samples.iter().skip(1));
    let changed = samples.find(|(before, sample)| before.description_index != sample.description_index);
    let Some((_, sample)) = changed else { return Ok(()) };
    let at_ms = start_ms.saturating_add(scaled(sample.pts, 1000, joined.track.timescale()));
    Err(ClipError::Parameters { codec: joined.track.codec(), at_ms })
}

/// The moment at which the first sample of all is decoded, in ticks of each track.
fn origins(tracks: &[JoinedTrack]) -> Vec<i64> {
    let first = |joined: &JoinedTrack| (i128::from(joined.origin()), i128::from(joined.track.timescale()));
    let earliest = tracks.iter().map(first).min_by(|a, b| (a.0 * b.1).cmp(&(b.0 * a.1)));
    let (at, timescale) = earliest.unwrap_or((0, 1));
    let ticks = |joined: &JoinedTrack| (at * i128::from(joined.track.timescale())).div_euclid(timescale);
    tracks.iter().map(|joined| i64::try_from(ticks(joined)).unwrap_or(i64::MIN)).collect()
}

/// Indices of the samples of a track that begin a fragment.
fn cuts(lead: &JoinedTrack) -> Vec<usize> {
    let second = i64::from(lead.track.timescale());
    let mut cuts = vec![0];
    let mut begun = lead.origin();
    for (index, sample) in lead.samples.iter().enumerate().skip(1) {
        let length = sample.dts - begun;
        if sample.is_sync && length >= LEAST_SECONDS * second || length >= MOST_SECONDS * second {
            cuts.push(index);
            begun = sample.dts;
        }
    }
    cuts
}

struct FragmentWriter<'a> {
    tracks: &'a [JoinedTrack],
    /// Zero of the media of each track.
    origins: Vec<i64>,
    /// Samples of each track that are in fragments.
    used: Vec<usize>,
    media: ClipBuilder,
    entries: Vec<IndexEntry>,
}

impl FragmentWriter<'_> {
    /// Adds what is decoded before a time; everything if there is none.
    fn add(
        &mut self,
        number: usize,
        until: Option<(i64, u32)>,
        starts_with_sync: bool,
        leading: usize,
    ) -> Result<(), ClipError> {
        let (mut fragments, mut ranges, mut duration) = (Vec::new(), Vec::<JoinedSample>::new(), 0);
        for (index, joined) in self.tracks.iter().enumerate() {
            let from = self.used[index];
            let is_before = |sample: &JoinedSample| until.is_none_or(|until| is_earlier(sample, joined, until));
            let to = from + joined.samples[from..].iter().take_while(|sample| is_before(sample)).count();
            if from < to {
                fragments.push(track_fragment(joined, (index, self.origins[index]), from..to)?);
                ranges.extend(&joined.samples[from..to]);
            }
            if index == leading {
                duration = (from..to).map(|at| joined.duration(at)).sum();
            }
            self.used[index] = to;
        }
        let sequence = u32::try_from(number + 1).unwrap_or(u32::MAX);
        let head = fragment(sequence, &fragments).map_err(ClipError::Written)?;
        let before = self.media.len();
        self.media.own(&head);
        for sample in ranges {
            let end = sample.offset.saturating_add(u64::from(sample.size_bytes));
            match sample.silence {
                Some(payload) => self.media.own(payload),
                None => self.media.file(sample.piece, sample.offset..end),
            }
        }
        let duration = u32::try_from(duration).unwrap_or(u32::MAX);
        self.entries.push(IndexEntry { size_bytes: self.media.len() - before, duration, starts_with_sync });
        Ok(())
    }

    fn finish(self, leading: usize, start_ms: i64) -> Result<ClipBuilder, ClipError> {
        let lead = &self.tracks[leading];
        let timescale = timescale(self.tracks);
        let mut movie = Movie::new(timescale);
        for (joined, origin) in self.tracks.iter().zip(&self.origins) {
            let mut track = joined.track.clone();
            present(&mut track, joined, *origin, timescale);
            movie.tracks.push(track);
        }
        movie = Movie::of_tracks(timescale, movie.tracks);
        movie.header.set_created_ms(start_ms);
        let duration = std::mem::take(&mut movie.header.duration);
        let mut front = movie.to_ftyp(&[]);
        front.extend(movie.to_fragmented_moov(duration).map_err(ClipError::Written)?);
        let leading_id = movie.tracks.get(leading).map_or(1, crate::isobmff::Track::id);
        // Times of the index are those of the media.
        let earliest = u64::try_from(lead.origin() - self.origins[leading]).unwrap_or(0);
        front.extend(segment_index(leading_id, lead.track.timescale(), earliest, &self.entries).unwrap_or_default());
        let mut laying = ClipBuilder::default();
        laying.own(&front);
        laying.append(self.media);
        Ok(laying)
    }
}

fn is_earlier(sample: &JoinedSample, joined: &JoinedTrack, (until, timescale): (i64, u32)) -> bool {
    i128::from(sample.dts) * i128::from(timescale) < i128::from(until) * i128::from(joined.track.timescale())
}

fn track_fragment(
    joined: &JoinedTrack,
    (index, origin): (usize, i64),
    group: std::ops::Range<usize>,
) -> Result<TrackFragment, ClipError> {
    let sample = |at: usize| {
        let (duration, composition) = timed(joined, at)?;
        let sample = &joined.samples[at];
        Ok(FragmentSample { duration, size_bytes: sample.size_bytes, composition, is_sync: sample.is_sync })
    };
    let first = &joined.samples[group.start];
    let decode_time = u64::try_from(first.dts.saturating_sub(origin)).unwrap_or(0);
    let samples = group.map(sample).collect::<Result<Vec<_>, ClipError>>()?;
    let track_id = u32::try_from(index + 1).unwrap_or(u32::MAX);
    Ok(TrackFragment { track_id, description_index: first.description_index, decode_time, samples })
}
