//! The sample table of one track, packet by packet; times in milliseconds become ticks.

use crate::isobmff::{IsoError, NewSample, PresentationStart, TableBuilder, Track};
use crate::media::FlvPacket;
use crate::recording::{Defect, TrackKind};

use super::configuration::FRAME_SAMPLES;

/// A step further on than that, or so far back, is another clock or a time that was hit: only a remux tells which.
const MOST_STEP_MS: i64 = 24 * 3600 * 1000;
const MOST_BACK_MS: i64 = 1000;
/// No picture is shown so long after it is decoded.
const MOST_REORDERING_MS: i64 = 60_000;

/// A track and what is in it so far.
pub(super) struct TrackRows {
    track: Track,
    configuration: Vec<u8>,
    builder: TableBuilder,
    /// The newest packet; how long it lasts is known with the next.
    newest: Option<FlvPacket>,
    first: Option<FlvPacket>,
    /// Packets that did not come after the one before, and by how much the worst of them was moved, milliseconds.
    repaired: (u64, i64),
    /// The last two steps from packet to packet, ticks.
    steps: [i64; 2],
    /// By how many milliseconds pictures must be decoded earlier than their tags say, so that none is presented later.
    lead_ms: i64,
}

impl TrackRows {
    pub(super) fn new(track: Track, configuration: &[u8]) -> Self {
        Self {
            track,
            configuration: configuration.to_vec(),
            builder: TableBuilder::default(),
            newest: None,
            first: None,
            repaired: (0, 0),
            steps: [i64::MAX; 2],
            lead_ms: 0,
        }
    }

    pub(super) const fn track(&self) -> &Track {
        &self.track
    }

    /// Whether a configuration is the one that the track has.
    pub(super) fn is_configured_so(&self, configuration: &[u8]) -> bool {
        self.configuration == configuration
    }

    pub(super) const fn first(&self) -> Option<&FlvPacket> {
        self.first.as_ref()
    }

    /// Packets so far.
    pub(super) fn count(&self) -> u64 {
        self.builder.count() + u64::from(self.newest.is_some())
    }

    /// What was repaired, as a defect of the track of that number.
    pub(super) fn repairs(&self, track: u32) -> Option<Defect> {
        let (packets, worst_ms) = self.repaired;
        (packets > 0).then_some(Defect::TimestampsRepaired { track, packets, worst_ms })
    }

    /// Takes the next packet; `false` where its time is not one that tables can say.
    pub(super) fn push(&mut self, packet: FlvPacket) -> Result<bool, IsoError> {
        if !(0..=MOST_REORDERING_MS).contains(&packet.composition_ms) {
            return Ok(false);
        }
        let Some(before) = self.newest else {
            (self.first, self.newest) = (Some(packet), Some(packet));
            return Ok(packet.is_key);
        };
        if !(-MOST_BACK_MS..=MOST_STEP_MS).contains(&(packet.dts_ms - before.dts_ms)) {
            return Ok(false);
        }
        let packet = self.after(&before, packet);
        self.newest = Some(packet);
        let ticks = self.decoded_at(&packet) - self.decoded_at(&before);
        self.steps = [self.steps[1], ticks];
        self.write(&before, ticks)
    }

    /// The packet at its time, or where that is not after the one before, moved by the least that makes it so. A picture is
    /// presented when its tag says.
    fn after(&mut self, before: &FlvPacket, packet: FlvPacket) -> FlvPacket {
        let dts_ms = packet.dts_ms.max(before.dts_ms + 1);
        let moved_ms = dts_ms - packet.dts_ms;
        if moved_ms > 0 {
            self.repaired = (self.repaired.0 + 1, self.repaired.1.max(moved_ms));
        }
        let composition_ms = packet.composition_ms - moved_ms;
        if self.track.kind() == TrackKind::Audio {
            return FlvPacket { dts_ms, composition_ms: composition_ms.max(0), ..packet };
        }
        self.lead_ms = self.lead_ms.max(-composition_ms);
        FlvPacket { dts_ms, composition_ms, ..packet }
    }

    /// The track with its samples, its presentation such that `zero_ms` of the file's clock is its beginning. `None` for one
    /// without packets.
    pub(super) fn finish(mut self, zero_ms: i64, movie_timescale: u32) -> Result<Option<Track>, IsoError> {
        let (Some(first), Some(last)) = (self.first, self.newest) else { return Ok(None) };
        let last_ticks =
            if self.track.kind() == TrackKind::Audio { i64::from(FRAME_SAMPLES) } else { self.usual_step() };
        self.write(&last, last_ticks)?;
        let start = self.ticks(first.dts_ms - self.lead_ms - zero_ms);
        self.builder.decode_earlier(i32::try_from(self.ticks(self.lead_ms)).unwrap_or(0));
        self.track.tables = self.builder.finish();
        self.track.edits = PresentationStart::of(start, self.track.earliest_composition())
            .edits(self.track.timescale(), movie_timescale);
        Ok(Some(self.track))
    }

    /// How long the last picture lasts: as long as the one before it, or where that lasted through a pause, as the one
    /// before that; a second at most.
    fn usual_step(&self) -> i64 {
        self.steps[0].min(self.steps[1]).min(i64::from(self.track.timescale()))
    }

    /// Writes a packet that lasts so many ticks; `false` where 32 bits do not hold that.
    fn write(&mut self, packet: &FlvPacket, duration: i64) -> Result<bool, IsoError> {
        let Ok(duration) = u32::try_from(duration) else { return Ok(false) };
        self.builder.push(NewSample {
            offset: packet.offset,
            size_bytes: packet.size_bytes,
            duration,
            composition: i32::try_from(self.ticks(packet.composition_ms)).unwrap_or(i32::MAX),
            is_sync: packet.is_key,
            description_index: 1,
            dependency: 0,
        })?;
        Ok(true)
    }

    /// Ticks from the first packet of the track.
    fn decoded_at(&self, packet: &FlvPacket) -> i64 {
        self.ticks(packet.dts_ms - self.first.map_or(0, |first| first.dts_ms))
    }

    /// Ticks of the track, rounded to nearest.
    fn ticks(&self, ms: i64) -> i64 {
        (ms * i64::from(self.track.timescale()) + 500).div_euclid(1000)
    }
}
