//! One attempt at a remux: open, lay out the tracks, copy packet by packet, complete.

use super::layout::{begin_output, lay_out, lead, nothing_in};
use super::next::NextRecordings;
use super::passed_over::TrackEntry;
use super::start::{PacketVerdict, StartFinder};
use super::track::{ExclusionReason, PlacedPacket, RemuxTrack, TrackRoute};
use super::{AttemptHints, Remux, Remuxed};
use crate::media::ffi::source::StreamFacts;
use crate::media::ffi::{MediaSource, Packet, ProbeDepth, Sink};
use crate::media::reading::{PacketPass, span};
use crate::media::timeline::{PacketTime, SharedTimeline};
use crate::media::{MediaError, TrackReading, whole};
use crate::recording::{Container, Defect, TrackKind, TrackSpan, drop_still_pictures};

/// How an attempt ended without an error.
pub(super) enum RemuxEnd {
    Done(Box<Remuxed>, Vec<TrackEntry>),
    /// A sound or picture track turned up, or sent its first packet, at this byte, and its parameters are not known.
    LateTrack {
        at: u64,
    },
    /// The picture track that should decide the beginning has no packet.
    Silent {
        track: usize,
    },
}

pub(super) struct RemuxAttempt<'a> {
    request: &'a Remux<'a>,
    pass: PacketPass<'a>,
    sink: Sink,
    tracks: Vec<RemuxTrack>,
    start: StartFinder,
    common: SharedTimeline,
    next: NextRecordings,
    /// Whether the parameters were already looked for in depth, and of how many tracks they were looked for.
    is_deep: bool,
    looked_for: usize,
    /// Whether there is no other attempt.
    is_last: bool,
}

impl<'a> RemuxAttempt<'a> {
    pub(super) fn begin(request: &'a Remux<'a>, lessons: &AttemptHints) -> Result<Self, MediaError> {
        let first = 0..request.recordings.first().copied().unwrap_or(u64::MAX);
        let open = |depth| MediaSource::open_part(request.source, request.from, depth, first.clone());
        let (source, deep) = match lessons.look_bytes {
            // What libavformat does not know when it reads a packet it cannot tell the time of.
            Some(bytes) if request.from == Container::MpegTs => (open(ProbeDepth::LateTracks(bytes))?.rewound()?, None),
            Some(bytes) => (open(ProbeDepth::Usual)?, Some(open(ProbeDepth::LateTracks(bytes))?)),
            None => (open(ProbeDepth::Usual)?, None),
        };
        let pass = PacketPass::over(source, request.watch);
        let known = deep.as_ref().unwrap_or(&pass.source);
        let mut sink = Sink::create(request.output, request.to)?;
        let cut = cut_pids(request)?;
        let mut tracks = Vec::new();
        for facts in known.tracks() {
            let is_cut = cut.iter().any(|pid| i32::from(*pid) == facts.id);
            let route = lay_out(request, known, &mut sink, &facts, lessons)?;
            tracks.push(RemuxTrack::new(facts, route, (request.from, request.to), is_cut));
        }
        begin_output(request, &pass.source, &mut sink, &tracks)?;
        let is_written = |t: &&RemuxTrack| t.is_main_media() && t.is_output();
        let written = tracks.iter().filter(is_written).map(|t| t.facts.index);
        let start = StartFinder::new(lead(&tracks), written, request.begins);
        let next = NextRecordings::behind(&pass.source, request);
        let (common, looked_for) = (SharedTimeline::default(), tracks.len());
        let (is_deep, is_last) = (lessons.look_bytes.is_some(), lessons.is_last);
        Ok(Self { request, pass, sink, tracks, start, common, next, is_deep, looked_for, is_last })
    }

    pub(super) fn run(mut self) -> Result<RemuxEnd, MediaError> {
        let mut packet = Packet::empty();
        while self.pass.next(&mut packet)? || self.go_on(&mut packet)? {
            if !self.next.map(&mut packet, &self.tracks) {
                packet = Packet::empty();
                continue;
            }
            let track = packet.stream();
            let route = self.tracks.get(track).map(|t| t.route);
            match route {
                Some(TrackRoute::Output(_)) if packet.size() > 0 => self.take(packet)?,
                Some(TrackRoute::Output(_)) => {}
                Some(TrackRoute::Attached) => self.tracks[track].note_attached(&packet),
                Some(TrackRoute::LeftOut(_)) => self.count_only(&packet),
                Some(TrackRoute::Unknown) | None => {
                    if let Some(at) = self.late(track, &packet) {
                        return Ok(RemuxEnd::LateTrack { at });
                    }
                }
            }
            packet = Packet::empty();
        }
        self.end()
    }

    /// The first packet of the next recording in the file; `false` where there is none that can be joined.
    fn go_on(&mut self, packet: &mut Packet) -> Result<bool, MediaError> {
        let Some((source, begin)) = self.next.open(self.request, &self.tracks)? else { return Ok(false) };
        if self.start.settle() {
            self.release()?;
        }
        self.settle_held()?;
        let start_us = source.start_us().unwrap_or(0);
        let shift_us = self.common.join(start_us, self.start.zero_us().unwrap_or(start_us));
        self.tracks.iter_mut().for_each(RemuxTrack::begin_recording);
        self.next.note_joined(&source, begin, shift_us);
        self.pass.go_on(source, begin);
        *packet = Packet::empty();
        if self.pass.next(packet)? { Ok(true) } else { self.go_on(packet) }
    }

    /// A packet of a track that was not laid out: where the file must be looked into again, or `None` once the track is
    /// left out.
    fn late(&mut self, track: usize, packet: &Packet) -> Option<u64> {
        let why = match self.pass.source.track(track)?.kind {
            TrackKind::Data => ExclusionReason::NotCarried,
            // Subtitles that are not found in depth either are sent by nobody who says how they are coded.
            TrackKind::Subtitle if self.is_deep => ExclusionReason::NotRead,
            _ if self.is_deep && track < self.looked_for => ExclusionReason::NotRead,
            _ if self.is_last => ExclusionReason::TooLate,
            _ => return Some(self.pass.source.bytes_read()),
        };
        while self.tracks.len() <= track {
            let facts = self.pass.source.track(self.tracks.len())?;
            let (from, to) = (self.request.from, self.request.to);
            self.tracks.push(RemuxTrack::new(facts, TrackRoute::Unknown, (from, to), false));
        }
        self.tracks[track].route = TrackRoute::LeftOut(why);
        self.count_only(packet);
        None
    }

    fn count_only(&mut self, packet: &Packet) {
        if let Some(track) = self.tracks.get_mut(packet.stream()) {
            track.count(packet, packet.data().unwrap_or_default());
            track.leave_out(packet);
        }
    }

    /// Counts a packet and sends it on its way.
    fn take(&mut self, packet: Packet) -> Result<(), MediaError> {
        let track = &mut self.tracks[packet.stream()];
        track.count(&packet, packet.data().unwrap_or_default());
        if !track.is_frame(&packet) {
            track.drop_corrupt(&packet);
            return Ok(());
        }
        let waited = self.start.zero_us().is_none();
        self.judge(packet)?;
        if waited && self.start.zero_us().is_some() {
            self.release()?;
        }
        Ok(())
    }

    fn release(&mut self) -> Result<(), MediaError> {
        self.start.release().into_iter().try_for_each(|packet| self.judge(packet))
    }

    fn judge(&mut self, packet: Packet) -> Result<(), MediaError> {
        let time_base = self.tracks[packet.stream()].facts.time_base;
        match self.start.judge(packet, time_base) {
            PacketVerdict::Keep(packet) => self.hold_or_write(packet),
            PacketVerdict::Held => Ok(()),
            PacketVerdict::Drop(packet) => {
                self.tracks[packet.stream()].drop_leading(&packet);
                Ok(())
            }
        }
    }

    /// A packet that may turn out to be the cut last one of its track waits for the next.
    fn hold_or_write(&mut self, packet: Packet) -> Result<(), MediaError> {
        let track = &mut self.tracks[packet.stream()];
        if let Some(waiting) = track.held.take() {
            self.write(waiting)?;
        }
        let track = &mut self.tracks[packet.stream()];
        if track.is_cut || packet.is_corrupt() {
            track.held = Some(packet);
            return Ok(());
        }
        self.write(packet)
    }

    fn write(&mut self, packet: Packet) -> Result<(), MediaError> {
        let track = &mut self.tracks[packet.stream()];
        let packet = track.told(packet);
        let packets = track.date(packet);
        packets.into_iter().try_for_each(|packet| self.write_in_step(packet))
    }

    fn write_in_step(&mut self, packet: Packet) -> Result<(), MediaError> {
        let packets = self.tracks[packet.stream()].in_step(packet, &self.common);
        packets.into_iter().try_for_each(|packet| self.write_dated(packet))?;
        let explained: Vec<Packet> = self.tracks.iter_mut().filter_map(|t| t.explained(&self.common)).collect();
        explained.into_iter().try_for_each(|packet| self.write_dated(packet))
    }

    fn write_dated(&mut self, packet: Packet) -> Result<(), MediaError> {
        let index = packet.stream();
        self.tracks[index].place(packet, self.start.zero_us().unwrap_or(0), &mut self.common);
        while let Some(placed) = self.tracks[index].next_placed() {
            self.write_placed(placed)?;
        }
        Ok(())
    }

    /// Writes what a track still holds back, as nothing comes behind it.
    fn write_left(&mut self, index: usize) -> Result<(), MediaError> {
        let packets = self.tracks[index].in_step_rest();
        packets.into_iter().try_for_each(|packet| self.write_dated(packet))?;
        while let Some(placed) = self.tracks[index].next_left() {
            self.write_placed(placed)?;
        }
        Ok(())
    }

    fn write_placed(&mut self, placed: PlacedPacket) -> Result<(), MediaError> {
        let PlacedPacket { mut packet, stamp, duration } = placed;
        let track = &mut self.tracks[packet.stream()];
        let TrackRoute::Output(output) = track.route else { return Ok(()) };
        track.note_written(&packet, stamp);
        let (time_base, to) = (track.facts.time_base, self.sink.time_base(output));
        let PacketTime { pts, dts, .. } = track.out_stamp(stamp, to);
        packet.set_duration(time_base.rescale(duration, to));
        let delay = self.sink.delay(output);
        packet.set_pts(Some(pts.saturating_add(delay)));
        packet.set_dts(Some(dts.saturating_add(delay)));
        packet.set_position(-1);
        packet.set_stream(output);
        self.sink.write(&packet)
    }

    fn end(mut self) -> Result<RemuxEnd, MediaError> {
        if let Some(ended) = self.no_beginning()? {
            return Ok(ended);
        }
        if self.start.settle() {
            self.release()?;
        }
        self.settle_held()?;
        let zero_us = self.start.zero_us().unwrap_or(0);
        let (chapters, beside) = self.next.beside_tracks(self.request, zero_us);
        let Self { request, pass, mut sink, mut tracks, .. } = self;
        sink.add_chapters(&chapters)?;
        sink.finish()?;
        let source = pass.conclude(tracks.iter_mut().map(RemuxTrack::read).collect())?;
        let entries = tracks.iter().map(RemuxTrack::entry).collect();
        let mut tracks_written: Vec<_> = tracks.iter().filter_map(RemuxTrack::written).collect();
        let moved = tracks.iter().filter(|t| t.is_written()).map(RemuxTrack::moved).collect();
        super::super::meter::align(&mut tracks_written);
        // Of pictures that are left out nothing is decoded.
        let lacks_keyframe = |t: &TrackReading| t.kind == TrackKind::Video && t.packets > 0 && t.keyframes == 0;
        let is_said = |d: &Defect| match d {
            Defect::TimestampGap { .. } => false,
            Defect::NoKeyframe => tracks_written.iter().any(lacks_keyframe),
            _ => true,
        };
        let mut defects: Vec<Defect> = source.defects.iter().filter(|d| is_said(d)).cloned().collect();
        defects.extend(tracks.iter().flat_map(|track| track.defects(request.to)).chain(beside));
        let spans: Vec<TrackSpan> = tracks_written.iter().map(|track| span(track, 0)).collect();
        drop_still_pictures(&mut defects, &spans);
        if tracks_written.iter().all(|t| t.packets == 0) {
            return Err(unfinishable(request, defects, Defect::NoPackets));
        }
        Ok(RemuxEnd::Done(
            Box::new(Remuxed { tracks_written, moved, chapters: chapters.len(), source, defects }),
            entries,
        ))
    }

    /// The end came before the beginning: no packets, no keyframe, or a picture track that is only declared.
    fn no_beginning(&self) -> Result<Option<RemuxEnd>, MediaError> {
        if self.start.is_found() {
            return Ok(None);
        }
        let request = self.request;
        let nothing = || MediaError::unfinishable(request.source, nothing_in(&self.pass.source));
        let Some(lead) = self.start.lead() else { return Err(nothing()) };
        match self.tracks[lead].source.packets() {
            0 if self.tracks.iter().all(|t| t.source.packets() == 0) => Err(nothing()),
            0 => Ok(Some(RemuxEnd::Silent { track: lead })),
            _ => Err(MediaError::unfinishable(request.source, Defect::NoKeyframe)),
        }
    }

    /// At the end a packet that still waits is left out, unless it is whole after all.
    fn settle_held(&mut self) -> Result<(), MediaError> {
        for index in 0..self.tracks.len() {
            let track = &mut self.tracks[index];
            let Some(packet) = track.held.take() else { continue };
            if !packet.is_corrupt() && track.source.framing().is_surely_whole(packet.data().unwrap_or_default()) {
                self.write(packet)?;
            } else {
                // The digest of the source takes packets as they come.
                self.write_left(index)?;
                self.tracks[index].drop_corrupt(&packet);
            }
        }
        for index in 0..self.tracks.len() {
            let packets = self.tracks[index].date_rest();
            packets.into_iter().try_for_each(|packet| self.write_in_step(packet))?;
            self.write_left(index)?;
        }
        Ok(())
    }
}

/// PIDs whose last unit is cut: of the containers that are read here only a transport stream tells that by its end.
fn cut_pids(request: &Remux<'_>) -> Result<Vec<u16>, MediaError> {
    if request.from != Container::MpegTs {
        return Ok(Vec::new());
    }
    Ok(whole::tail(request.source, request.from, 0).map_err(MediaError::open(request.source))?.cut_pids)
}

fn unfinishable(request: &Remux<'_>, mut defects: Vec<Defect>, defect: Defect) -> MediaError {
    defects.retain(|d| *d != defect);
    defects.insert(0, defect);
    MediaError::Unfinishable { path: request.source.to_owned(), defects }
}

pub(super) fn unreadable(request: &Remux<'_>, facts: &StreamFacts) -> MediaError {
    MediaError::UnreadableTrack {
        path: request.source.to_owned(),
        track: facts.number(),
        codec: facts.codec.clone(),
        container: request.from,
    }
}
