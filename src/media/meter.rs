//! What one track holds, counted packet by packet.
//!
//! Times are in ticks of the track until the reading is closed; then they become milliseconds. A packet without a
//! duration counts with the distance to the one before it.

use sha2::{Digest as _, Sha256};

use super::ffi::TimeBase;
use super::ffi::source::StreamFacts;
use super::payload::Framing;
use super::presented::PresentationTimes;
use super::slab::ChunkedDigest;
use crate::recording::{ID_SAMPLES, TrackKind, TrackSummary};

/// A pause between two packets of a sound or picture track that is worth naming.
pub(super) const GAP_MS: i64 = 2000;

/// One packet as the counters see it.
#[derive(Debug, Clone, Copy)]
pub(super) struct PacketFacts {
    pub(super) pts: Option<i64>,
    pub(super) dts: Option<i64>,
    /// When it is presented: `pts`, or of a packet that is written, when the source presents it.
    pub(super) presented: Option<i64>,
    pub(super) duration: i64,
    pub(super) is_key: bool,
    pub(super) is_corrupt: bool,
}

/// One track after a full pass.
#[derive(Debug, Clone, PartialEq)]
pub struct TrackReading {
    /// Track number in its file, starting at 1.
    pub number: u32,
    /// What it carries.
    pub kind: TrackKind,
    /// Codec by FFmpeg's name.
    pub codec: String,
    /// Packets.
    pub packets: u64,
    /// Payload bytes.
    pub bytes: u64,
    /// Smallest presentation time, milliseconds of the file's own timeline.
    pub first_pts_ms: i64,
    /// Largest presentation time, milliseconds of the file's own timeline.
    pub last_pts_ms: i64,
    /// First decoding time, milliseconds.
    pub first_dts_ms: i64,
    /// Last decoding time, milliseconds.
    pub last_dts_ms: i64,
    /// Largest pts + duration minus smallest pts, milliseconds.
    pub duration_ms: i64,
    /// First presentation time after the earliest of all tracks, milliseconds.
    pub start_ms: i64,
    /// Keyframes.
    pub keyframes: u64,
    /// Longest distance between two keyframes of a picture track, milliseconds.
    pub keyframe_interval_ms: Option<i64>,
    /// Packets the demuxer called corrupt.
    pub corrupt: u64,
    /// Packets whose decoding time is not after the one before.
    pub non_monotonic: u64,
    /// Where pauses longer than two seconds begin, and their length, milliseconds.
    pub gaps: Vec<(i64, i64)>,
    /// BLAKE3 over the payloads, made independent of the wrapping.
    pub digest: [u8; 32],
    /// SHA-256 over the first [`ID_SAMPLES`] payloads as they lie in this file, one after the other.
    pub id_digest: [u8; 32],
    /// Whether packets may be joined by a muxer, so that their number is not compared.
    pub joins_packets: bool,
    /// How many packets the container's own tables promise.
    pub declared_packets: Option<u64>,
    /// Picture width in pixels.
    pub width: Option<u32>,
    /// Picture height in pixels.
    pub height: Option<u32>,
    /// Mean frames per second, as read.
    pub frame_rate: Option<f64>,
    /// Samples per second.
    pub sample_rate_hz: Option<u32>,
    /// Channels.
    pub channels: Option<u32>,
    /// Language tag.
    pub language: Option<String>,
    /// Whether it is a cover: one picture that belongs to the whole recording.
    pub is_cover: bool,
    /// When its packets are presented; of a track that was written, when the source presents them.
    pub presented: PresentationTimes,
}

impl TrackReading {
    /// The track as the catalogue keeps it.
    pub fn summary(&self) -> TrackSummary {
        TrackSummary {
            kind: self.kind,
            codec: self.codec.clone(),
            packets: self.packets,
            bytes: self.bytes,
            duration_ms: self.duration_ms,
            start_ms: self.start_ms,
            width: self.width,
            height: self.height,
            frame_rate: self.frame_rate,
            keyframe_interval_ms: self.keyframe_interval_ms,
            sample_rate_hz: self.sample_rate_hz,
            channels: self.channels,
            language: self.language.clone(),
            digest: Some(blake3::Hash::from(self.digest).to_hex().to_string()),
        }
    }
}

/// Gives every track its start after the earliest one.
pub(super) fn align(tracks: &mut [TrackReading]) {
    let is_timed = |t: &TrackReading| t.packets > 0 && !t.is_cover;
    let start_ms = tracks.iter().filter(|t| is_timed(t)).map(|t| t.first_pts_ms).min().unwrap_or(0);
    for track in tracks.iter_mut().filter(|t| is_timed(t)) {
        track.start_ms = track.first_pts_ms - start_ms;
    }
}

/// Smallest and largest of what was seen.
#[derive(Debug, Clone, Copy, Default)]
struct TimestampRange(Option<(i64, i64)>);

impl TimestampRange {
    fn include(&mut self, value: i64) {
        let (low, high) = self.0.unwrap_or((value, value));
        self.0 = Some((low.min(value), high.max(value)));
    }
}

/// Counts the packets of one track and digests their payloads.
#[derive(Debug, Clone)]
pub(super) struct TrackMeter {
    framing: Framing,
    time_base: TimeBase,
    digest: ChunkedDigest,
    id: Sha256,
    packets: u64,
    bytes: u64,
    pts: TimestampRange,
    end: Option<i64>,
    dts: Option<(i64, i64)>,
    step: i64,
    keyframes: u64,
    last_key: Option<i64>,
    key_interval: Option<i64>,
    corrupt: u64,
    non_monotonic: u64,
    gaps: Vec<(i64, i64)>,
    watches_gaps: bool,
    presented: PresentationTimes,
}

impl TrackMeter {
    pub(super) fn new(facts: &StreamFacts, time_base: TimeBase) -> Self {
        Self::with_framing(facts, Framing::of(&facts.codec, &facts.extradata), time_base)
    }

    /// A meter of payloads whose wrapping is known.
    pub(super) fn with_framing(facts: &StreamFacts, framing: Framing, time_base: TimeBase) -> Self {
        Self {
            framing,
            time_base,
            digest: ChunkedDigest::new(),
            id: Sha256::new(),
            packets: 0,
            bytes: 0,
            pts: TimestampRange::default(),
            end: None,
            dts: None,
            step: 0,
            keyframes: 0,
            last_key: None,
            key_interval: None,
            corrupt: 0,
            non_monotonic: 0,
            gaps: Vec::new(),
            watches_gaps: matches!(facts.kind, TrackKind::Video | TrackKind::Audio) && !facts.is_picture,
            presented: PresentationTimes::new(time_base),
        }
    }

    pub(super) fn framing(&self) -> Framing {
        self.framing
    }

    pub(super) fn packets(&self) -> u64 {
        self.packets
    }

    /// Counts a packet and digests its payload.
    pub(super) fn take(&mut self, facts: &PacketFacts, payload: &[u8]) {
        self.count(facts, payload);
        self.framing.feed(payload, &mut self.digest);
    }

    /// Counts a packet whose payload goes into another meter's digest.
    pub(super) fn count(&mut self, facts: &PacketFacts, payload: &[u8]) {
        if self.packets < ID_SAMPLES as u64 {
            self.id.update(payload);
        }
        self.packets += 1;
        self.bytes += payload.len() as u64;
        self.corrupt += u64::from(facts.is_corrupt);
        self.note_dts(facts);
        self.note_pts(facts);
        self.presented.push(facts.presented);
    }

    /// Digests a payload that was counted with [`Self::count`].
    pub(super) fn feed(&mut self, payload: &[u8]) {
        self.framing.feed(payload, &mut self.digest);
    }

    /// Goes on from the digest of another meter that has seen the same payloads so far.
    pub(super) fn fork_digest(&mut self, from: &Self) {
        self.digest = from.digest.clone();
    }

    fn note_dts(&mut self, facts: &PacketFacts) {
        let Some(dts) = facts.dts else { return };
        let (first, last) = self.dts.unwrap_or((dts, dts));
        if self.dts.is_some() {
            let step = dts - last;
            self.non_monotonic += u64::from(step <= 0);
            let pause_ms = self.time_base.to_ms(step);
            if self.watches_gaps && pause_ms > GAP_MS {
                self.gaps.push((self.time_base.to_ms(last), pause_ms));
            } else if step > 0 {
                self.step = step;
            }
        }
        self.dts = Some((first, dts));
    }

    fn note_pts(&mut self, facts: &PacketFacts) {
        let Some(pts) = facts.pts.or(facts.dts) else { return };
        let duration = if facts.duration > 0 { facts.duration } else { self.step };
        self.pts.include(pts);
        self.end = Some(self.end.unwrap_or(i64::MIN).max(pts.saturating_add(duration)));
        if facts.is_key {
            self.keyframes += 1;
            let distance = self.last_key.map(|last| pts - last);
            self.key_interval = self.key_interval.max(distance);
            self.last_key = Some(pts);
        }
    }

    /// Closes the count. `facts` are the track's at the end of the pass.
    pub(super) fn close(&self, facts: &StreamFacts) -> TrackReading {
        let ms = |ticks: i64| self.time_base.to_ms(ticks);
        let (earliest, latest) = self.pts.0.unwrap_or((0, 0));
        let (first, last) = self.dts.unwrap_or((0, 0));
        let duration_ms = self.end.map_or(0, |end| ms(end.saturating_sub(earliest)));
        let is_video = facts.kind == TrackKind::Video;
        TrackReading {
            number: facts.number(),
            kind: facts.kind,
            codec: facts.codec.clone(),
            packets: self.packets,
            bytes: self.bytes,
            first_pts_ms: ms(earliest),
            last_pts_ms: ms(latest),
            first_dts_ms: ms(first),
            last_dts_ms: ms(last),
            duration_ms,
            start_ms: 0,
            keyframes: self.keyframes,
            keyframe_interval_ms: self.key_interval.filter(|_| is_video).map(ms),
            corrupt: self.corrupt,
            non_monotonic: self.non_monotonic,
            gaps: self.gaps.clone(),
            digest: self.digest.digest(),
            id_digest: self.id.clone().finalize().into(),
            joins_packets: self.framing.joins_packets(),
            declared_packets: facts.declared_packets,
            width: facts.width,
            height: facts.height,
            frame_rate: self.frame_rate(facts, duration_ms),
            sample_rate_hz: facts.sample_rate_hz,
            channels: facts.channels,
            language: facts.language.clone(),
            is_cover: facts.is_picture,
            presented: self.presented.clone(),
        }
    }

    #[expect(clippy::cast_precision_loss, reason = "a rate for people; counts and milliseconds are far below 2^52")]
    fn frame_rate(&self, facts: &StreamFacts, duration_ms: i64) -> Option<f64> {
        if facts.kind != TrackKind::Video || self.packets < 2 || duration_ms <= 0 {
            return facts.frame_rate.filter(|_| facts.kind == TrackKind::Video);
        }
        let measured = self.packets as f64 * 1000.0 / duration_ms as f64;
        Some((measured * 1000.0).round() / 1000.0)
    }
}
