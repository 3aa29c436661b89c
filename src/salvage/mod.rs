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
mod fragments;
pub mod framed;
mod gate;
mod heads;
mod loss;
pub mod nal;
mod order;
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

use crate::isobmff::{IsoError, Layout, Movie, Shape, end_of_data_in, top_level};
use attempt::{Attempt, Rehearsal};
pub use describe::{PictureShape, SoundFacts, sound_configured, video_configured};
pub use error::SalvageError;
pub use heads::{MOST_HEAD_BYTES, Mended, Repair, are_clusters_hit, head_of, mend, repair_clusters};
pub use reference::{Known, Origin, Pace, Reference};
pub use report::{Confidence, GapReport, Report, TrackReport};
use source::Source;
pub use tail::{has_open_tail, is_walked};
use walk::{Begins, CHUNK_BYTES, Scouts};

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
    pub verdict: Verdict,
    /// Where samples lie that the file's own tables do not name, if it has tables for others; `None` if it has none.
    pub found: Option<Vec<Range<u64>>>,
}

/// Whether the result plays.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// It does.
    Playable,
    /// The pictures were found, but nothing says how they are coded: a reference must.
    NeedsParameters,
    /// Nothing was found.
    Nothing,
}

/// Further looks into the file that is salvaged: for each a thread looks through what is ahead.
#[expect(missing_debug_implementations, reason = "a closure has none")]
pub struct Others<'a, R> {
    /// They see what the first reader sees.
    pub readers: Vec<R>,
    /// Hears which of them begins which range of bytes; the first reader has the number behind theirs.
    pub begins: &'a Begins<'a>,
}

impl<R> Others<'_, R> {
    /// No other looks.
    pub const fn none() -> Self {
        Self { readers: Vec::new(), begins: &|_, _| () }
    }
}

/// Says whether a decoder makes clean pictures of the beginning of a movie, whose samples lie in the file that is salvaged.
pub type Judge<'a> = dyn Fn(&Movie) -> bool + 'a;

/// Rebuilds the tables of a file of `len` bytes; the references are tried in their order, and none is asked about.
pub fn salvage<R: Read + Seek + Send>(
    reader: R,
    others: Others<'_, R>,
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
    others: Others<'_, R>,
    len: u64,
    (references, judge): (&[Reference], &Judge<'_>),
) -> Result<Salvaged, SalvageError> {
    let layout = top_level(&mut reader, len)?;
    if fragments::has_fragments(&mut reader, &layout)? {
        return fragments::salvage(reader, len, (references, judge));
    }
    if layout.shape() == Shape::HeaderFirst {
        return tail::salvage(reader, &layout);
    }
    let range = media_range(&layout).ok_or(SalvageError::NoMedia)?;
    let end = trimmed(&mut reader, &range)?;
    let mut source = Source::new(reader, len);
    let displaced = displaced::find(&mut source, &layout);
    let start = displaced.map_or(range.start, |displaced| displaced.media);
    let (media, zero_tail_bytes) = (start..end.max(start), range.end - end);
    let attempt = choose(&mut source, &media, (references, judge));
    let sources = others.readers.into_iter().map(|other| Source::for_scout(other, len)).collect();
    let mut scouts = Scouts { sources, chunk_bytes: CHUNK_BYTES, begins: others.begins };
    let carry_out = |attempt: Attempt| attempt.carry_out((&mut source, &mut scouts), &media, displaced);
    let salvaged = attempt.map_or_else(|| Ok(nothing(&media)), carry_out);
    source.finish().map_err(SalvageError::Read)?;
    let mut salvaged = salvaged?;
    salvaged.report.zero_tail_bytes = zero_tail_bytes;
    Ok(salvaged)
}

/// Whether more is in a file than its boxes lead to: its beginning is zero, or headers of its fragments were hit.
pub fn is_hit<R: Read + Seek>(reader: &mut R, layout: &Layout) -> Result<bool, SalvageError> {
    let is_headless = layout.boxes.is_empty() && layout.garbage_at == Some(0);
    Ok(is_headless || fragments::is_hit(reader, layout)?)
}

/// Where the media lies: the body of the last `mdat`, to the end of the file if its size is not to be believed.
fn media_range(layout: &Layout) -> Option<Range<u64>> {
    let Some(mdat) = layout.boxes.iter().rev().find(|b| b.is(b"mdat")) else {
        return (layout.garbage_at == Some(0)).then_some(0..layout.len);
    };
    // A size of 0 means "to the end"; so does the placeholder of a header whose size was never written.
    let is_placeholder = mdat.is_open_ended || mdat.end() > layout.len || mdat.end() == mdat.body_offset();
    let end = if is_placeholder { layout.len } else { mdat.end() };
    Some(mdat.body_offset()..end.max(mdat.body_offset()))
}

/// The end of the range without the zeros behind it: no sample ends with more than a few.
fn trimmed<R: Read + Seek>(reader: &mut R, range: &Range<u64>) -> Result<u64, SalvageError> {
    end_of_data_in(reader, range).map_err(|error| match error {
        IsoError::Io { source, .. } => SalvageError::Read(source),
        error => error.into(),
    })
}

/// The first reference that explains the beginning, whose parameter sets fit and with which it decodes: those of the stream
/// itself, then what the media says, then those of others. If none is good, the best of them but for those of others: what
/// does not fit a recording and was not meant for it makes no picture.
fn choose<R: Read + Seek>(
    source: &mut Source<R>,
    media: &Range<u64>,
    (references, judge): (&[Reference], &Judge<'_>),
) -> Option<Attempt> {
    let rehearsed = media.start..media.end.min(media.start + REHEARSED_BYTES);
    let (own, others): (Vec<_>, Vec<_>) = references
        .iter()
        .filter(|reference| !reference.tracks.is_empty())
        .partition(|reference| matches!(reference.origin, Origin::Given | Origin::Stream));
    let mut best: Option<(u64, Attempt)> = None;
    let mut is_good = |attempt: Attempt, source: &mut Source<R>| -> bool {
        let Rehearsal { permille, beginning } = attempt.rehearse(source, &rehearsed);
        let is_good = beginning.is_some_and(|movie| movie.tracks.is_empty() || judge(&movie));
        let is_of_others = matches!(attempt.origin(), Origin::Sibling | Origin::Other);
        if is_good || (!is_of_others && best.as_ref().is_none_or(|(other, _)| permille > *other)) {
            best = Some((permille, attempt));
        }
        is_good
    };
    let found = own.iter().any(|reference| is_good(Attempt::with(reference), source));
    let probed = if found { None } else { Attempt::probed(source, media) };
    let found = found || probed.as_ref().filter(|a| a.is_complete()).is_some_and(|a| is_good(a.clone(), source));
    let found = found || others.iter().any(|reference| is_good(Attempt::with(reference), source));
    if let Some(attempt) = probed.filter(|attempt| !found && !attempt.is_complete()) {
        is_good(attempt, source);
    }
    best.filter(|(permille, _)| *permille > 0).map(|(_, attempt)| attempt)
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
        verdict: Verdict::Nothing,
        found: None,
    }
}

#[cfg(test)]
mod tests;
