//! What a sound recording of the same stream tells about a crashed one: how its tracks are coded and how its writer
//! keeps time. Small enough to be remembered for every stream.

use serde_json::{Value, json};

use super::aac::{self, ChannelElements};
use super::clock::{FLICKS, flicks};
use super::element::{Sound, Video};
use super::flac;
use super::nal::{CodecParameters, Standard};
use super::timeline::ExpectedTiming;
use super::walk::{AudioTrack, Hypothesis, VideoPace};
use crate::isobmff::headers::stsd::SampleEntry;
use crate::isobmff::{Movie, Track};
pub use crate::recording::ParameterSource as Origin;
use crate::recording::TrackKind;

/// Most samples by which presentation lags (H.264 §A.3.1, H.265 §A.4.1).
const MOST_LAG: u32 = 16;
/// Version of the remembered form.
const VERSION: u64 = 1;

/// A sound recording, without its samples.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reference {
    /// Where it came from.
    pub origin: Origin,
    /// Its tracks; none of a container whose tracks are not read here.
    pub tracks: Vec<ReferenceTrack>,
    /// What stands in front of the first packet, of a Matroska, WebM or FLV file.
    pub head: Option<Vec<u8>>,
}

/// A track of a sound recording.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReferenceTrack {
    /// The track, emptied.
    pub track: Track,
    /// How its writer keeps time.
    pub pace: FrameTiming,
}

/// How a writer keeps time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize)]
pub struct FrameTiming {
    /// The usual duration of a sample in ticks.
    pub duration: u32,
    /// Whether nearly all samples have it.
    pub is_constant: bool,
    /// Greatest common divisor of all durations in ticks.
    pub grid: u32,
    /// When the first sample was decoded, in flicks from the start of the presentation.
    pub start: i64,
    /// By how many samples presentation lags behind decoding.
    pub lag: i64,
}

impl Reference {
    /// What a movie tells.
    pub fn of(movie: &Movie, origin: Origin) -> Self {
        let is_media = |track: &&Track| matches!(track.kind(), TrackKind::Video | TrackKind::Audio);
        let known = |track: &Track| ReferenceTrack {
            track: track.emptied(),
            pace: FrameTiming::of(track, movie.header.timescale),
        };
        Self { origin, tracks: movie.tracks.iter().filter(is_media).map(known).collect(), head: None }
    }

    /// What the beginning of a file of another container tells.
    pub const fn of_head(head: Vec<u8>, origin: Origin) -> Self {
        Self { origin, tracks: Vec::new(), head: Some(head) }
    }

    /// The form in which it is remembered; `None` if it holds nothing worth it.
    pub fn to_json(&self) -> Option<Value> {
        if let Some(head) = &self.head {
            return Some(json!({ "version": VERSION, "head": hex::encode(head) }));
        }
        let mut movie = Movie::new(1000);
        movie.tracks = self.tracks.iter().map(|known| known.track.clone()).collect();
        let moov = movie.to_moov(0).ok().filter(|_| !self.tracks.is_empty())?;
        let paces: Vec<FrameTiming> = self.tracks.iter().map(|known| known.pace).collect();
        Some(json!({ "version": VERSION, "moov": hex::encode(&moov), "paces": paces }))
    }

    /// Reads the remembered form.
    pub fn from_json(value: &Value, origin: Origin) -> Option<Self> {
        if let Some(head) = value.get("head") {
            return Some(Self::of_head(hex::decode(head.as_str()?).ok()?, origin));
        }
        let moov = hex::decode(value.get("moov")?.as_str()?).ok()?;
        let paces: Vec<FrameTiming> = serde_json::from_value(value.get("paces")?.clone()).ok()?;
        let movie = Movie::from_moov(moov).ok().filter(|movie| movie.tracks.len() == paces.len())?;
        let tracks =
            movie.tracks.iter().zip(paces).map(|(track, pace)| ReferenceTrack { track: track.emptied(), pace });
        Some(Self { origin, tracks: tracks.collect(), head: None })
    }

    /// Height of its pictures in pixels.
    pub fn picture_height(&self) -> Option<u32> {
        let pictures = self.tracks.iter().find(|known| known.track.kind() == TrackKind::Video)?;
        pictures.track.entry()?.dimensions.map(|(_, height)| height.into())
    }

    /// The picture track.
    pub fn video(&self) -> Option<&ReferenceTrack> {
        self.tracks.iter().find(|known| known.video().is_some())
    }

    /// The audio tracks that can be walked.
    pub fn audio(&self) -> impl Iterator<Item = &ReferenceTrack> {
        self.tracks.iter().filter(|known| known.sound().is_some())
    }

    /// Tracks that cannot be found again in the media: of other codecs, pictures beside the first, and sound without lengths
    /// beside other sound or between pictures that do not stand out from it.
    pub fn opaque(&self) -> impl Iterator<Item = &ReferenceTrack> {
        let first = self.tracks.iter().position(|known| known.video().is_some());
        let is_weak = |video: Video| matches!(video.standard, Standard::Visual | Standard::Av1);
        let is_alone = self.audio().count() == 1 && !self.video().and_then(ReferenceTrack::video).is_some_and(is_weak);
        let is_read = move |(index, known): (usize, &ReferenceTrack)| {
            Some(index) == first || known.sound().is_some_and(|sound| is_alone || !sound.is_unframed())
        };
        self.tracks.iter().enumerate().filter(move |track| !is_read(*track)).map(|(_, known)| known)
    }

    /// What of it cannot be found again, in words.
    pub fn not_covered(&self) -> Option<String> {
        let known = self.opaque().next()?;
        let other = self.tracks.iter().find(|other| !std::ptr::eq(*other, known));
        // One that is read elsewhere is not read here because of another.
        let beside = other.filter(|_| known.video().is_some() || known.sound().is_some());
        Some(beside.map_or_else(|| known.codec(), |other| format!("{} beside {}", known.codec(), other.codec())))
    }

    /// Whether it is meant for the recording: the operator named it, or it is of the same stream.
    pub const fn is_own(&self) -> bool {
        matches!(self.origin, Origin::Given | Origin::Stream)
    }

    /// Whether media can show that it is not of this kind: any bytes are sound that is not coded.
    pub fn can_be_refuted(&self) -> bool {
        self.video().is_some() || self.audio().any(|known| known.sound().is_some_and(|sound| !sound.is_unframed()))
    }

    /// What a file of the same stream is believed to hold.
    pub fn hypothesis(&self) -> Hypothesis {
        let video = self.video();
        Hypothesis {
            video: video.and_then(ReferenceTrack::video),
            parameters: video.and_then(ReferenceTrack::parameters),
            audio: self.audio().filter_map(ReferenceTrack::audio).collect(),
            pace: video.and_then(ReferenceTrack::video_pace),
        }
    }

    /// The timing of the pictures.
    pub fn expected(&self) -> ExpectedTiming {
        let Some(known) = self.video() else { return ExpectedTiming::default() };
        let timescale = u64::from(known.track.timescale());
        let ticks = |ticks: u32| flicks(u64::from(ticks), timescale);
        ExpectedTiming {
            durations: vec![ticks(known.pace.duration)],
            start: Some(known.pace.start),
            lag: Some(known.pace.lag),
            grid: (!known.pace.is_constant && known.pace.grid > 0)
                .then(|| ticks(known.pace.grid))
                .filter(|g| *g > FLICKS / 500),
        }
    }
}

impl FrameTiming {
    fn of(track: &Track, movie_timescale: u32) -> Self {
        let runs = track.tables.durations.as_slice();
        let mut sums: std::collections::BTreeMap<u32, u64> = std::collections::BTreeMap::new();
        for run in runs {
            *sums.entry(run.value).or_default() += u64::from(run.count);
        }
        let (duration, usual) = sums.iter().max_by_key(|(_, count)| **count).map_or((0, 0), |(d, n)| (*d, *n));
        let total: u64 = sums.values().sum();
        // The last sample's duration is often made up.
        let body = runs.split_last().map_or(runs, |(_, body)| if body.is_empty() { runs } else { body });
        let grid = body.iter().map(|run| run.value).fold(0, greatest_common_divisor);
        let shift = i128::from(track.presentation_shift(movie_timescale));
        let start = shift * i128::from(FLICKS) / i128::from(track.timescale().max(1));
        let first = track.samples().next().map_or(0, |sample| sample.pts);
        // Presentation begins when so many have been decoded, whatever their distances.
        let lag = (0..MOST_LAG).zip(track.samples()).take_while(|(_, sample)| sample.dts < first).count();
        Self {
            duration,
            is_constant: usual * 100 + 100 >= total * 98,
            grid,
            start: i64::try_from(start).unwrap_or(0),
            lag: i64::try_from(lag).unwrap_or(0),
        }
    }
}

const fn greatest_common_divisor(a: u32, b: u32) -> u32 {
    if b == 0 { a } else { greatest_common_divisor(b, a % b) }
}

impl ReferenceTrack {
    /// The codec's name, as FFmpeg says it.
    pub fn codec(&self) -> String {
        let codec = self.track.codec();
        if self.track.descriptions.is_encrypted() { format!("encrypted {codec}") } else { codec }
    }

    /// How its pictures are stored, if that is known here.
    pub fn video(&self) -> Option<Video> {
        let entry = self.entry()?;
        let standard = match self.track.codec().as_str() {
            "h264" => Standard::Avc,
            "hevc" => Standard::Hevc,
            "mpeg4" => Standard::Visual,
            "av1" => Standard::Av1,
            "mjpeg" if entry.original.0 != *b"mjpa" => Standard::Jpeg,
            "prores" => Standard::ProRes,
            _ => return None,
        };
        if !matches!(standard, Standard::Avc | Standard::Hevc) {
            return Some(Video { standard, length_bytes: 0 });
        }
        Some(Video { standard, length_bytes: usize::from(entry.nal_length_bytes?) })
    }

    /// The parameter sets of its sample description.
    pub fn parameters(&self) -> Option<CodecParameters> {
        let raw = self.track.descriptions.raw();
        let standard = self.video()?.standard;
        let mut parameters = CodecParameters::empty(standard);
        let units = match &mut parameters {
            CodecParameters::Visual(_) => vec![raw],
            // The OBUs behind four bytes of what they say (AV1-ISOBMFF §2.3).
            CodecParameters::Av1(_) => {
                configuration(raw, *b"av1C").and_then(|body| body.get(4..)).into_iter().collect()
            }
            CodecParameters::Avc(_) | CodecParameters::Hevc(_) => units(raw, standard).unwrap_or_default(),
            CodecParameters::Intra(intra) => {
                intra.size = self.entry()?.dimensions;
                Vec::new()
            }
        };
        for unit in units {
            parameters.take(unit);
        }
        parameters.is_usable().then_some(parameters)
    }

    fn video_pace(&self) -> Option<VideoPace> {
        let distance = flicks(u64::from(self.pace.duration), u64::from(self.track.timescale()));
        (self.pace.is_constant && distance > 0).then_some(VideoPace { start: self.pace.start, distance })
    }

    /// How its samples are coded, if they can be read as they lie there.
    fn entry(&self) -> Option<&SampleEntry> {
        self.track.entry().filter(|_| !self.track.descriptions.is_encrypted())
    }

    fn sound(&self) -> Option<Sound> {
        let entry = self.entry()?;
        let rate_hz = entry.sample_rate_hz?;
        match self.track.codec().as_str() {
            "aac" => {
                let configuration = entry.channels.map(|channels| if channels == 8 { 7 } else { channels });
                Some(Sound::Aac(aac::AacConfig::new(rate_hz, configuration.and_then(ChannelElements::of_channels))?))
            }
            "mp3" => Some(Sound::MpegAudio { rate_hz }),
            "ac3" | "eac3" => Some(Sound::Dolby { rate_hz }),
            "opus" => Some(Sound::Opus),
            "flac" => flac::FlacConfig::of_description(self.track.descriptions.raw()).map(Sound::Flac),
            _ => self.block_bytes().map(|block_bytes| Sound::Pcm { block_bytes }),
        }
    }

    /// Bytes of one sample of all channels, of sound that is not coded (QuickTime File Format, "Sound Sample
    /// Descriptions"; ISO/IEC 23003-5).
    fn block_bytes(&self) -> Option<u32> {
        let entry = self.track.entry()?;
        let raw = self.track.descriptions.raw();
        let bytes = match &entry.original.0 {
            b"sowt" | b"twos" if sample_bits(raw) == Some(8) => 1,
            b"sowt" | b"twos" => 2,
            b"in24" => 3,
            b"in32" | b"fl32" => 4,
            b"fl64" => 8,
            b"ulaw" | b"alaw" | b"raw " => 1,
            b"lpcm" => constant_bits(raw)?.div_ceil(8),
            b"ipcm" | b"fpcm" => u32::from(configured_bits(raw)?.div_ceil(8)),
            _ => return None,
        };
        entry.channels?.checked_mul(bytes).filter(|bytes| (1..=4096).contains(bytes))
    }

    fn audio(&self) -> Option<AudioTrack> {
        let duration = flicks(u64::from(self.pace.duration), u64::from(self.track.timescale()));
        Some(AudioTrack { sound: self.sound()?, start: self.pace.start, duration }).filter(|t| t.duration > 0)
    }
}

/// A box of a sample description by its name: `avcC`, `hvcC`, `dOps`.
pub fn configuration(stsd: &[u8], name: [u8; 4]) -> Option<&[u8]> {
    let at = stsd.windows(4).position(|window| window == name)?;
    let size = stsd.get(at.checked_sub(4)?..at)?.try_into().map(u32::from_be_bytes).ok()?;
    stsd.get(at + 4..(at - 4).checked_add(size as usize)?)
}

/// The parameter sets in an `avcC` or `hvcC` (ISO/IEC 14496-15 §5.3.3.1, §8.3.3.1) of a sample description.
fn units(stsd: &[u8], standard: Standard) -> Option<Vec<&[u8]>> {
    let name = match standard {
        Standard::Avc => b"avcC",
        Standard::Hevc => b"hvcC",
        Standard::Visual | Standard::Av1 | Standard::Jpeg | Standard::ProRes => return None,
    };
    let body = configuration(stsd, *name)?;
    let mut found = Vec::new();
    let mut rest = body.get(if standard == Standard::Avc { 5 } else { 22 }..)?;
    let arrays = if standard == Standard::Avc { 2 } else { take(&mut rest, 1)?[0] };
    for _ in 0..arrays {
        let count = match standard {
            Standard::Avc => usize::from(take(&mut rest, 1)?[0] & 0x1F),
            _ => take(&mut rest, 3).map(|h| usize::from(h[1]) << 8 | usize::from(h[2]))?,
        };
        for _ in 0..count {
            let length = take(&mut rest, 2).map(|l| usize::from(l[0]) << 8 | usize::from(l[1]))?;
            found.push(take(&mut rest, length)?);
        }
    }
    Some(found)
}

/// The field `SampleSize` of the first sound description in a `stsd`.
fn sample_bits(stsd: &[u8]) -> Option<u16> {
    stsd.get(42..44)?.try_into().map(u16::from_be_bytes).ok()
}

/// `constBitsPerChannel` of the first sound description in a `stsd`, which has version 2.
fn constant_bits(stsd: &[u8]) -> Option<u32> {
    stsd.get(72..76)?.try_into().map(u32::from_be_bytes).ok().filter(|bits| (1..=64).contains(bits))
}

/// `PCM_sample_size` of a `pcmC` box in a `stsd` (ISO/IEC 23003-5 §5.4).
fn configured_bits(stsd: &[u8]) -> Option<u8> {
    let at = stsd.windows(4).position(|window| window == b"pcmC")?;
    stsd.get(at + 9).copied().filter(|bits| (1..=64).contains(bits))
}

fn take<'a>(rest: &mut &'a [u8], count: usize) -> Option<&'a [u8]> {
    let (taken, left) = rest.split_at_checked(count)?;
    *rest = left;
    Some(taken)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_remembered_comes_back() {
        let bytes = include_bytes!("../../tests/fixtures/sample_MP4_480.mp4");
        let mut reader = std::io::Cursor::new(&bytes[..]);
        let layout = crate::isobmff::top_level(&mut reader, bytes.len() as u64).unwrap();
        let movie = Movie::read(&mut reader, &layout).unwrap();
        let reference = Reference::of(&movie, Origin::Stream);
        assert!(reference.video().unwrap().parameters().is_some());
        assert_eq!(reference.hypothesis().audio.len(), 1);
        let json = reference.to_json().unwrap();
        assert!(json.to_string().len() < 8000, "{} bytes", json.to_string().len());
        let again = Reference::from_json(&json, Origin::Stream).unwrap();
        assert_eq!(again.hypothesis().audio, reference.hypothesis().audio);
        assert_eq!(again.expected(), reference.expected());
        assert_eq!(Reference::from_json(&json!({ "moov": "0" }), Origin::Stream), None);
    }
}
