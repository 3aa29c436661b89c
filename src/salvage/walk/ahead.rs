//! Scouts: threads that go ahead of the walk and tell what stands where, so that every processor looks through the media.
//!
//! Whether an element is believed at once depends on the bytes behind it alone, so it may be told before the walk comes
//! there. As long as its budget lasts, the walk takes over what was told of exactly the place where it stands, and looks itself at every other: with
//! scouts it finds what it finds without them, only sooner. Whatever a scout mistakes for an element costs time and no more.
//!
//! Assumes elements that carry their own end ([`may_be_scouted`]). Must not know what was found before its chunk.

use std::io::{Read, Seek};
use std::ops::Range;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;

use super::{BestElement, Hypothesis, NOTHING, RESUME_CHAIN, ReadBudget, WalkResult, Walker, walk};
use crate::salvage::element::{LOOK_BYTES, Sound};
use crate::salvage::nal::{Standard, UnitRole};
use crate::salvage::source::Source;

/// What a scout looks through before it hands over what it found.
pub const CHUNK_BYTES: u64 = 4 << 20;
/// Most elements of a chunk that are told: of a hostile one that holds more, the walk looks at the rest itself.
const MOST_STEPS: usize = 1 << 16;
/// Longest unit that a scout begins with. Where it looks for a beginning, every other place looks like that of a long unit, and
/// each would be a look far ahead. A recording whose units are all longer is looked through by the walk alone.
const LONGEST_FIRST_BYTES: u64 = 1 << 20;
/// Chunks that a scout may be ahead of the one it works on.
const CHUNKS_WAITING: usize = 1;

/// Further looks into the same file, each for a thread of its own.
pub struct Scouts<'a, R> {
    /// One for each thread.
    pub sources: Vec<Source<R>>,
    /// Bytes of a chunk.
    pub chunk_bytes: u64,
    /// Hears which scout, or the walk behind the last of them, begins which range of bytes.
    pub begins: &'a BeginListener<'a>,
}

/// Hears the number of a scout and the range that it begins to look through.
pub type BeginListener<'a> = dyn Fn(usize, &Range<u64>) + Sync + 'a;

/// An element that is believed at once.
#[derive(Debug, Clone, Copy)]
pub(super) struct ElementStep {
    pub at: u64,
    pub end: u64,
    pub lane: usize,
    /// Of a unit.
    pub role: Option<UnitRole>,
    /// What was looked at to find it, in bytes.
    pub cost: u64,
    /// Where the bytes begin that the walk wants to see of it, and how many they are.
    head: (usize, usize),
}

/// The elements of a chunk in file order, and the beginnings of its units.
#[derive(Debug, Default)]
struct Trail {
    steps: Vec<ElementStep>,
    heads: Vec<u8>,
}

/// What the scouts tell, taken chunk by chunk.
pub(super) struct ScoutFeed<'a> {
    trails: Vec<Receiver<Trail>>,
    begins: &'a BeginListener<'a>,
    start: u64,
    chunk_bytes: u64,
    /// Chunks that were taken.
    taken: u64,
    trail: Trail,
    next: usize,
}

impl<'a> ScoutFeed<'a> {
    fn new(trails: Vec<Receiver<Trail>>, begins: &'a BeginListener<'a>, start: u64, chunk_bytes: u64) -> Self {
        Self { trails, begins, start, chunk_bytes, taken: 0, trail: Trail::default(), next: 0 }
    }

    /// What was told of a place. Places are asked for in ascending order.
    pub fn step_at(&mut self, at: u64) -> Option<ElementStep> {
        let chunk = at.checked_sub(self.start)? / self.chunk_bytes;
        if self.taken <= chunk {
            let from = self.start + chunk * self.chunk_bytes;
            (self.begins)(self.trails.len(), &(from..from.saturating_add(self.chunk_bytes)));
        }
        while self.taken <= chunk {
            let scout = usize::try_from(self.taken % self.trails.len() as u64).unwrap_or(0);
            self.trail = self.trails[scout].recv().unwrap_or_default();
            self.taken += 1;
            self.next = 0;
        }
        while self.trail.steps.get(self.next).is_some_and(|step| step.at < at) {
            self.next += 1;
        }
        self.trail.steps.get(self.next).filter(|step| step.at == at).copied()
    }

    /// The beginning of the unit of a step that was just told.
    pub fn head(&self, step: &ElementStep) -> &[u8] {
        let (from, len) = step.head;
        &self.trail.heads[from..from + len]
    }
}

/// Whether what stands at a place can be told without having come there: not where pictures or packets have no length.
fn may_be_scouted(hypothesis: &Hypothesis) -> bool {
    let is_visual = hypothesis.video.is_some_and(|video| video.standard == Standard::Visual);
    // Frames of FLAC are longer than what a scout sees at once.
    let is_far = |sound: Sound| sound.is_unframed() || sound.look_bytes() > LOOK_BYTES;
    !is_visual && !hypothesis.audio.iter().any(|track| is_far(track.sound))
}

/// Walks a range of a file with scouts ahead.
pub fn walk_with<R: Read + Seek + Send>(
    source: &mut Source<R>,
    scouts: &mut Scouts<'_, R>,
    range: Range<u64>,
    hypothesis: &Hypothesis,
) -> WalkResult {
    let (count, chunk_bytes) = (scouts.sources.len() as u64, scouts.chunk_bytes);
    let has_enough = range.end.saturating_sub(range.start) > chunk_bytes;
    if count == 0 || !has_enough || !may_be_scouted(hypothesis) {
        return walk(source, range, hypothesis);
    }
    thread::scope(|scope| {
        let begun = scouts.sources.iter_mut().zip(0..).map(|(source, first)| {
            let (told, trails) = sync_channel(CHUNKS_WAITING);
            let chunks = ScoutChunks { range: range.clone(), chunk_bytes, first, count, begins: scouts.begins };
            let go = move || chunks.look_through(source, hypothesis, &told);
            thread::Builder::new().name(format!("scout-{first}")).spawn_scoped(scope, go).map(|_| trails)
        });
        // Without threads the walk is as slow as alone, and finds the same.
        let trails = begun.collect::<Result<Vec<_>, _>>().ok();
        let mut walker = Walker::new(source, range.clone(), hypothesis);
        walker.ahead = trails.map(|trails| ScoutFeed::new(trails, scouts.begins, range.start, chunk_bytes));
        walker.run(range.start)
    })
}

/// The chunks of one scout: every so manieth.
struct ScoutChunks<'a> {
    range: Range<u64>,
    chunk_bytes: u64,
    first: u64,
    count: u64,
    begins: &'a BeginListener<'a>,
}

impl ScoutChunks<'_> {
    /// Until there are no more, or nobody wants to know.
    fn look_through<R: Read + Seek>(&self, source: &mut Source<R>, hypothesis: &Hypothesis, told: &SyncSender<Trail>) {
        let mut chunk = self.first;
        loop {
            let from = chunk.saturating_mul(self.chunk_bytes).saturating_add(self.range.start);
            if from >= self.range.end {
                return;
            }
            let to = from.saturating_add(self.chunk_bytes).min(self.range.end);
            (self.begins)(usize::try_from(self.first).unwrap_or(0), &(from..to));
            let walker = Walker::new(source, from..self.range.end, hypothesis);
            if told.send(walker.scout(from..to)).is_err() {
                return;
            }
            chunk += self.count;
        }
    }
}

impl<R: Read + Seek> Walker<'_, R> {
    /// The first place from which a few elements follow one another; its end if there is none.
    fn beginning(&mut self, range: Range<u64>) -> u64 {
        self.longest_unit_bytes = LONGEST_FIRST_BYTES;
        let at = self.find(range.start, range.end, RESUME_CHAIN);
        self.longest_unit_bytes = u64::MAX;
        // What was passed over is remembered as nothing.
        self.memory.fill(NOTHING);
        at
    }

    /// What is believed at once in a chunk, from the first place on where a few elements follow one another.
    fn scout(mut self, chunk: Range<u64>) -> Trail {
        self.budget = ReadBudget::brief(chunk.start, chunk.end - chunk.start);
        let mut trail = Trail::default();
        let mut at = self.beginning(chunk.clone());
        // What takes so long is damaged or hostile; the walk looks at that itself, within its own bounds.
        while at < chunk.end && !self.budget.is_spent() && trail.steps.len() < MOST_STEPS {
            self.budget.advance(at);
            let spent = self.budget.spent();
            let trusted = self.best(at, 0..self.lanes()).filter(BestElement::is_trusted);
            let Some(BestElement { lane, end, .. }) = trusted else {
                at = self.beginning(at + 1..chunk.end);
                continue;
            };
            if self.source.has_failed() {
                // What could not be read looks like nothing. The walk meets the fault itself, and says it.
                break;
            }
            let from = trail.heads.len();
            let role = (lane == 0).then(|| self.unit_head(at, &mut trail.heads)).flatten();
            let (cost, head) = (self.budget.spent() - spent, (from, trail.heads.len() - from));
            trail.steps.push(ElementStep { at, end, lane, role, cost, head });
            at = end;
        }
        trail
    }
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use proptest::prelude::*;

    use super::*;
    use crate::salvage::tests::{SOUND, crashed, movie_of};
    use crate::salvage::{Origin, Reference};

    type SeenElement = (usize, usize, usize);

    /// What is found in the media with so many scouts and without; the same.
    fn compared(media: &[u8], hypothesis: &Hypothesis, chunk_bytes: u64, count: usize) -> SeenElement {
        let range = 24..media.len() as u64;
        let source = || Source::new(Cursor::new(media), media.len() as u64);
        let alone = walk(&mut source(), range.clone(), hypothesis);
        let mut scouts = Scouts {
            sources: (0..count).map(|_| Source::for_scout(Cursor::new(media), media.len() as u64)).collect(),
            chunk_bytes,
            begins: &|_, _| (),
        };
        let led = walk_with(&mut source(), &mut scouts, range, hypothesis);
        assert_eq!(led.frames, alone.frames);
        assert_eq!(led.audio, alone.audio);
        assert_eq!(led.gaps, alone.gaps);
        assert_eq!(led.inband, alone.inband);
        (alone.frames.len(), alone.audio[0].len(), alone.gaps.len())
    }

    #[test]
    fn a_scout_tells_nearly_everything_of_a_sound_recording() {
        let media = crashed(SOUND);
        let hypothesis = Reference::of(&movie_of(SOUND), Origin::Given).hypothesis();
        let (frames, packets, gaps) = compared(&media, &hypothesis, 64 << 10, 2);
        assert!(frames > 100 && packets > 100 && gaps == 0);
        let mut source = Source::new(Cursor::new(&media), media.len() as u64);
        let all = 24..media.len() as u64;
        let steps = Walker::new(&mut source, all.clone(), &hypothesis).scout(all).steps.len();
        // The last ones have too few behind them to be believed at once.
        assert!(steps + 8 > frames + packets && steps >= frames + packets - 8, "{steps} of {}", frames + packets);
    }

    #[test]
    fn no_more_is_told_of_a_chunk_than_there_is_memory_for() {
        // Delimiters of access units: six bytes each, of which every one is believed at once.
        let media = [0, 0, 0, 2, 9, 0xF0].repeat(MOST_STEPS + 100);
        let hypothesis = Reference::of(&movie_of(SOUND), Origin::Given).hypothesis();
        let mut source = Source::new(Cursor::new(&media), media.len() as u64);
        let all = 0..media.len() as u64;
        assert_eq!(Walker::new(&mut source, all.clone(), &hypothesis).scout(all).steps.len(), MOST_STEPS);
    }

    /// Bytes of which those from a place on cannot be read.
    struct Torn<'a>(Cursor<&'a [u8]>, u64);

    impl Read for Torn<'_> {
        fn read(&mut self, into: &mut [u8]) -> std::io::Result<usize> {
            let left = self.1.saturating_sub(self.0.position());
            if left == 0 { Err(std::io::ErrorKind::Other.into()) } else { self.0.by_ref().take(left).read(into) }
        }
    }

    impl Seek for Torn<'_> {
        fn seek(&mut self, to: std::io::SeekFrom) -> std::io::Result<u64> {
            self.0.seek(to)
        }
    }

    #[test]
    fn a_scout_that_cannot_read_on_tells_nothing_more() {
        let media = crashed(SOUND);
        let hypothesis = Reference::of(&movie_of(SOUND), Origin::Given).hypothesis();
        let steps = |readable: u64| {
            let mut source = Source::for_scout(Torn(Cursor::new(&media), readable), media.len() as u64);
            let all = 24..media.len() as u64;
            Walker::new(&mut source, all.clone(), &hypothesis).scout(all).steps
        };
        let readable = media.len() as u64 / 2;
        let (whole, torn) = (steps(u64::MAX), steps(readable));
        assert!(torn.len() > 100 && torn.len() < whole.len());
        assert!(
            torn.iter()
                .zip(&whole)
                .all(|(torn, whole)| (torn.at, torn.end, torn.lane) == (whole.at, whole.end, whole.lane))
        );
    }

    #[test]
    fn packets_without_a_length_are_not_scouted() {
        let mut hypothesis = Reference::of(&movie_of(SOUND), Origin::Given).hypothesis();
        assert!(may_be_scouted(&hypothesis));
        hypothesis.audio[0].sound = Sound::Opus;
        assert!(!may_be_scouted(&hypothesis));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]
        #[test]
        fn the_walk_finds_the_same_with_scouts_and_without(
            holes in proptest::collection::vec((0.0..1.0_f64, 1_usize..20_000, any::<bool>()), 0..6),
            chunk_bytes in 3_000_u64..200_000, count in 1_usize..4,
        ) {
            let mut media = crashed(SOUND);
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::cast_precision_loss, reason = "a fraction of a length")]
            let place = |share: f64, len: usize| ((len as f64) * share) as usize;
            for (share, length, is_noise) in holes {
                let from = place(share, media.len() - 24) + 24;
                let to = media.len().min(from + length);
                let mut noise = (0..).map(|n: u32| n.wrapping_mul(2_654_435_761).to_be_bytes()[0]);
                media[from..to].fill_with(|| if is_noise { noise.next().unwrap_or(0) } else { 0 });
            }
            let hypothesis = Reference::of(&movie_of(SOUND), Origin::Given).hypothesis();
            compared(&media, &hypothesis, chunk_bytes, count);
        }
    }
}
