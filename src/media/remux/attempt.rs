//! One attempt at a remux: open, lay out the tracks, copy packet by packet, complete.

use super::start::{Start, Verdict};
use super::track::{Route, Track};
use super::{Header, Lessons, Remux, Remuxed};
use crate::isobmff::Tags;
use crate::media::ffi::source::StreamFacts;
use crate::media::ffi::{Depth, Packet, Sink, Source};
use crate::media::reading::Pass;
use crate::media::timeline::{Common, Stamp, TrackClock};
use crate::media::{MediaError, fits, whole};
use crate::recording::{Container, Defect, TrackKind};

/// How an attempt ended without an error.
pub(super) enum Ended {
    Done(Box<Remuxed>),
    /// A sound or picture track turned up, or sent its first packet, at this byte, and its parameters are not known.
    LateTrack {
        at: u64,
    },
    /// The picture track that should decide the beginning has no packet.
    Silent {
        track: usize,
    },
}

pub(super) struct Attempt<'a> {
    request: &'a Remux<'a>,
    pass: Pass<'a>,
    sink: Sink,
    tracks: Vec<Track>,
    start: Start,
    common: Common,
    /// Whether the parameters were already looked for in depth.
    is_deep: bool,
}

impl<'a> Attempt<'a> {
    pub(super) fn begin(request: &'a Remux<'a>, lessons: &Lessons) -> Result<Self, MediaError> {
        let pass = Pass::open(request.source, request.from, request.watch)?;
        let deep = lessons
            .look_bytes
            .map(|bytes| Source::open(request.source, request.from, Depth::ParametersOnly(bytes)))
            .transpose()?;
        let known = deep.as_ref().unwrap_or(&pass.source);
        let mut sink = Sink::create(request.output, request.to)?;
        let cut = whole::tail(request.source, request.from, 0).map_err(MediaError::open(request.source))?.cut_pids;
        let mut tracks = Vec::new();
        for facts in known.tracks() {
            let is_cut = request.from == Container::MpegTs && cut.iter().any(|pid| i32::from(*pid) == facts.id);
            let route = lay_out(request, known, &mut sink, &facts, lessons)?;
            tracks.push(Track::new(facts, route, is_cut));
        }
        begin_output(request, &pass.source, &mut sink, &tracks)?;
        let start = Start::new(lead(&tracks), request.begins);
        Ok(Self { request, pass, sink, tracks, start, common: Common::default(), is_deep: deep.is_some() })
    }

    pub(super) fn run(mut self) -> Result<Ended, MediaError> {
        let mut packet = Packet::empty();
        while self.pass.next(&mut packet)? {
            let track = packet.stream();
            let route = self.tracks.get(track).map(|t| t.route);
            match route {
                Some(Route::Output(_)) if packet.size() > 0 => self.take(packet)?,
                Some(Route::Output(_)) => {}
                Some(Route::LeftOut) => self.count_only(&packet),
                Some(Route::Unknown) | None => {
                    if let Some(at) = self.late(track, &packet)? {
                        return Ok(Ended::LateTrack { at });
                    }
                }
            }
            packet = Packet::empty();
        }
        self.end()
    }

    /// A packet of a track that was not laid out: where the file must be looked into again, or an error.
    fn late(&mut self, track: usize, packet: &Packet) -> Result<Option<u64>, MediaError> {
        let Some(facts) = self.pass.source.track(track) else { return Ok(None) };
        if facts.kind == TrackKind::Data {
            while self.tracks.len() <= track {
                let Some(facts) = self.pass.source.track(self.tracks.len()) else { return Ok(None) };
                self.tracks.push(Track::new(facts, Route::LeftOut, false));
            }
            self.count_only(packet);
            return Ok(None);
        }
        if self.is_deep && self.tracks.get(track).is_some() {
            return Err(unreadable(self.request, &facts));
        }
        Ok(Some(self.pass.source.bytes_read()))
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
        // Sound behind the first of its track lies behind the beginning, whatever a restarted clock says.
        if track.has_begun() && self.start.lead() != Some(packet.stream()) {
            return self.hold_or_write(packet);
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
            Verdict::Keep(packet) => self.hold_or_write(packet),
            Verdict::Held => Ok(()),
            Verdict::Drop(packet) => {
                self.tracks[packet.stream()].drop_leading(&packet);
                Ok(())
            }
            Verdict::Overflow(packets) => {
                for packet in packets {
                    self.tracks[packet.stream()].drop_leading(&packet);
                }
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
        let packets = self.tracks[packet.stream()].date(packet);
        packets.into_iter().try_for_each(|packet| self.write_in_step(packet))
    }

    fn write_in_step(&mut self, packet: Packet) -> Result<(), MediaError> {
        let packets = self.tracks[packet.stream()].in_step(packet, &self.common);
        packets.into_iter().try_for_each(|packet| self.write_dated(packet))?;
        let explained: Vec<Packet> = self.tracks.iter_mut().filter_map(|t| t.explained(&self.common)).collect();
        explained.into_iter().try_for_each(|packet| self.write_dated(packet))
    }

    fn write_dated(&mut self, mut packet: Packet) -> Result<(), MediaError> {
        let zero_us = self.start.zero_us().unwrap_or(0);
        let track = &mut self.tracks[packet.stream()];
        let Route::Output(output) = track.route else { return Ok(()) };
        let (time_base, is_steady) = (track.facts.time_base, track.is_main_media());
        let clock = track.clock.get_or_insert_with(|| TrackClock::new(time_base, zero_us, is_steady));
        let stamp = clock.place(packet.pts(), packet.dts(), packet.duration(), &mut self.common);
        track.note_written(&packet, stamp);
        let to = self.sink.time_base(output);
        let Stamp { pts, dts } = track.out_stamp(stamp, to);
        packet.set_duration(time_base.rescale(packet.duration(), to));
        packet.set_pts(Some(pts));
        packet.set_dts(Some(dts));
        packet.set_position(-1);
        packet.set_stream(output);
        self.sink.write(&packet)
    }

    fn end(mut self) -> Result<Ended, MediaError> {
        if self.start.settle() {
            self.release()?;
        }
        if let Some(ended) = self.no_beginning()? {
            return Ok(ended);
        }
        self.settle_held()?;
        let Self { request, pass, sink, mut tracks, .. } = self;
        sink.finish()?;
        let source = pass.conclude(tracks.iter_mut().map(Track::read).collect())?;
        let mut tracks_written: Vec<_> = tracks.iter().filter_map(Track::written).collect();
        super::super::meter::align(&mut tracks_written);
        let mut defects: Vec<Defect> =
            source.defects.iter().filter(|d| !matches!(d, Defect::TimestampGap { .. })).cloned().collect();
        defects.extend(tracks.iter().flat_map(|track| track.defects(request.to)));
        if tracks_written.iter().all(|t| t.packets == 0) {
            return Err(unfinishable(request, defects, Defect::NoPackets));
        }
        Ok(Ended::Done(Box::new(Remuxed { tracks_written, source, defects })))
    }

    /// The end came before the beginning: no packets, no keyframe, or a picture track that is only declared.
    fn no_beginning(&self) -> Result<Option<Ended>, MediaError> {
        if self.start.is_found() {
            return Ok(None);
        }
        let request = self.request;
        let Some(lead) = self.start.lead() else { return Err(unfinishable(request, vec![], self.nothing())) };
        match self.tracks[lead].source.packets() {
            0 if self.tracks.iter().all(|t| t.source.packets() == 0) => {
                Err(unfinishable(request, vec![], self.nothing()))
            }
            0 => Ok(Some(Ended::Silent { track: lead })),
            _ => Err(unfinishable(request, vec![], Defect::NoKeyframe)),
        }
    }

    fn nothing(&self) -> Defect {
        if self.pass.source.size_bytes == 0 { Defect::Empty } else { Defect::NoPackets }
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
                let packets = track.in_step_rest();
                packets.into_iter().try_for_each(|packet| self.write_dated(packet))?;
                self.tracks[index].drop_corrupt(&packet);
            }
        }
        for index in 0..self.tracks.len() {
            let packets = self.tracks[index].date_rest();
            packets.into_iter().try_for_each(|packet| self.write_in_step(packet))?;
            let packets = self.tracks[index].in_step_rest();
            packets.into_iter().try_for_each(|packet| self.write_dated(packet))?;
        }
        Ok(())
    }
}

fn unfinishable(request: &Remux<'_>, mut defects: Vec<Defect>, defect: Defect) -> MediaError {
    defects.retain(|d| *d != defect);
    defects.insert(0, defect);
    MediaError::Unfinishable { path: request.source.to_owned(), defects }
}

fn unreadable(request: &Remux<'_>, facts: &StreamFacts) -> MediaError {
    MediaError::UnreadableTrack {
        path: request.source.to_owned(),
        track: facts.number(),
        codec: facts.codec.clone(),
        container: request.from,
    }
}

/// Decides where a track goes and makes it in the output.
fn lay_out(
    request: &Remux<'_>,
    known: &Source,
    sink: &mut Sink,
    facts: &StreamFacts,
    lessons: &Lessons,
) -> Result<Route, MediaError> {
    let is_media = matches!(facts.kind, TrackKind::Video | TrackKind::Audio);
    if is_media && (lessons.silent.contains(&facts.index) || !facts.is_described()) {
        return Ok(Route::Unknown);
    }
    if fits(&facts.codec, request.to) && facts.kind != TrackKind::Data {
        return sink.add_track(known, facts.index).map(Route::Output);
    }
    if !is_media || facts.is_picture {
        return Ok(Route::LeftOut);
    }
    Err(MediaError::DoesNotFit {
        path: request.source.to_owned(),
        track: facts.number(),
        codec: facts.codec.clone(),
        container: request.to,
    })
}

/// The first picture track that is no cover art decides where the file begins.
fn lead(tracks: &[Track]) -> Option<usize> {
    let is_lead =
        |t: &&Track| t.facts.kind == TrackKind::Video && !t.facts.is_picture && matches!(t.route, Route::Output(_));
    tracks.iter().find(is_lead).map(|t| t.facts.index)
}

fn begin_output(request: &Remux<'_>, source: &Source, sink: &mut Sink, tracks: &[Track]) -> Result<(), MediaError> {
    if !tracks.iter().any(|t| matches!(t.route, Route::Output(_))) {
        return match tracks.iter().find(|t| t.is_main_media()) {
            Some(track) => Err(unreadable(request, &track.facts)),
            None => Err(MediaError::unfinishable(request.source, nothing_in(source))),
        };
    }
    if request.header == Header::Fragments {
        sink.write_unbuffered();
    }
    sink.begin(&metadata(request, source), options(request))
}

fn nothing_in(source: &Source) -> Defect {
    if source.size_bytes == 0 { Defect::Empty } else { Defect::NoPackets }
}

/// Metadata of the container that stays true, which is what an MP4 has a place for, and the time of the recording.
fn metadata(request: &Remux<'_>, source: &Source) -> Vec<(String, String)> {
    let mut kept = source.metadata();
    kept.retain(|(key, _)| key == "creation_time" || Tags::known(key.as_bytes()).is_some());
    if super::super::probe::created_ms(&kept).is_none() {
        kept.retain(|(key, _)| key != "creation_time");
        let created = request.created_ms.and_then(|ms| jiff::Timestamp::from_millisecond(ms).ok());
        kept.extend(created.map(|at| ("creation_time".to_owned(), format!("{at:.6}"))));
    }
    kept
}

fn options(request: &Remux<'_>) -> &'static [(&'static str, &'static str)] {
    match (request.to, request.header) {
        (Container::Mp4 | Container::Mov, Header::First) => &[("movflags", "+faststart"), ("write_tmcd", "0")],
        // The first fragment lies before `moov`, so that its packets say what the edit lists must and what ADTS said. An
        // empty `moov` would come too early for both; an index of the fragments is not needed.
        (Container::Mp4 | Container::Mov, Header::Fragments) => &[
            ("movflags", "+default_base_moof+skip_trailer"),
            ("use_editlist", "1"),
            ("frag_duration", "2000000"),
            ("frag_size", "1048576"),
            ("write_tmcd", "0"),
        ],
        _ => &[],
    }
}
