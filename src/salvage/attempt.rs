//! One way to read a recording, tried on its beginning and carried out on all of it.

use std::io::{Read, Seek};
use std::ops::Range;

use super::describe::{self, PictureShape, SoundFacts};
use super::displaced::DisplacedMedia;
use super::element::Sound;
use super::loss::GapLoss;
use super::nal::CodecParameters;
use super::pieces::FilePieces;
use super::probe;
use super::reference::{Origin, Reference};
use super::report::{Confidence, GapReport, MAX_LISTED_GAPS, Report, TrackReport};
use super::source::Source;
use super::timeline::{ExpectedTiming, FrameRate, SampleTimes, timeline};
use super::unframed;
use super::walk::{Hypothesis, Scouts, WalkResult, walk, walk_with};
use super::{SalvageError, SalvageVerdict, Salvaged, assemble, clock, gate};
use crate::isobmff::{FourCc, Movie, PixelAspect, Track};

/// Ticks per second of a picture track of which nothing is known: it holds every usual frame rate.
const VIDEO_TIMESCALE: u32 = 90_000;
/// What a reference whose parameter sets do not fit is worth at most.
const MISFIT_PERMILLE: u64 = 400;

/// A reference that explains so many in a thousand bytes, and whose parameter sets fit, is not questioned.
const GOOD_PERMILLE: u64 = 950;
/// Nor is one that finds so many packets for each gap.
const PACKETS_PER_GAP: usize = 40;

/// How well a hypothesis reads the beginning of the media.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rehearsal {
    /// How many in a thousand bytes it explains; few if its parameter sets do not fit.
    pub permille: u64,
    /// The beginning as a movie, if it is explained so well that no other needs to be tried; without tracks where only packets
    /// without a length are in it.
    pub beginning: Option<Movie>,
}

/// A hypothesis with what is needed to make tracks of it.
#[derive(Debug, Clone)]
pub struct SalvageAttempt {
    origin: Origin,
    hypothesis: Hypothesis,
    expected: ExpectedTiming,
    video: Option<Track>,
    audio: Vec<Track>,
    is_complete: bool,
}

impl SalvageAttempt {
    /// Where its parameters come from.
    pub(super) const fn origin(&self) -> Origin {
        self.origin
    }

    /// As a reference says.
    pub fn with(reference: &Reference) -> Self {
        let hypothesis = reference.hypothesis();
        let has_parameters = hypothesis.parameters.is_some();
        Self {
            origin: reference.origin,
            expected: reference.expected(),
            video: reference.video().filter(|_| has_parameters).map(|known| known.track.clone()),
            audio: reference.audio().map(|known| known.track.clone()).collect(),
            is_complete: true,
            hypothesis,
        }
    }

    /// As the media itself tells.
    pub fn probed<R: Read + Seek>(source: &mut Source<R>, media: &Range<u64>) -> Option<Self> {
        let probed = probe::probe(source, media)?;
        let audio = probed.sound.and_then(audio_track);
        Some(Self {
            origin: Origin::Media,
            expected: ExpectedTiming::default(),
            video: None,
            audio: audio.into_iter().collect(),
            is_complete: probed.has_parameters || probed.hypothesis.video.is_none(),
            hypothesis: probed.hypothesis,
        })
    }

    /// Whether nothing is missing for a result that plays.
    pub const fn is_complete(&self) -> bool {
        self.is_complete
    }

    /// How well it reads the beginning.
    pub fn rehearse<R: Read + Seek>(
        &self,
        source: &mut Source<R>,
        range: &Range<u64>,
        pieces: &FilePieces,
    ) -> Rehearsal {
        let mut walked = walk(source, range.clone(), &self.hypothesis);
        let cut = walked
            .gaps
            .last()
            .filter(|gap| gap.range.end == range.end)
            .map_or(0, |gap| gap.range.end - gap.range.start);
        let total = walked.total_bytes.saturating_sub(cut).max(1);
        let unexplained = walked.unexplained_bytes().saturating_sub(cut);
        let packets = walked.frames.len() + walked.audio.iter().map(Vec::len).sum::<usize>();
        let explained = if packets == 0 { 0 } else { 1000 - (unexplained * 1000 / total).min(1000) };
        let misfits = self.video.is_some() && !gate::fits(&walked);
        let permille = if misfits { explained.min(MISFIT_PERMILLE) } else { explained };
        // A hole in the media is nothing that another hypothesis could explain.
        let is_gapless = walked.gaps.len() * PACKETS_PER_GAP <= packets;
        let is_good = permille >= GOOD_PERMILLE || is_gapless && permille > MISFIT_PERMILLE;
        walked.relocate(|place| pieces.to_file(place));
        Rehearsal { permille, beginning: if is_good { self.beginning(&walked) } else { None } }
    }

    /// What a walk over the beginning found, as a movie for a decoder; its times are of no interest.
    fn beginning(&self, walked: &WalkResult) -> Option<Movie> {
        let timeline = timeline(walked, &self.hypothesis, &self.expected);
        let has_pictures = !walked.frames.is_empty();
        let video = if has_pictures { Some(self.video_track(walked)?) } else { None };
        let video = video.map(|track| assemble::video(track, walked, &timeline)).transpose().ok()?;
        let audio = self.audio_tracks(walked, &timeline.lost, |sound| !sound.is_unframed()).ok()?;
        Some(assemble::movie(video.into_iter().chain(audio).collect()))
    }

    /// Walks everything and makes the movie.
    pub fn carry_out<R: Read + Seek + Send>(
        mut self,
        (source, scouts): (&mut Source<R>, &mut Scouts<'_, R>),
        media: &Range<u64>,
        (pieces, displaced): (&FilePieces, Option<DisplacedMedia>),
    ) -> Result<Salvaged, SalvageError> {
        let mut walked = walk_with(source, scouts, media.clone(), &self.hypothesis);
        if let Some(displaced) = displaced {
            displaced.note_frontier(&mut walked);
        }
        let expected = self.expectation(&walked);
        for (index, track) in self.hypothesis.audio.iter_mut().enumerate().filter(|(_, t)| t.sound.is_unframed()) {
            unframed::split(source, &mut walked, (index, track), &expected);
        }
        let timeline = timeline(&walked, &self.hypothesis, &expected);
        walked.relocate(|place| pieces.to_file(place));
        let video = self.video_track(&walked);
        let needs_parameters = !walked.frames.is_empty() && video.is_none();
        let mut tracks = Vec::new();
        if let Some(track) = video.filter(|_| !walked.frames.is_empty()) {
            tracks.push(assemble::video(track, &walked, &timeline)?);
        }
        tracks.extend(self.audio_tracks(&walked, &timeline.lost, |_| true)?);
        let verdict = match () {
            () if needs_parameters => SalvageVerdict::NeedsParameters,
            () if tracks.is_empty() => SalvageVerdict::Nothing,
            () => SalvageVerdict::Playable,
        };
        let movie = assemble::movie(tracks);
        let report = self.report(&walked, &timeline, &movie.tracks, needs_parameters);
        Ok(Salvaged { movie, whole_bytes: pieces.last().end, report, verdict, found: None })
    }

    /// What parameter sets in the media say about timing, where no reference does.
    fn expectation(&self, walked: &WalkResult) -> ExpectedTiming {
        let mut expected = self.expected.clone();
        if let Some(sets) = &walked.parameters {
            let said = sets.frame_duration().map(|(units, rate)| clock::flicks(u64::from(units), u64::from(rate)));
            expected.durations.extend(said);
            expected.lag = expected.lag.or(sets.reorder().map(i64::from));
        }
        expected
    }

    /// The picture track: as the reference says if its parameter sets fit and the media repeats none or the same, else as
    /// those in the media say.
    fn video_track(&self, walked: &WalkResult) -> Option<Track> {
        let holds = |track: &&Track| {
            let raw = track.descriptions.raw();
            walked.inband.iter().all(|unit| raw.windows(unit.len()).any(|window| window == unit))
        };
        let is_own = matches!(self.origin, Origin::Given | Origin::Stream);
        let taken = self.video.as_ref().filter(|track| walked.inband.is_empty() || is_own || holds(track));
        if let Some(track) = taken.filter(|_| gate::fits(walked)) {
            return Some(track.clone());
        }
        let video = self.hypothesis.video?;
        let mut parameters = CodecParameters::empty(video.standard);
        for unit in &walked.inband {
            parameters.take(unit);
        }
        let size = parameters.dimensions().filter(|_| parameters.is_usable())?;
        let shape = PictureShape { size, aspect: parameters.aspect().unwrap_or(PixelAspect::SQUARE) };
        let stsd = describe::video(video.standard, &walked.inband, video.length_bytes, shape)?;
        let timescale = self.video.as_ref().map_or(VIDEO_TIMESCALE, Track::timescale);
        Track::new(1, FourCc(*b"vide"), timescale, &stsd, size).filter(|_| gate::fits(walked))
    }

    fn audio_tracks(
        &self,
        walked: &WalkResult,
        lost: &[GapLoss],
        is_wanted: impl Fn(&Sound) -> bool,
    ) -> Result<Vec<Track>, SalvageError> {
        let first = self.hypothesis.audio.first().map_or(0, |track| track.duration);
        let specs = self.hypothesis.audio.iter().zip(&self.audio).enumerate();
        let found = specs.filter(|(index, (spec, _))| !walked.audio[*index].is_empty() && is_wanted(&spec.sound));
        found
            .map(|(index, (spec, track))| Ok(assemble::audio(track.clone(), index, spec, first, walked, lost)?))
            .collect()
    }

    fn report(&self, walked: &WalkResult, timeline: &SampleTimes, tracks: &[Track], needs_parameters: bool) -> Report {
        let lost = |pick: fn(&GapLoss) -> i64| timeline.lost.iter().map(pick).sum::<i64>();
        let mut said: Vec<TrackReport> = tracks.iter().map(track_report).collect();
        if needs_parameters {
            said.insert(0, self.pictures_without_parameters(walked));
        }
        for track in &mut said {
            let is_video = track.kind == crate::recording::TrackKind::Video;
            track.lost = if is_video { lost(|l| l.pictures) } else { lost(|l| l.audio) };
        }
        let gaps = walked.gaps.iter().zip(&timeline.lost).take(MAX_LISTED_GAPS).map(|(gap, lost)| GapReport {
            offset: gap.range.start,
            bytes: gap.range.end - gap.range.start,
            lost_pictures: lost.pictures,
            lost_audio: lost.audio,
            is_ambiguous: lost.is_ambiguous(),
            doubt_ms: clock::ticks(lost.doubt, 1000),
        });
        Report {
            source: self.origin,
            confidence: self.confidence(walked, timeline, needs_parameters),
            tracks: said,
            media_bytes: walked.total_bytes,
            unexplained_bytes: walked.unexplained_bytes(),
            zero_tail_bytes: 0,
            gaps: gaps.collect(),
            gap_count: walked.gaps.len(),
            frame_rate: rate_name(timeline.rate).to_owned(),
            guessed_pictures: timeline.guessed,
            decode_errors: None,
        }
    }

    fn pictures_without_parameters(&self, walked: &WalkResult) -> TrackReport {
        let standard = self.hypothesis.video.map_or(super::nal::Standard::Avc, |video| video.standard);
        TrackReport {
            kind: crate::recording::TrackKind::Video,
            codec: standard.codec().to_owned(),
            packets: walked.frames.len() as u64,
            duration_ms: 0,
            lost: 0,
        }
    }

    fn confidence(&self, walked: &WalkResult, timeline: &SampleTimes, needs_parameters: bool) -> Confidence {
        let is_ambiguous = timeline.lost.iter().any(GapLoss::is_ambiguous);
        let is_guessed = self.origin == Origin::Media && !self.audio.is_empty();
        match () {
            () if needs_parameters || walked.explained_permille() < 900 => Confidence::Low,
            () if is_ambiguous || is_guessed || timeline.rate == FrameRate::Variable => Confidence::Medium,
            () if !timeline.is_ordered && !walked.frames.is_empty() => Confidence::Medium,
            () => Confidence::High,
        }
    }
}

const fn rate_name(rate: FrameRate) -> &'static str {
    match rate {
        FrameRate::None => "none",
        FrameRate::Proven => "proven",
        FrameRate::Declared => "declared",
        FrameRate::Variable => "variable",
    }
}

/// What is said of a track of the result.
pub fn track_report(track: &Track) -> TrackReport {
    // The media lasts from the first decoding time on; what is shown begins later where pictures change places.
    let shown = i128::from(track.media.duration) - i128::from(track.earliest_composition());
    let ms = shown * 1000 / i128::from(track.timescale());
    TrackReport {
        kind: track.kind(),
        codec: track.codec(),
        packets: track.tables.count(),
        duration_ms: i64::try_from(ms).unwrap_or(i64::MAX),
        lost: 0,
    }
}

fn audio_track(facts: SoundFacts) -> Option<Track> {
    Track::new(1, FourCc(*b"soun"), facts.rate_hz, &describe::sound(facts)?, (0, 0))
}
