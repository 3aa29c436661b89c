//! Fragmented MP4 that was hit: a size that lies, a `moof` that is gone, a `moov` that is gone.
//!
//! Every fragment whose header still reads keeps its samples; the media of one whose header is gone is walked like that
//! of a plain file, and its samples go between those of its neighbours. The movie header, if that is gone, is that of
//! another recording of the stream.

mod patched;
pub(super) mod refill;
mod scan;

use std::io::{Read, Seek};
use std::ops::Range;

use super::reference::{Origin, Reference};
use super::report::{self, Confidence, Report};
use super::source::Source;
use super::walk::WalkResult;
use super::{MovieJudge, SalvageError, SalvageVerdict, Salvaged};
use crate::isobmff::{self, Layout, Movie, fragment};
use patched::PatchedReader;
use scan::FragmentScan;

/// How far into the media the first fragment is looked for where the boxes do not lead to one.
const LOOKED_AT_BYTES: u64 = 8 << 20;

/// Whether a file consists of fragments, whatever its first boxes say.
pub fn has_fragments<R: Read + Seek>(reader: &mut R, layout: &Layout) -> Result<bool, SalvageError> {
    if layout.first(b"moof").is_some() || layout.announces_fragments {
        return Ok(true);
    }
    let end = layout.len.min(LOOKED_AT_BYTES);
    let mut source = Source::new(reader, layout.len);
    let is_there = scan::next_fragment(&mut source, 0, end) < end;
    source.finish().map_err(SalvageError::Read)?;
    Ok(is_there)
}

/// Whether more of a fragmented file can be had than its boxes lead to.
pub fn is_hit<R: Read + Seek>(reader: &mut R, layout: &Layout) -> Result<bool, SalvageError> {
    let is_odd = layout.garbage_at.is_some() || layout.torn().is_some() || layout.movie_header().is_none();
    let ends_in_media = layout.boxes.last().is_some_and(|last| last.is(b"mdat"));
    if !(is_odd || ends_in_media) {
        return Ok(false);
    }
    // What the writer had not stored when the power went; samples in it are none. Looked for first: of a sound file, that is one read.
    let has_zero_tail = isobmff::end_of_data(&mut *reader, layout.len)? < layout.len && !has_silence(reader, layout);
    if !(is_odd || has_zero_tail) || !has_fragments(reader, layout)? {
        return Ok(false);
    }
    if has_zero_tail {
        return Ok(true);
    }
    let listed = layout.all(b"moof").filter(|b| b.end() <= layout.len).count();
    let mut source = Source::new(reader, layout.len);
    let found = scan::scan(&mut source, layout.len);
    source.finish().map_err(SalvageError::Read)?;
    let is_more = found.boxes.iter().filter(|b| b.is(b"moof")).count() > listed;
    Ok(is_more || layout.movie_header().is_none())
}

/// Whether zeros may be samples of it: sound that is not coded is silent in zeros.
fn has_silence<R: Read + Seek>(reader: &mut R, layout: &Layout) -> bool {
    let is_uncoded = |track: &isobmff::Track| track.codec().starts_with("pcm");
    Movie::read(reader, layout).is_ok_and(|movie| movie.tracks.iter().any(is_uncoded))
}

/// Rebuilds the tables of a fragmented file of `len` bytes.
pub fn salvage<R: Read + Seek>(
    mut reader: R,
    len: u64,
    (references, judge): (&[Reference], &MovieJudge<'_>),
) -> Result<Salvaged, SalvageError> {
    let zero_tail_bytes = len - isobmff::end_of_data(&mut reader, len)?;
    let len = len - zero_tail_bytes;
    let mut source = Source::new(&mut reader, len);
    let found = scan::scan(&mut source, len);
    source.finish().map_err(SalvageError::Read)?;
    let layout = layout_of(&found, len);
    let mut chosen = None;
    for (movie, origin) in movies_of(&mut reader, len, &found, references)? {
        let read = fragment::read(&mut PatchedReader::new(&mut reader, &found.patches), &layout, movie)?;
        // What decides whether the last one is right is whether all of it decodes.
        let is_taken = origin == Origin::Media || judge(&read.movie);
        chosen = Some((read, origin));
        if is_taken {
            break;
        }
    }
    let Some((read, origin)) = chosen else { return Ok(without_header(&found)) };
    let mut source = Source::new(&mut reader, len);
    let hypothesis_of = usable(&read.movie, references);
    let mut movie = read.movie;
    let mut stretches = Vec::new();
    let bodies = isobmff::media_bodies(&found.boxes, len);
    let (without_header, cut): (Vec<_>, Vec<_>) =
        isobmff::unlisted(&movie, &bodies).into_iter().partition(|gap| bodies.contains(gap));
    let mut unknown: Vec<Range<u64>> =
        found.stretches.iter().filter(|stretch| !refill::is_known(&movie, stretch)).cloned().collect();
    unknown.extend(without_header);
    unknown.sort_unstable_by_key(|stretch| stretch.start);
    for stretch in &unknown {
        let walked = refill::walk_stretch(&mut source, &movie, stretch, &hypothesis_of);
        movie = refill::refill(movie, &walked, stretch, &hypothesis_of)?;
        stretches.push(walked);
    }
    source.finish().map_err(SalvageError::Read)?;
    movie.settle_durations();
    let report = Report { zero_tail_bytes, ..report(&movie, origin, (&stretches, &cut), len) };
    let verdict = if report.packets() > 0 { SalvageVerdict::Playable } else { SalvageVerdict::Nothing };
    // Its own header is not in question, and what stands around a hit fragment may have been hit as well.
    let found = (origin == Origin::Media).then(Vec::new);
    Ok(Salvaged { movie, whole_bytes: len, report, verdict, found })
}

/// The movie header that is there, or those of references with the numbers of the tracks that the fragments name.
fn movies_of<R: Read + Seek>(
    reader: &mut R,
    len: u64,
    found: &FragmentScan,
    references: &[Reference],
) -> Result<Vec<(Movie, Origin)>, SalvageError> {
    let layout = layout_of(found, len);
    if layout.movie_header().is_some()
        && let Ok(movie) = Movie::read(reader, &layout)
        && !movie.tracks.is_empty()
    {
        return Ok(vec![(movie, Origin::Media)]);
    }
    let mut ids = track_ids(reader, found)?;
    ids.sort_unstable();
    ids.dedup();
    let fits = |reference: &&Reference| reference.tracks.len() >= ids.len() && !ids.is_empty();
    Ok(references.iter().filter(fits).map(|reference| (movie_from(reference, &ids), reference.origin)).collect())
}

/// The movie header of a reference for a file whose fragments name these tracks.
fn movie_from(reference: &Reference, ids: &[u32]) -> Movie {
    let mut movie = Movie::new(1000);
    movie.tracks = reference.tracks.iter().map(|known| known.track.clone()).collect();
    let is_named = movie.tracks.iter().all(|track| ids.contains(&track.id()));
    if !is_named {
        // The writer of the reference numbered its tracks in another way; their order is the same.
        movie.tracks.iter_mut().zip(ids).for_each(|(track, id)| track.header.id = *id);
    }
    movie
}

/// The track numbers that the first fragments name.
fn track_ids<R: Read + Seek>(reader: &mut R, found: &FragmentScan) -> Result<Vec<u32>, SalvageError> {
    const LOOKED_AT: usize = 8;
    let mut ids = Vec::new();
    for moof in found.boxes.iter().filter(|b| b.is(b"moof")).take(LOOKED_AT) {
        ids.extend(fragment::track_ids(reader, moof)?);
    }
    Ok(ids)
}

fn layout_of(found: &FragmentScan, len: u64) -> Layout {
    Layout { len, boxes: found.boxes.clone(), garbage_at: None, announces_fragments: true }
}

/// What the samples that are there teach about those whose header is gone; without any, what a reference does.
fn usable(movie: &Movie, references: &[Reference]) -> Reference {
    let own = Reference::of(movie, Origin::Media);
    let is_taught = movie.tracks.iter().all(|track| track.tables.count() > 1);
    let other = references.iter().find(|reference| reference.tracks.len() == own.tracks.len());
    if is_taught { own } else { other.cloned().unwrap_or(own) }
}

fn without_header(found: &FragmentScan) -> Salvaged {
    let media_bytes = found.boxes.iter().filter(|b| b.is(b"mdat")).map(|b| b.size_bytes).sum();
    let has_fragments = found.boxes.iter().any(|b| b.is(b"moof"));
    let mut nothing = super::nothing(&(0..media_bytes));
    nothing.verdict = if has_fragments { SalvageVerdict::NeedsParameters } else { SalvageVerdict::Nothing };
    nothing
}

/// `cut` is what of the media of sound fragments belongs to no sample.
fn report(movie: &Movie, source: Origin, (walked, cut): (&[WalkResult], &[Range<u64>]), len: u64) -> Report {
    let of_walks = walked.iter().flat_map(|walked| &walked.gaps).map(|gap| gap.range.clone());
    let mut gaps: Vec<Range<u64>> = of_walks.chain(cut.iter().cloned()).collect();
    gaps.sort_unstable_by_key(|gap| gap.start);
    let confidence = if walked.is_empty() { Confidence::High } else { Confidence::Medium };
    report::with_declared_times(movie, (source, confidence), len, &gaps)
}
