//! What the media is, told from itself alone: of every combination of codecs that is known here, the one that explains
//! most of the beginning.

use std::io::{Read, Seek};
use std::ops::Range;

use super::aac::{self, ChannelElements};
use super::clock::flicks;
use super::describe::SoundFacts;
use super::element::{LOOK_BYTES, Sound, Video};
use super::nal::{self, CodecParameters, Standard};
use super::source::{MAX_WANTED_BYTES, Source};
use super::walk::{AudioTrack, Hypothesis, WalkResult, walk, walk_briefly};

/// How much of the media is tried with likely combination.
const TRIED_BYTES: u64 = 512 << 10;
/// How much of it is tried with all of them, to find the likely ones.
const FIRST_BYTES: u64 = 96 << 10;
/// How many are likely.
const MOST_LIKELY: usize = 6;
/// What the best combination explains at least, in a thousand bytes.
const LEAST_PERMILLE: u64 = 500;
/// One rate of each class that AAC frames can be told apart by; 48 and 44.1 kHz share all tables.
const AAC_RATES_HZ: [u32; 6] = [48_000, 32_000, 24_000, 16_000, 8_000, 96_000];
const FRAMED_RATES_HZ: [u32; 3] = [48_000, 44_100, 32_000];
const AAC_FRAME_SAMPLES: u64 = 1024;

/// A combination, and what its sound says of itself.
#[derive(Debug, Clone)]
pub struct ProbedSound {
    /// What the media is believed to be.
    pub hypothesis: Hypothesis,
    /// For its audio track, if it has one.
    pub sound: Option<SoundFacts>,
    /// Whether the media repeats the parameter sets of its pictures.
    pub has_parameters: bool,
}

/// The combination that explains most of the beginning; `None` if none explains half of it.
pub fn probe<R: Read + Seek>(source: &mut Source<R>, range: &Range<u64>) -> Option<ProbedSound> {
    if intra_standard(source.at(range.start, LOOK_BYTES)).is_some() {
        return None; // it is none of these
    }
    let has_av1 = begins_with_av1(source, range);
    let first = tried(source, range, FIRST_BYTES, combinations(has_av1));
    // A first picture may be longer than what is looked at first: then nothing of it is seen.
    let is_seen = first.first().is_some_and(|(explained, _)| *explained >= LEAST_PERMILLE);
    let likely = first.into_iter().map(|(_, probed)| probed).take(if is_seen { MOST_LIKELY } else { usize::MAX });
    let best = tried(source, range, TRIED_BYTES, likely.collect()).into_iter().next();
    best.filter(|(explained, _)| *explained >= LEAST_PERMILLE).map(|(_, probed)| probed)
}

/// Combinations with what each explains of the first bytes, the best first.
fn tried<R: Read + Seek>(
    source: &mut Source<R>,
    range: &Range<u64>,
    bytes: u64,
    combinations: Vec<ProbedSound>,
) -> Vec<(u64, ProbedSound)> {
    let tried = range.start..range.end.min(range.start + bytes);
    let mut all: Vec<(u64, ProbedSound)> = combinations
        .into_iter()
        .map(|probed| {
            let walked = walk_briefly(source, tried.clone(), &probed.hypothesis);
            let has_parameters = walked.parameters.as_ref().is_some_and(CodecParameters::is_usable);
            (explained(&walked, &probed.hypothesis), ProbedSound { has_parameters, ..probed })
        })
        .collect();
    all.sort_by_key(|(explained, _)| std::cmp::Reverse(*explained));
    all
}

/// Pictures that are samples of their own and show themselves, but not what stands beside them: how they are coded, and how
/// many there are.
pub fn intra<R: Read + Seek>(source: &mut Source<R>, range: &Range<u64>) -> Option<(Standard, u64)> {
    let bytes = source.at(range.start, MAX_WANTED_BYTES);
    let standard = (0..bytes.len()).find_map(|at| intra_standard(&bytes[at..]))?;
    let video = Some(Video { standard, length_bytes: 0 });
    let walked = walk(source, range.clone(), &Hypothesis { video, parameters: None, audio: Vec::new(), pace: None });
    (!walked.frames.is_empty()).then_some((standard, walked.frames.len() as u64))
}

/// Of which kind the picture is that the bytes begin with, if it is one that shows itself.
fn intra_standard(bytes: &[u8]) -> Option<Standard> {
    [Standard::ProRes, Standard::Jpeg].into_iter().find(|standard| nal::intra::begins(*standard, bytes))
}

/// Whether a sequence header of AV1, with what follows it in its sample, stands near the beginning.
fn begins_with_av1<R: Read + Seek>(source: &mut Source<R>, range: &Range<u64>) -> bool {
    let bytes = source.at(range.start, MAX_WANTED_BYTES);
    let unit = |at: usize| nal::av1::unit(bytes.get(at..)?).and_then(|(length, _)| usize::try_from(length).ok());
    let mut begins = (0..bytes.len()).filter(|at| bytes[*at] == nal::av1::SEQUENCE_HEADER_BYTE);
    begins.any(|at| unit(at).is_some_and(|length| unit(at + length).is_some()))
}

fn combinations(has_av1: bool) -> Vec<ProbedSound> {
    let av1 = has_av1.then_some(Some(Standard::Av1));
    let videos = [Some(Standard::Avc), Some(Standard::Hevc), None].into_iter().chain(av1);
    let with = |video| {
        let all = [None].into_iter().chain(sounds().into_iter().map(Some));
        all.filter_map(|sound| combined(video, sound)).collect::<Vec<_>>()
    };
    videos.flat_map(with).collect()
}

/// In a thousand; a track of which nothing is found must not be there.
fn explained(walked: &WalkResult, hypothesis: &Hypothesis) -> u64 {
    let is_idle = hypothesis.video.is_some() && walked.frames.is_empty() || walked.audio.iter().any(Vec::is_empty);
    let at_end = walked.gaps.last().filter(|gap| gap.range.end - gap.range.start < walked.total_bytes / 4);
    let excused = at_end.map_or(0, |gap| gap.range.end - gap.range.start);
    let unexplained = walked.unexplained_bytes() - excused;
    if is_idle { 0 } else { 1000 - (unexplained * 1000 / (walked.total_bytes - excused).max(1)).min(1000) }
}

fn combined(standard: Option<Standard>, sound: Option<(Sound, SoundFacts, u64)>) -> Option<ProbedSound> {
    let length_bytes = |standard| if standard == Standard::Av1 { 0 } else { 4 };
    let video = standard.map(|standard| Video { standard, length_bytes: length_bytes(standard) });
    let audio = sound.map(|(sound, facts, samples)| {
        let duration = flicks(samples, u64::from(facts.rate_hz));
        // An encoder's first frame only prepares the ones that are heard.
        AudioTrack { sound, start: if samples == AAC_FRAME_SAMPLES { -duration } else { 0 }, duration }
    });
    (video.is_some() || audio.is_some()).then(|| ProbedSound {
        hypothesis: Hypothesis { video, parameters: None, audio: audio.into_iter().collect(), pace: None },
        sound: sound.map(|(_, facts, _)| facts),
        has_parameters: false,
    })
}

fn sounds() -> Vec<(Sound, SoundFacts, u64)> {
    let mut all = Vec::new();
    for rate_hz in AAC_RATES_HZ {
        for channels in [2, 1, 6] {
            let config = aac::AacConfig::new(rate_hz, ChannelElements::of_channels(u32::from(channels)));
            let facts = SoundFacts { rate_hz, channels, object_type: 0x40 };
            all.extend(config.map(|config| (Sound::Aac(config), facts, AAC_FRAME_SAMPLES)));
        }
    }
    for rate_hz in FRAMED_RATES_HZ {
        let facts = |object_type| SoundFacts { rate_hz, channels: 2, object_type };
        all.push((Sound::MpegAudio { rate_hz }, facts(0x6B), 1152));
        all.push((Sound::Dolby { rate_hz }, facts(0xA5), 1536));
    }
    all
}
