//! One track on its way through a remux.

use super::jump::{ReleasedPacket, TimestampJump};
use super::passed_over::TrackEntry;
use super::reorder::{OrderedPicture, ReorderBuffer, WAIT_MS};
use crate::media::TrackReading;
use crate::media::ffi::source::StreamFacts;
use crate::media::ffi::{Packet, TimeBase};
use crate::media::flv::is_metadata;
use crate::media::frame::FrameHeader;
use crate::media::meter::TrackMeter;
use crate::media::reading::{facts_of, gap_defects};
use crate::media::timeline::{PacketTime, SharedTimeline, TrackClock};
use crate::recording::name::printable;
use crate::recording::{Container, Defect, TrackKind};
use std::path::Path;

/// Where the packets of a track go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum TrackRoute {
    /// Into the output, as its track of that index.
    Output(usize),
    /// Into the header of the output: attached files, and covers of a container that keeps them as such.
    Attached,
    /// Nowhere.
    LeftOut(ExclusionReason),
    /// Nowhere yet: sound or pictures whose parameters are not known. A packet here ends the attempt.
    Unknown,
}

/// Why a track is left out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ExclusionReason {
    /// The container has no place for it.
    NotCarried,
    /// Its codec or the parameters of it are not known.
    NotRead,
    /// It began when no more tracks could be made.
    TooLate,
}

/// A packet with its place on the timeline, and how long it lasts, ticks of its track.
pub(super) struct PlacedPacket {
    pub(super) packet: Packet,
    pub(super) stamp: PacketTime,
    pub(super) duration: i64,
}

/// No codec reorders more pictures than this (ITU-T H.264 §E.2.1 allows 16).
const UNDATED_PACKETS: usize = 32;

pub(super) struct RemuxTrack {
    pub(super) facts: StreamFacts,
    pub(super) route: TrackRoute,
    /// What each of its frames must begin with.
    frame_header: FrameHeader,
    pub(super) source: TrackMeter,
    pub(super) written: TrackMeter,
    /// Set when the timeline starts.
    pub(super) clock: Option<TrackClock>,
    /// The newest packet, where it may turn out to be a cut last one.
    pub(super) held: Option<Packet>,
    /// Packets at the beginning whose decoding time is not known yet (Matroska stores none).
    undated: Vec<Packet>,
    /// Sound that waits until it is known how long it lasts.
    waiting: Option<PlacedPacket>,
    /// The packet that can be written now, of a track whose packets are not reordered.
    placed: Option<PlacedPacket>,
    /// What waits because its time jumped.
    jump: TimestampJump<Packet>,
    /// Pictures that wait until it is known when they must be decoded.
    reorder: Option<ReorderBuffer<Packet>>,
    /// Whether the container keeps only presentation times of pictures that may be decoded in another order. FFmpeg's decoding
    /// times do not outlive a clock that starts again.
    is_presented: bool,
    /// Whether the file's end cuts this track's last unit.
    pub(super) is_cut: bool,
    leading_dropped: u64,
    corrupt_dropped: u64,
    corrupt_kept: u64,
    last_out_dts: Option<i64>,
    reconfigured_at_ms: Option<i64>,
    /// What its first packet said of how it is coded, where packets do.
    configuration: Option<[u8; 32]>,
    /// Packets that are metadata of an FLV file which comes again: libavformat makes a track of them.
    metadata: Option<u64>,
    /// The source's digest is the written one's as long as nothing was left out.
    is_forked: bool,
}

impl RemuxTrack {
    pub(super) fn new(facts: StreamFacts, route: TrackRoute, (from, to): (Container, Container), is_cut: bool) -> Self {
        let source = TrackMeter::new(&facts, facts.time_base);
        let is_video = facts.kind == TrackKind::Video && !facts.is_picture;
        let may_be_reordered = facts.delay > 0 || matches!(facts.codec.as_str(), "h264" | "hevc");
        let wait = TimeBase::MILLISECONDS.rescale(WAIT_MS, facts.time_base);
        Self {
            route,
            frame_header: FrameHeader::of(&facts.codec, &facts.extradata, to),
            written: source.clone(),
            source,
            clock: None,
            held: None,
            undated: Vec::new(),
            waiting: None,
            placed: None,
            jump: TimestampJump::default(),
            reorder: is_video.then(|| ReorderBuffer::new(facts.delay, wait)),
            is_presented: is_video && may_be_reordered && matches!(from, Container::Matroska | Container::Webm),
            is_cut,
            leading_dropped: 0,
            corrupt_dropped: 0,
            corrupt_kept: 0,
            last_out_dts: None,
            reconfigured_at_ms: None,
            configuration: None,
            metadata: (from == Container::Flv && matches!(facts.kind, TrackKind::Subtitle | TrackKind::Data))
                .then_some(0),
            is_forked: false,
            facts,
        }
    }

    /// Whether it is in the output.
    pub(super) const fn is_output(&self) -> bool {
        matches!(self.route, TrackRoute::Output(_))
    }

    pub(super) fn is_main_media(&self) -> bool {
        matches!(self.facts.kind, TrackKind::Video | TrackKind::Audio) && !self.facts.is_picture
    }

    /// Whether the muxer takes a packet for a frame.
    pub(super) fn is_frame(&self, packet: &Packet) -> bool {
        self.frame_header.begins(packet.data().unwrap_or_default())
    }

    /// Counts a packet of the source that has just been read.
    pub(super) fn count(&mut self, packet: &Packet, payload: &[u8]) {
        self.source.count(&facts_of(packet), payload);
        self.metadata = self.metadata.map(|count| count + u64::from(is_metadata(payload)));
    }

    /// Notes that a packet of the source does not come into the output.
    pub(super) fn leave_out(&mut self, packet: &Packet) {
        if !self.is_forked {
            self.is_forked = true;
            self.source.fork_digest(&self.written);
        }
        self.source.feed(packet.data().unwrap_or_default());
    }

    pub(super) fn drop_leading(&mut self, packet: &Packet) {
        self.leave_out(packet);
        self.leading_dropped += 1;
    }

    pub(super) fn drop_corrupt(&mut self, packet: &Packet) {
        self.leave_out(packet);
        self.corrupt_dropped += 1;
    }

    /// The decoding time that the track goes by: of a container that keeps none, when a packet is presented.
    pub(super) fn told(&self, mut packet: Packet) -> Packet {
        if let Some(pts) = packet.pts().filter(|_| self.is_presented) {
            packet.set_dts(Some(pts));
        }
        packet
    }

    /// Places a packet on the timeline that begins at `zero_us`.
    pub(super) fn place(&mut self, packet: Packet, zero_us: i64, common: &mut SharedTimeline) {
        if self.facts.is_picture {
            let (stamp, duration) = (PacketTime { pts: 0, dts: 0, said: 0 }, 0);
            self.placed = Some(PlacedPacket { packet, stamp, duration });
            return;
        }
        let (time_base, is_steady) = (self.facts.time_base, self.is_main_media());
        let make = if self.reorder.is_some() { TrackClock::of_pictures } else { TrackClock::new };
        let clock = self.clock.get_or_insert_with(|| make(time_base, zero_us, is_steady));
        let duration = packet.duration();
        match (&mut self.reorder, packet.pts().filter(|_| self.is_presented)) {
            (Some(reorder), Some(pts)) => {
                let pts = clock.present(pts, duration, common);
                reorder.push_presented(packet, pts, duration);
            }
            (Some(reorder), None) => {
                let stamp = clock.place(packet.pts(), packet.dts(), duration, common);
                reorder.push(packet, stamp, duration);
            }
            (None, _) => {
                let stamp = clock.place(packet.pts(), packet.dts(), duration, common);
                let placed = PlacedPacket { packet, stamp, duration };
                self.placed = if is_steady { self.lasting(placed) } else { Some(placed) };
            }
        }
    }

    /// The packet before this one, which lasts until this one. A muxer that ends a fragment with it places the next packet where
    /// it ends, wherever that is due.
    fn lasting(&mut self, next: PlacedPacket) -> Option<PlacedPacket> {
        let until = next.stamp.dts;
        let before = self.waiting.replace(next)?;
        Some(PlacedPacket { duration: until - before.stamp.dts, ..before })
    }

    /// The next packet that can be written, and its time.
    pub(super) fn next_placed(&mut self) -> Option<PlacedPacket> {
        self.placed.take().or_else(|| {
            let ordered = self.reorder.as_mut()?.next()?;
            Some(self.noted(ordered))
        })
    }

    /// The next packet that is still held back at the end, and its time.
    pub(super) fn next_left(&mut self) -> Option<PlacedPacket> {
        if let Some(last) = self.waiting.take() {
            return Some(last);
        }
        let ordered = self.reorder.as_mut()?.rest()?;
        Some(self.noted(ordered))
    }

    fn noted(&mut self, ordered: OrderedPicture<Packet>) -> PlacedPacket {
        if let Some(clock) = &mut self.clock {
            clock.note_presented_later(ordered.later);
        }
        // As for sound, until the next one is decoded.
        let duration = ordered.lasts.unwrap_or(ordered.packet.duration());
        PlacedPacket { packet: ordered.packet, stamp: ordered.stamp, duration }
    }

    /// The packets of another recording come now.
    pub(super) fn begin_recording(&mut self) {
        self.clock.iter_mut().for_each(TrackClock::begin_recording);
    }

    /// How many packets are presented at another time than in the source, which is said.
    pub(super) fn moved(&self) -> u64 {
        self.clock.as_ref().map_or(0, TrackClock::moved)
    }

    /// Holds back packets at the beginning of a track until one has a decoding time, and then gives each its own,
    /// counted back from that one. Returns what can be written now, in order.
    pub(super) fn date(&mut self, packet: Packet) -> Vec<Packet> {
        let is_beginning = self.clock.is_none() && self.facts.kind == TrackKind::Video && !self.is_presented;
        match packet.dts() {
            None if is_beginning && packet.pts().is_some() && self.undated.len() < UNDATED_PACKETS => {
                self.undated.push(packet);
                Vec::new()
            }
            dts => {
                let mut packets = self.date_back(dts);
                packets.push(packet);
                packets
            }
        }
    }

    /// The packets that are still held back, all dated before the first of them is shown.
    pub(super) fn date_rest(&mut self) -> Vec<Packet> {
        let first = self.undated.iter().filter_map(Packet::pts).min();
        self.date_back(first)
    }

    fn date_back(&mut self, known: Option<i64>) -> Vec<Packet> {
        let mut packets = std::mem::take(&mut self.undated);
        let mut at = known;
        for packet in packets.iter_mut().rev() {
            at = at.map(|at| at - packet.duration().max(1));
            packet.set_dts(at.or(packet.pts()));
        }
        packets
    }

    /// Packets that can be written now, in order: one whose time jumps waits for the next, and if only its time was hit it
    /// gets another.
    pub(super) fn in_step(&mut self, packet: Packet, common: &SharedTimeline) -> Vec<Packet> {
        let is_steady = self.is_main_media();
        let Some((clock, dts)) = self.clock.as_mut().zip(packet.dts()).filter(|_| is_steady) else {
            return self.in_step_rest().into_iter().chain([packet]).collect();
        };
        let all = self.jump.next(clock, common, packet, dts);
        let mend = |(mut packet, mended): ReleasedPacket<Packet>| {
            if let Some((new, old)) = mended.zip(packet.dts()) {
                clock.note_mended(new.saturating_sub(old));
                let moved = |pts: i64| pts.saturating_sub(old).saturating_add(new);
                // Where both are stored, only one of them may have been hit.
                let is_hit_too = |pts: &i64| pts.abs_diff(old) <= pts.abs_diff(new);
                packet.set_pts(packet.pts().map(|pts| if is_hit_too(&pts) { moved(pts) } else { pts }));
                packet.set_dts(Some(new));
            }
            packet
        };
        all.into_iter().map(mend).collect()
    }

    /// What waits for the next packet, if another track has come up to it.
    pub(super) fn explained(&mut self, common: &SharedTimeline) -> Option<Packet> {
        self.jump.release_explained(self.clock.as_ref()?, common)
    }

    /// What still waits for the next packet at the end.
    pub(super) fn in_step_rest(&mut self) -> Option<Packet> {
        self.jump.release()
    }

    /// Counts a packet that goes into the output at `stamp`.
    pub(super) fn note_written(&mut self, packet: &Packet, stamp: PacketTime) {
        let payload = packet.data().unwrap_or_default();
        let mut facts = facts_of(packet);
        (facts.pts, facts.dts, facts.presented) = (Some(stamp.pts), Some(stamp.dts), Some(stamp.said));
        self.corrupt_kept += u64::from(facts.is_corrupt);
        self.written.take(&facts, payload);
        if self.is_forked {
            self.source.feed(payload);
        }
        self.note_configuration(packet, stamp);
    }

    fn note_configuration(&mut self, packet: &Packet, stamp: PacketTime) {
        use ffmpeg_next::packet::side_data::Type;
        let changed = |side: ffmpeg_next::packet::SideData<'_>| {
            side.kind() == Type::NewExtraData && !side.data().is_empty() && side.data() != self.facts.extradata
        };
        let said = packet.data().filter(|_| packet.is_key()).and_then(|data| self.source.framing().configuration(data));
        let is_other = said.is_some_and(|said| said != *self.configuration.get_or_insert(said));
        if self.reconfigured_at_ms.is_none() && (is_other || packet.side_data().any(changed)) {
            self.reconfigured_at_ms = Some(self.facts.time_base.to_ms(stamp.pts));
        }
    }

    /// Timestamps in the output's ticks; rounding must not make two decoding times equal.
    pub(super) fn out_stamp(&mut self, stamp: PacketTime, to: TimeBase) -> PacketTime {
        let from = self.facts.time_base;
        let dts = from.rescale(stamp.dts, to);
        let dts = self.last_out_dts.map_or(dts, |last| dts.max(last + 1));
        self.last_out_dts = Some(dts);
        PacketTime { pts: from.rescale(stamp.pts, to).max(dts), dts, ..stamp }
    }

    /// The track as it was written; none if nothing was.
    pub(super) fn written(&self) -> Option<TrackReading> {
        self.is_written().then(|| self.written.close(&self.facts))
    }

    /// Whether it is in the output.
    pub(super) fn is_written(&self) -> bool {
        matches!(self.route, TrackRoute::Output(_) | TrackRoute::Attached)
    }

    /// Notes a picture that is in the header of the output.
    pub(super) fn note_attached(&mut self, packet: &Packet) {
        self.count(packet, packet.data().unwrap_or_default());
        self.note_written(packet, PacketTime { pts: 0, dts: 0, said: 0 });
    }

    /// Which number it has in the container, and whether it is a track of the output.
    pub(super) fn entry(&self) -> TrackEntry {
        TrackEntry { id: self.facts.id, is_output: self.is_output() }
    }

    /// The track as it was read.
    pub(super) fn read(&mut self) -> TrackReading {
        if !self.is_forked {
            self.source.fork_digest(&self.written);
        }
        self.source.close(&self.facts)
    }

    /// What was repaired and what is not in the output.
    pub(super) fn defects(&self, to: Container) -> Vec<Defect> {
        let track = self.facts.number();
        let (repaired, worst_ms) = self.clock.as_ref().map_or((0, 0), TrackClock::repairs);
        let mut defects = self.left_out(to);
        if repaired > 0 {
            defects.push(Defect::TimestampsRepaired { track, packets: repaired, worst_ms });
        }
        if let Some(clock) = &self.clock {
            defects.extend(gap_defects(track, clock.gaps(), 0));
        }
        defects
    }

    fn left_out(&self, to: Container) -> Vec<Defect> {
        let track = self.facts.number();
        let mut defects = Vec::new();
        if self.leading_dropped > 0 {
            defects.push(Defect::LeadingPacketsDropped { track, packets: self.leading_dropped });
        }
        if self.corrupt_dropped > 0 {
            defects.push(Defect::CorruptPackets { track, packets: self.corrupt_dropped });
        }
        if self.corrupt_kept > 0 {
            let detail = format!("track {track}: {} packets with transport errors were kept", self.corrupt_kept);
            defects.push(Defect::Malformed { offset: None, detail });
        }
        if let Some(at_ms) = self.reconfigured_at_ms {
            let missing = format!("the second codec configuration of track {track}, which begins at {at_ms} ms");
            defects.push(Defect::Truncated { missing });
        }
        let TrackRoute::LeftOut(why) = self.route else { return defects };
        if let Some(name) = &self.facts.attached {
            let what = format!("the attached file `{}`", printable(Path::new(name)));
            defects.push(Defect::ContentLeftOut { what, reason: format!("{} cannot carry it", to.extension()) });
        }
        if self.source.packets() > self.metadata.unwrap_or(0) {
            let reason = self.reason(why, to);
            defects.push(Defect::TrackLeftOut { track, codec: self.facts.codec.clone(), reason });
        }
        defects
    }

    fn reason(&self, why: ExclusionReason, to: Container) -> String {
        match why {
            ExclusionReason::NotCarried => format!("{} cannot carry it", to.extension()),
            ExclusionReason::NotRead if self.facts.codec == "none" => "unknown codec".to_owned(),
            ExclusionReason::NotRead => "no usable codec parameters".to_owned(),
            ExclusionReason::TooLate => "it begins after the other tracks were determined".to_owned(),
        }
    }
}
