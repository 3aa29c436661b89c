//! Through the media, element by element, in file order; over what is damaged to the next place that holds.
//!
//! An element is believed if others follow it. Where none stands, the walk goes on at the next place from which several
//! follow one another, and remembers the gap. Time is proportional to the length and memory to the number of samples:
//! every byte is looked at a bounded number of times, and nothing is copied.

mod ahead;
mod budget;
mod found;
mod runs;
mod units;
mod visual;
mod whole;

use std::io::{Read, Seek};
use std::ops::Range;

use super::element::{LOOK_BYTES, Sound, Video};
use super::nal::{CodecParameters, Standard};
use super::source::Source;
use crate::memory;
pub use ahead::{BeginListener, CHUNK_BYTES, Scouts, walk_with};
use ahead::{ElementStep, ScoutFeed};
use budget::ReadBudget;
#[cfg(test)]
pub use budget::ReadBudget as WalkBudget;
pub use found::{AudioFrame, Frame, MediaGap, WalkResult};
use runs::FirstBytes;
use units::OpenUnit;
use visual::AudioHabits;

/// How many elements must follow one another where the walk takes up again.
const RESUME_CHAIN: u32 = 3;
/// How many must follow one another inside an element for it to be a mistake.
const OVERRIDE_CHAIN: u32 = 6;
/// How many must follow an element for it to be believed at once.
const TRUST_CHAIN: u32 = 3;
/// So many times as many where one byte in sixteen may begin a unit: AV1.
const WEAK_CHAINS: u32 = 2;
/// A unit so many times as large as the largest before it, and larger than this, may have a length that lies.
const ODD_GROWTH: u64 = 4;
const NEVER_ODD_BYTES: u64 = 64 << 10;
/// How far into such a unit its true end is looked for.
const ODD_LOOK_BYTES: u64 = 2 << 20;
/// Most samples that are taken: sixteen days of sound and pictures.
const MAX_SAMPLES: u64 = 1 << 26;
/// And not more than one for so many bytes of the memory that the process may have: what is known of it while the walk goes on,
/// its place in the timeline, and the tables.
const MEMORY_BYTES_PER_SAMPLE: u64 = 256;
/// Remembered parses.
const MEMORY: usize = 256;
/// What an attempt to read an element counts at least.
const PARSE_BYTES: u64 = 16;
/// A run of so many zeros holds no element.
const ZERO_RUN: usize = 64;

/// Samples of a kind that are taken in this process.
fn sample_limit() -> usize {
    usize::try_from(memory::share(MEMORY_BYTES_PER_SAMPLE, MAX_SAMPLES)).unwrap_or(usize::MAX)
}

/// What is believed to be in the media.
#[derive(Debug, Clone)]
pub struct Hypothesis {
    /// The pictures, if there are any.
    pub video: Option<Video>,
    /// Their parameter sets, as far as they are known.
    pub parameters: Option<CodecParameters>,
    /// The audio tracks; those of one format share a lane.
    pub audio: Vec<AudioTrack>,
    /// When pictures are due, if they have a constant distance.
    pub pace: Option<VideoPace>,
}

/// When pictures are due.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct VideoPace {
    /// Decoding time of the first, in flicks.
    pub start: i64,
    /// From one to the next, in flicks.
    pub distance: i64,
}

/// An audio track as the walk needs it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AudioTrack {
    /// Its format.
    pub sound: Sound,
    /// When its first frame is due, in flicks.
    pub start: i64,
    /// Duration of a frame in flicks.
    pub duration: i64,
}

/// An empty place in what is remembered: place, lane and end.
const NOTHING: (u64, usize, u64) = (u64::MAX, 0, 0);

/// Walks a range of a file.
pub fn walk<R: Read + Seek>(source: &mut Source<R>, range: Range<u64>, hypothesis: &Hypothesis) -> WalkResult {
    Walker::new(source, range.clone(), hypothesis).run(range.start)
}

/// The same to find out whether a hypothesis may be right: it is given up soon where it is not.
pub fn walk_briefly<R: Read + Seek>(source: &mut Source<R>, range: Range<u64>, hypothesis: &Hypothesis) -> WalkResult {
    let mut walker = Walker::new(source, range.clone(), hypothesis);
    walker.budget = ReadBudget::brief(range.start, range.end.saturating_sub(range.start));
    walker.run(range.start)
}

/// The element that most others follow at a place.
#[derive(Debug, Clone, Copy)]
struct BestElement {
    depth: u32,
    lane: usize,
    end: u64,
}

impl BestElement {
    /// Whether it is believed at once, if its size is nothing odd.
    const fn is_trusted(&self) -> bool {
        self.depth >= TRUST_CHAIN
    }
}

struct Walker<'a, R> {
    source: &'a mut Source<R>,
    limit: u64,
    video: Option<Video>,
    sounds: Vec<Sound>,
    tracks: &'a [AudioTrack],
    parameters: Option<CodecParameters>,
    memory: Vec<(u64, usize, u64)>,
    open: Option<OpenUnit>,
    found: WalkResult,
    is_full: bool,
    /// The track whose packets have no length, if there is one.
    unframed: Option<usize>,
    /// The largest unit so far, with its length field.
    largest_unit_bytes: u64,
    /// The longest run of such packets so far.
    largest_run_bytes: u64,
    /// With which bytes runs of such packets begin.
    first_bytes: FirstBytes,
    /// What frames of sound look like, where pictures have no length.
    habits: AudioHabits,
    pace: Option<VideoPace>,
    budget: ReadBudget,
    /// Units that are longer are passed over.
    longest_unit_bytes: u64,
    /// What threads ahead of the walk tell, if there are any.
    ahead: Option<ScoutFeed<'a>>,
    /// The beginning of the unit that is being taken.
    head: Vec<u8>,
}

impl<'a, R: Read + Seek> Walker<'a, R> {
    fn new(source: &'a mut Source<R>, range: Range<u64>, hypothesis: &'a Hypothesis) -> Self {
        let mut sounds: Vec<Sound> = Vec::new();
        for track in &hypothesis.audio {
            if !sounds.contains(&track.sound) {
                sounds.push(track.sound);
            }
        }
        let parameters = hypothesis.parameters.clone();
        let empty = || hypothesis.video.map(|video| CodecParameters::empty(video.standard));
        Self {
            source,
            limit: range.end,
            video: hypothesis.video,
            sounds,
            tracks: &hypothesis.audio,
            parameters: parameters.or_else(empty),
            memory: vec![NOTHING; MEMORY],
            open: None,
            found: WalkResult {
                audio: vec![Vec::new(); hypothesis.audio.len()],
                total_bytes: range.end.saturating_sub(range.start),
                ..WalkResult::default()
            },
            is_full: false,
            unframed: hypothesis.audio.iter().position(|track| track.sound.is_unframed()),
            largest_unit_bytes: 0,
            largest_run_bytes: 0,
            first_bytes: FirstBytes::default(),
            habits: AudioHabits::default(),
            pace: hypothesis.pace,
            budget: ReadBudget::new(range.start, range.end.saturating_sub(range.start)),
            longest_unit_bytes: u64::MAX,
            ahead: None,
            head: Vec::new(),
        }
    }

    fn run(mut self, start: u64) -> WalkResult {
        let mut at = start;
        while at < self.limit && !self.is_full {
            self.budget.advance(at);
            if self.source.until_seam(at.saturating_sub(1), self.limit) == at {
                self.close_unit();
            }
            if let Some(step) = self.foreseen(at) {
                self.accept_foreseen(&step);
                at = step.end;
                continue;
            }
            match self.choose(at) {
                Ok((lane, end)) => {
                    self.accept(lane, at..end);
                    at = end;
                }
                Err(next) => {
                    self.drop_if_continued(at);
                    self.close_unit();
                    self.note_gap(at..next);
                    at = next;
                }
            }
        }
        self.close_unit();
        if at < self.limit {
            // There are more samples than are taken.
            self.note_gap(at..self.limit);
        }
        self.found.parameters = self.parameters;
        self.found.work_bytes = self.budget.spent();
        self.found
    }

    const fn lanes(&self) -> usize {
        1 + self.sounds.len()
    }

    /// The element at a place and its end, or where to go on if there is none.
    fn choose(&mut self, at: u64) -> Result<(usize, u64), u64> {
        if self.unframed.is_some() {
            if !self.is_certain(at) {
                return self.run_or_gap(at);
            }
            // Any bytes may be packets without a length: what lies inside of it says nothing more.
            if let Some(end) = self.parse(0, at) {
                return Ok((0, end));
            }
        }
        let all = 0..self.lanes();
        let Some(best @ BestElement { lane, end, .. }) = self.best(at, all.clone()) else { return self.run_or_gap(at) };
        let is_odd = lane == 0 && self.is_odd(end - at);
        if best.is_trusted() && !is_odd {
            return Ok((lane, end));
        }
        // A frame of silence may be the length of a huge unit, and lead to another one by chance.
        let sound = if is_odd { self.best(at, 1..all.end).filter(BestElement::is_trusted) } else { None };
        if let Some(BestElement { lane, end, .. }) = sound {
            return Ok((lane, end));
        }
        // Any place may look like the beginning of a few elements, also the one where a length that lies leads to.
        let until = if best.is_trusted() { end.min(at.saturating_add(ODD_LOOK_BYTES)) } else { end };
        let mut inside = self.find(at + 1, until, OVERRIDE_CHAIN);
        while inside < until && !self.refutes(inside, is_odd.then_some(end)) {
            inside = self.find(inside + 1, until, OVERRIDE_CHAIN);
        }
        if inside < until { Err(inside) } else { Ok((lane, end)) }
    }

    /// Whether what follows from a place inside of an element shows that it is none. The last bytes of a unit may look like an
    /// element that leads to its end, behind which the next ones stand; and the end of the media follows anything, also one
    /// element by chance.
    fn refutes(&mut self, inside: u64, end_of_odd: Option<u64>) -> bool {
        match end_of_odd {
            Some(end) => self.lie_before(inside, end, RESUME_CHAIN),
            None if self.unframed.is_some() || self.is_proof(inside) => true,
            None => self.lie_before(inside, self.limit.saturating_add(1), RESUME_CHAIN),
        }
    }

    /// The element of some lanes at a place that most others follow, the pictures first.
    fn best(&mut self, at: u64, lanes: Range<usize>) -> Option<BestElement> {
        let candidates = (0..self.lanes()).filter(|lane| self.parse(*lane, at).is_some()).count();
        let depth_looked = if candidates > 1 { OVERRIDE_CHAIN } else { TRUST_CHAIN };
        let mut best: Option<BestElement> = None;
        for lane in lanes {
            let Some(end) = self.parse(lane, at) else { continue };
            let depth = self.chain(end, depth_looked);
            if best.is_none_or(|other| depth > other.depth) {
                best = Some(BestElement { depth, lane, end });
            }
        }
        best
    }

    /// What a scout told of a place, if that is all there is to know.
    fn foreseen(&mut self, at: u64) -> Option<ElementStep> {
        let step = self.ahead.as_mut()?.step_at(at)?;
        if step.lane == 0 && self.is_odd(step.end - at) {
            return None;
        }
        self.budget.spend(step.cost);
        Some(step)
    }

    fn accept_foreseen(&mut self, step: &ElementStep) {
        let Some(role) = step.role else { return self.accept(step.lane, step.at..step.end) };
        self.accept_with(step.at..step.end, |walker, head| {
            head.extend_from_slice(walker.ahead.as_ref().map_or(&[][..], |ahead| ahead.head(step)));
            Some(role)
        });
    }

    /// Whether so many elements follow one another from a place on and end before another.
    fn lie_before(&mut self, at: u64, end: u64, count: u32) -> bool {
        count == 0
            || (0..self.lanes()).any(|lane| {
                let next = self.parse(lane, at).filter(|next| *next < end);
                next.is_some_and(|next| self.lie_before(next, end, count - 1))
            })
    }

    /// Whether a unit is larger than those before it led to expect.
    fn is_odd(&self, bytes: u64) -> bool {
        let has_units = self.video.is_none_or(|video| video.standard.has_units());
        has_units && bytes > self.largest_unit_bytes.saturating_mul(ODD_GROWTH).max(NEVER_ODD_BYTES)
    }

    /// Whether the next unit continues the access unit before it, or can be believed by itself.
    fn is_certain(&mut self, at: u64) -> bool {
        self.parse(0, at).is_some() && (self.continues(at) || self.unit_stands(at))
    }

    /// How many elements follow one another from a place on, up to `depth`; the end of the media follows anything.
    fn chain(&mut self, at: u64, depth: u32) -> u32 {
        if depth == 0 || at == self.limit || self.is_proof(at) {
            return depth;
        }
        if self.unframed.is_some() && self.parse(0, at).is_none() {
            return if self.run_may_begin(at) { depth } else { 0 };
        }
        let mut best = 0;
        for lane in 0..self.lanes() {
            if let Some(end) = self.parse(lane, at) {
                best = best.max(1 + self.chain(end, depth - 1));
                if best == depth {
                    break;
                }
            }
        }
        best
    }

    /// The first place in `from..to` from which `depth` elements follow one another; `to` if there is none.
    fn find(&mut self, from: u64, to: u64, depth: u32) -> u64 {
        let is_weak = self.video.is_some_and(|video| video.standard == Standard::Av1);
        let depth = if is_weak { depth * WEAK_CHAINS } else { depth };
        let mut at = from;
        while at < to {
            at = to.min(at.saturating_add(self.budget.hurry(at)));
            at += self.glance(at, to);
            if at >= to {
                break;
            }
            if self.chain(at, depth) >= depth {
                return at;
            }
            at += 1;
        }
        to
    }

    /// How far it is to the next place where an element may begin.
    fn glance(&mut self, at: u64, to: u64) -> u64 {
        if at >= to {
            return 0;
        }
        let (video, sounds) = (self.video, &self.sounds);
        let bytes = self.source.at(at, LOOK_BYTES);
        let mut index = 0;
        let most = usize::try_from(to - at).unwrap_or(usize::MAX).min(bytes.len());
        while index < most {
            let ahead = &bytes[index..];
            if ahead[0] == 0 && ahead.len() >= ZERO_RUN && ahead[..ZERO_RUN].iter().all(|b| *b == 0) {
                index += ZERO_RUN - 8;
                continue;
            }
            if video.is_some_and(|v| v.may_begin(ahead)) || sounds.iter().any(|s| s.may_begin(ahead)) {
                break;
            }
            index += 1;
        }
        index.max(usize::from(bytes.is_empty())) as u64
    }

    /// The end of the element of a lane at a place. Lane 0 is the pictures.
    fn parse(&mut self, lane: usize, at: u64) -> Option<u64> {
        let slot = usize::try_from(at.wrapping_mul(31).wrapping_add(lane as u64)).unwrap_or(0) % MEMORY;
        let (known_at, known_lane, known_end) = self.memory[slot];
        if known_at == at && known_lane == lane {
            return (known_end > at).then_some(known_end);
        }
        let (end, cost) = self.parse_anew(lane, at);
        let end = end.filter(|end| self.source.until_seam(at, *end) == *end);
        self.budget.spend(cost.max(PARSE_BYTES));
        self.memory[slot] = (at, lane, end.unwrap_or(at));
        end
    }

    /// The end of an element, and how many bytes it took to tell.
    fn parse_anew(&mut self, lane: usize, at: u64) -> (Option<u64>, u64) {
        let Some(sound) = lane.checked_sub(1) else {
            let is_jpeg = self.video.is_some_and(|video| video.standard == Standard::Jpeg);
            return if is_jpeg { self.jpeg_end(at) } else { (self.parse_unit(at), 0) };
        };
        let room = usize::try_from(self.limit - at).unwrap_or(usize::MAX);
        let bytes = self.source.at(at, self.sounds[sound].look_bytes());
        match self.sounds[sound].looked_at(&bytes[..bytes.len().min(room)]) {
            Ok(length) => (at.checked_add(length).filter(|end| *end <= self.limit), length),
            Err(looked_at) => (None, looked_at),
        }
    }

    fn parse_unit(&mut self, at: u64) -> Option<u64> {
        if self.video?.standard == Standard::Visual {
            return self.visual_end(at);
        }
        let room = usize::try_from(self.limit - at).unwrap_or(usize::MAX);
        let bytes = self.source.at(at, LOOK_BYTES);
        let unit = self.video?.unit(&bytes[..bytes.len().min(room)])?;
        let end =
            at.checked_add(unit.bytes).filter(|end| *end <= self.limit && unit.bytes <= self.longest_unit_bytes)?;
        if !matches!(self.video?.standard, Standard::Avc | Standard::Hevc) {
            return Some(end);
        }
        // A unit ends with a stop bit or with a 3 behind zeros (H.264 §7.4.1, H.265 §7.4.2).
        (*self.source.at(end - 1, 1).first()? != 0).then_some(end)
    }

    fn accept(&mut self, lane: usize, range: Range<u64>) {
        match lane.checked_sub(1) {
            Some(sound) => {
                self.close_unit();
                let track = self.track_for(sound);
                let size_bytes = u32::try_from(range.end - range.start).unwrap_or(u32::MAX);
                if self.video.is_some_and(|video| video.standard == Standard::Visual) {
                    self.habits.count(self.source.at(range.start, 2), range.end - range.start);
                }
                self.found.audio[track].push(AudioFrame { offset: range.start, size_bytes });
                self.is_full |= self.found.audio[track].len() >= sample_limit();
            }
            None if self.video.is_some_and(|video| video.standard == Standard::Visual) => self.accept_visual(range),
            None if self.video.is_some_and(|video| video.standard.is_intra()) => self.accept_intra(range),
            None => self.accept_with(range.clone(), |walker, head| walker.unit_head(range.start, head)),
        }
    }

    /// Of the tracks of one format the one whose next frame is due first; the first of them on a tie.
    fn track_for(&self, sound: usize) -> usize {
        let due = |index: &usize| {
            let track = &self.tracks[*index];
            let count = i64::try_from(self.found.audio[*index].len()).unwrap_or(i64::MAX);
            track.start.saturating_add(count.saturating_mul(track.duration))
        };
        let mine = (0..self.tracks.len()).filter(|index| self.tracks[*index].sound == self.sounds[sound]);
        mine.min_by_key(due).unwrap_or(0)
    }

    fn note_gap(&mut self, range: Range<u64>) {
        match self.found.gaps.last_mut() {
            Some(last) if last.range.end == range.start => last.range.end = range.end,
            _ => self.found.gaps.push(MediaGap {
                range,
                frames_before: self.found.frames.len(),
                audio_before: self.found.audio.iter().map(|track| found::number(track.len())).collect(),
                hidden_bytes: 0,
            }),
        }
        self.is_full |= self.found.gaps.len() >= sample_limit();
    }
}
