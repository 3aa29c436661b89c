//! Rebuilds the sample tables of an MP4 that has none: its writer died before it wrote the header.
//!
//! ```text
//! file ─ range, zeros trimmed ─▶ hypothesis ─ walk ─▶ NAL units, audio frames, gaps
//!          references (same stream, siblings) ╯          │
//!          or the media itself                    order, clock, loss
//!                                                        ▼
//!                                 Movie over the old file, Report, Verdict
//! ```
//!
//! [`fragments`] does the same for the fragments of a fragmented file that were hit or never got their tables, [`tail`] for what
//! was written behind a header that stands in front, [`heads`] gives other containers the
//! beginning back that they lost.
//!
//! Pure over `Read + Seek`: nothing is written and no media byte is copied. Assumes a recording that nobody writes any
//! more. What cannot be told from the media is asked of a [`Reference`]; parameter sets that do not fit are refused
//! ([`gate`]), and a recording without any is not called playable.

pub mod aac;
mod assemble;
mod attempt;
mod bits;
mod clock;
mod describe;
mod displaced;
pub mod element;
mod error;
pub mod flac;
mod fragments;
pub mod framed;
mod gate;
mod heads;
mod loss;
pub mod nal;
mod order;
mod pieces;
mod probe;
mod reference;
mod report;
mod rhythm;
mod source;
mod tail;
mod timeline;
mod unframed;
mod walk;

use std::io::{Read, Seek};
use std::ops::Range;

use crate::isobmff::{FileShape, IsoError, Layout, Movie, end_of_data_in, top_level};
use attempt::{Rehearsal, SalvageAttempt};
pub use describe::{PictureShape, SoundFacts, sound_configured, video_configured};
pub use error::SalvageError;
pub use heads::{ClusterRepair, MOST_HEAD_BYTES, MendedFile, are_clusters_hit, head_of, mend, repair_clusters};
use pieces::{FilePieces, PieceReader};
pub use reference::{FrameTiming, Origin, Reference, ReferenceTrack};
pub use report::{Confidence, GapReport, Report, TrackReport};
use source::Source;
pub use tail::{has_open_tail, is_walked};
use walk::{BeginListener, CHUNK_BYTES, Scouts};

/// How much of the media is tried with each reference.
const REHEARSED_BYTES: u64 = 4 << 20;

/// What a salvage came to.
#[derive(Debug, Clone)]
pub struct Salvaged {
    /// The movie; its chunk offsets are those of the old file.
    pub movie: Movie,
    /// Up to where the old file is of use.
    pub whole_bytes: u64,
    /// What was found and what was not.
    pub report: Report,
    /// Whether the result plays.
    pub verdict: SalvageVerdict,
    /// Where samples lie that the file's own tables do not name, if it has tables for others; `None` if it has none.
    pub found: Option<Vec<Range<u64>>>,
}

/// Whether the result plays.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum SalvageVerdict {
    /// It does.
    Playable,
    /// The pictures were found, but nothing says how they are coded: a reference must.
    NeedsParameters,
    /// Other recordings of the stream are of a codec whose packets cannot be told in the media: the one track of the report.
    NotCovered,
    /// Nothing was found.
    Nothing,
}

impl SalvageVerdict {
    /// Its name, as JSON and logs call it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Playable => "playable",
            Self::NeedsParameters => "needs_parameters",
            Self::NotCovered => "not_covered",
            Self::Nothing => "nothing",
        }
    }
}

/// Further looks into the file that is salvaged: for each a thread looks through what is ahead.
#[expect(missing_debug_implementations, reason = "a closure has none")]
pub struct ExtraReaders<'a, R> {
    /// They see what the first reader sees.
    pub readers: Vec<R>,
    /// Hears which of them begins which range of bytes; the first reader has the number behind theirs.
    pub begins: &'a BeginListener<'a>,
}

impl<R> ExtraReaders<'_, R> {
    /// No other looks.
    pub const fn none() -> Self {
        Self { readers: Vec::new(), begins: &|_, _| () }
    }
}

/// Says whether a decoder makes clean pictures of the beginning of a movie, whose samples lie in the file that is salvaged.
pub type MovieJudge<'a> = dyn Fn(&Movie) -> bool + 'a;

/// Rebuilds the tables of a file of `len` bytes; the references are tried in their order, and none is asked about.
pub fn salvage<R: Read + Seek + Send>(
    reader: R,
    others: ExtraReaders<'_, R>,
    len: u64,
    references: &[Reference],
) -> Result<Salvaged, SalvageError> {
    salvage_judged(reader, others, len, (references, &|_| true))
}

/// The same; the first reference that explains the media and that a judge accepts is taken.
///
/// The result is the same with any number of other looks and with none, but behind bytes that are made to be looked at again
/// and again.
pub fn salvage_judged<R: Read + Seek + Send>(
    mut reader: R,
    others: ExtraReaders<'_, R>,
    len: u64,
    (references, judge): (&[Reference], &MovieJudge<'_>),
) -> Result<Salvaged, SalvageError> {
    let layout = top_level(&mut reader, len)?;
    if fragments::has_fragments(&mut reader, &layout)? {
        return fragments::salvage(reader, len, (references, judge));
    }
    if layout.shape() == FileShape::HeaderFirst {
        return tail::salvage(reader, &layout);
    }
    let pieces = FilePieces::of(&layout).ok_or(SalvageError::NoMedia)?;
    let last = pieces.last();
    let zero_tail_bytes = last.end - trimmed(&mut reader, &last)?;
    let pieces = pieces.without_end(zero_tail_bytes);
    let begins = |scout: usize, range: &Range<u64>| {
        (others.begins)(scout, &(pieces.to_file(range.start)..pieces.to_file(range.end)));
    };
    let others = ExtraReaders { readers: others.readers, begins: &begins };
    let mut salvaged = salvage_pieces((reader, others, len), &layout, &pieces, (references, judge))?;
    salvaged.report.zero_tail_bytes = zero_tail_bytes;
    Ok(salvaged)
}

/// Rebuilds the tables of media that lies in pieces.
fn salvage_pieces<R: Read + Seek + Send>(
    (reader, others, len): (R, ExtraReaders<'_, R>, u64),
    layout: &Layout,
    pieces: &FilePieces,
    known: (&[Reference], &MovieJudge<'_>),
) -> Result<Salvaged, SalvageError> {
    let end = if pieces.is_one() { len } else { pieces.stretch().end };
    let mut source = Source::new(PieceReader::new(reader, pieces), end).with_seams(pieces.seams());
    let displaced = if pieces.is_one() { displaced::find(&mut source, layout) } else { None };
    let Range { start, end: media_end } = pieces.stretch();
    let start = displaced.map_or(start, |displaced| displaced.media);
    let media = start..media_end.max(start);
    let choice = choose(&mut source, (&media, pieces), known);
    let other = |reader| Source::for_scout(PieceReader::new(reader, pieces), end).with_seams(pieces.seams());
    let sources = others.readers.into_iter().map(other).collect();
    let mut scouts = Scouts { sources, chunk_bytes: CHUNK_BYTES, begins: others.begins };
    let salvaged = match choice {
        SalvageChoice::Read(attempt) => attempt.carry_out((&mut source, &mut scouts), &media, (pieces, displaced)),
        SalvageChoice::NotCovered(reference) => Ok(not_covered(&media, reference)),
        SalvageChoice::Nothing => Ok(without_reference(&mut source, &media)),
    };
    source.finish().map_err(SalvageError::Read)?;
    salvaged
}

/// Whether more is in a file than its boxes lead to: its beginning is zero, or headers of its fragments were hit.
pub fn is_hit<R: Read + Seek>(reader: &mut R, layout: &Layout) -> Result<bool, SalvageError> {
    let is_headless = layout.boxes.is_empty() && layout.garbage_at == Some(0);
    Ok(is_headless || fragments::is_hit(reader, layout)?)
}

/// The end of the range without the zeros behind it: no sample ends with more than a few.
fn trimmed<R: Read + Seek>(reader: &mut R, range: &Range<u64>) -> Result<u64, SalvageError> {
    end_of_data_in(reader, range).map_err(|error| match error {
        IsoError::Io { source, .. } => SalvageError::Read(source),
        error => error.into(),
    })
}

/// What is to be done with a file.
enum SalvageChoice<'a> {
    /// It is read like this.
    Read(Box<SalvageAttempt>),
    /// It is most likely of codecs that cannot be read here, as those of this reference are.
    NotCovered(&'a Reference),
    /// Nothing is known of it.
    Nothing,
}

/// The first reference that explains the beginning, whose parameter sets fit and with which it decodes: those of the stream
/// itself, then what the media says, then those of others. If none is good, the best of them but for those of others: what
/// does not fit a recording and was not meant for it makes no picture.
///
/// What a reference has a track of that cannot be read here is never taken for something else, least of all on the word of the
/// stream's own recordings.
fn choose<'a, R: Read + Seek>(
    source: &mut Source<R>,
    (media, pieces): (&Range<u64>, &FilePieces),
    (references, judge): (&'a [Reference], &MovieJudge<'_>),
) -> SalvageChoice<'a> {
    let rehearsed = media.start..media.end.min(media.start + REHEARSED_BYTES);
    let has_tracks = |reference: &&Reference| !reference.tracks.is_empty();
    let (read, unread): (Vec<_>, Vec<_>) =
        references.iter().filter(has_tracks).partition(|reference| reference.opaque().next().is_none());
    let (own, others): (Vec<_>, Vec<_>) = read.into_iter().partition(|reference| reference.is_own());
    let mut best: Option<(u64, SalvageAttempt)> = None;
    let mut is_good = |attempt: SalvageAttempt, source: &mut Source<R>| -> bool {
        let Rehearsal { permille, beginning } = attempt.rehearse(source, &rehearsed, pieces);
        let is_good = beginning.is_some_and(|movie| movie.tracks.is_empty() || judge(&movie));
        let is_of_others = matches!(attempt.origin(), Origin::Sibling | Origin::Other);
        if is_good || (!is_of_others && best.as_ref().is_none_or(|(other, _)| permille > *other)) {
            best = Some((permille, attempt));
        }
        is_good
    };
    let found = own.iter().any(|reference| is_good(SalvageAttempt::with(reference), source));
    let probed = if found { None } else { SalvageAttempt::probed(source, media) };
    let found = found || probed.as_ref().filter(|a| a.is_complete()).is_some_and(|a| is_good(a.clone(), source));
    let mut provable = others.iter().filter(|reference| reference.can_be_refuted());
    let found = found || provable.any(|reference| is_good(SalvageAttempt::with(reference), source));
    let unread_own = unread.iter().copied().find(|reference| reference.is_own());
    let unread_beside = unread.iter().copied().find(|reference| reference.origin == Origin::Sibling);
    if let Some(attempt) = probed.filter(|attempt| !found && unread_own.is_none() && !attempt.is_complete()) {
        is_good(attempt, source);
    }
    let best = best.filter(|(permille, _)| *permille > 0).map(|(_, attempt)| SalvageChoice::Read(Box::new(attempt)));
    match (best, unread_own) {
        (Some(best), _) if found => best,
        (_, Some(reference)) => SalvageChoice::NotCovered(reference),
        (Some(best), None) => best,
        (None, None) => unread_beside.map_or(SalvageChoice::Nothing, SalvageChoice::NotCovered),
    }
}

/// What is said of a file of which nothing tells how it is coded: pictures that show themselves are counted.
fn without_reference<R: Read + Seek>(source: &mut Source<R>, media: &Range<u64>) -> Salvaged {
    let nothing = nothing(media);
    let Some((standard, packets)) = probe::intra(source, media) else { return nothing };
    let codec = standard.codec().to_owned();
    let track = TrackReport { kind: crate::recording::TrackKind::Video, codec, packets, duration_ms: 0, lost: 0 };
    let report = Report { tracks: vec![track], ..nothing.report };
    Salvaged { report, verdict: SalvageVerdict::NeedsParameters, ..nothing }
}

/// What is said of a file that cannot be read because of what is in a reference.
fn not_covered(media: &Range<u64>, reference: &Reference) -> Salvaged {
    let nothing = nothing(media);
    let track = reference.opaque().next().zip(reference.not_covered()).map(|(known, codec)| TrackReport {
        kind: known.track.kind(),
        codec,
        packets: 0,
        duration_ms: 0,
        lost: 0,
    });
    let report = Report { source: reference.origin, tracks: track.into_iter().collect(), ..nothing.report };
    Salvaged { report, verdict: SalvageVerdict::NotCovered, ..nothing }
}

fn nothing(media: &Range<u64>) -> Salvaged {
    let media_bytes = media.end - media.start;
    Salvaged {
        movie: Movie::new(1000),
        whole_bytes: media.end,
        report: Report {
            source: Origin::Media,
            confidence: Confidence::Low,
            tracks: Vec::new(),
            media_bytes,
            unexplained_bytes: media_bytes,
            zero_tail_bytes: 0,
            gaps: Vec::new(),
            gap_count: 0,
            frame_rate: "none".to_owned(),
            guessed_pictures: 0,
            decode_errors: None,
        },
        verdict: SalvageVerdict::Nothing,
        found: None,
    }
}

#[cfg(test)]
mod tests;
