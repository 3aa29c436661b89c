//! One full pass over the packets of a file: what every track holds, and whether the file is whole.

use std::mem;
use std::path::Path;

use super::ffi::{Flags, MediaSource, Packet, ProbeDepth, ReadOutcome};
use super::flv::ExtendedClock;
use super::meter::{PacketFacts, TrackMeter, TrackReading, align};
use super::superframes::Superframes;
use super::{MediaError, PassControl, whole};
use crate::recording::{Container, Defect, TrackKind, TrackSpan, TrackSummary, counted, drop_still_pictures};

/// A file after a full pass.
#[derive(Debug, Clone, PartialEq)]
pub struct MediaReading {
    /// What it was read as.
    pub container: Container,
    /// Length of the file, bytes.
    pub size_bytes: u64,
    /// The furthest byte that was read.
    pub bytes_read: u64,
    /// Every track, in file order, also those without a packet.
    pub tracks: Vec<TrackReading>,
    /// Duration that the container claims, milliseconds.
    pub declared_ms: Option<i64>,
    /// Creation time that the container claims, milliseconds since the Unix epoch.
    pub created_ms: Option<i64>,
    /// How many chapters it has, as far as libavformat read it.
    pub chapters: usize,
    /// What is wrong with it.
    pub defects: Vec<Defect>,
}

impl MediaReading {
    /// From the earliest presentation to the latest end over all tracks, milliseconds.
    pub fn duration_ms(&self) -> i64 {
        self.timed().map(|t| t.start_ms + t.duration_ms).max().unwrap_or(0)
    }

    /// The tracks as the catalogue keeps them; a cover is none, and one without packets neither.
    pub fn summaries(&self) -> Vec<TrackSummary> {
        self.timed().map(TrackReading::summary).collect()
    }

    fn timed(&self) -> impl Iterator<Item = &TrackReading> {
        self.tracks.iter().filter(|t| t.packets > 0 && !t.is_cover)
    }

    /// Packets and digest of the first payloads per track, as [`vod_id`](crate::recording::vod_id) wants them.
    pub fn id_tracks(&self) -> Vec<(u64, [u8; 32])> {
        self.timed().map(|t| (t.packets, t.id_digest)).collect()
    }

    /// Whether one of the defects forbids to finish the file.
    pub fn is_fatal(&self) -> bool {
        self.defects.iter().any(Defect::is_fatal)
    }
}

/// Reads a file through once.
///
/// Damage comes back as defects of the reading; an error means that the file could not be read (permission, a
/// failing disk, a container that is none).
pub fn read(path: &Path, container: Container, watch: PassControl<'_>) -> Result<MediaReading, MediaError> {
    let mut pass = PacketPass::open(path, container, watch)?;
    let mut meters: Vec<TrackMeter> = Vec::new();
    let mut packet = Packet::empty();
    while pass.next(&mut packet)? {
        let track = packet.stream();
        pass.discover(track, &mut meters);
        if let (Some(meter), Some(payload)) = (meters.get_mut(track), packet.data()) {
            meter.take(&facts_of(&packet), payload);
        }
        packet = Packet::empty();
    }
    pass.discover_all(&mut meters);
    let tracks = meters.iter().zip(pass.source.tracks()).map(|(meter, facts)| meter.close(&facts)).collect();
    pass.conclude(tracks)
}

/// What the counters want to know of a packet.
pub(super) fn facts_of(packet: &Packet) -> PacketFacts {
    PacketFacts {
        pts: packet.pts(),
        dts: packet.dts(),
        presented: packet.pts().or(packet.dts()),
        duration: packet.duration(),
        is_key: packet.is_key(),
        is_corrupt: packet.flags().contains(Flags::CORRUPT),
    }
}

/// After so many unreadable places in a row the rest counts as lost.
const NONSENSE_IN_A_ROW: u32 = 64;

/// The loop over packets that tells the end from an error, and remembers what it stumbled over.
pub(super) struct PacketPass<'a> {
    pub(super) source: MediaSource,
    watch: PassControl<'a>,
    nonsense: u64,
    in_a_row: u32,
    first_nonsense: Option<u64>,
    last_position: u64,
    /// Where the recording that is read begins in the file.
    begin: u64,
    /// When the first recording in the file was made, once it is another one that is read.
    created_ms: Option<i64>,
    is_joined: bool,
    lanes: Vec<TrackFixes>,
    /// Those of the recordings before in the same file.
    earlier: Vec<(usize, TrackFixes)>,
}

/// What is made right of one track as it is read, whoever reads it.
#[derive(Default)]
struct TrackFixes {
    superframes: Superframes,
    /// The clock of an FLV file.
    extended: Option<ExtendedClock>,
}

impl TrackFixes {
    fn of(source: &MediaSource, track: usize) -> Self {
        let facts = source.track(track);
        let extended = (source.container() == Container::Flv).then(ExtendedClock::default);
        Self { superframes: facts.as_ref().map(Superframes::of).unwrap_or_default(), extended }
    }

    /// Takes the next packet as it is stored; gives one as it should be, unless it waits for another.
    fn take(&mut self, mut packet: Packet) -> Option<Packet> {
        if let Some((clock, dts)) = self.extended.as_mut().zip(packet.dts()) {
            let added_ms = clock.take(dts);
            packet.set_pts(packet.pts().map(|pts| pts.saturating_add(added_ms)));
            packet.set_dts(Some(dts.saturating_add(added_ms)));
        }
        self.superframes.take(packet)
    }
}

impl<'a> PacketPass<'a> {
    pub(super) fn open(path: &Path, container: Container, watch: PassControl<'a>) -> Result<Self, MediaError> {
        Ok(Self::over(MediaSource::open(path, container, ProbeDepth::Usual)?, watch))
    }

    /// Over a file or a part of it.
    pub(super) fn over(source: MediaSource, watch: PassControl<'a>) -> Self {
        Self {
            source,
            watch,
            nonsense: 0,
            in_a_row: 0,
            first_nonsense: None,
            last_position: 0,
            begin: 0,
            created_ms: None,
            is_joined: false,
            lanes: Vec::new(),
            earlier: Vec::new(),
        }
    }

    /// Goes on with the next recording in the same file, which begins at that byte.
    pub(super) fn go_on(&mut self, source: MediaSource, begin: u64) {
        self.created_ms = self.created_ms();
        (self.source, self.begin, self.in_a_row, self.is_joined) = (source, begin, 0, true);
        // Its clock is its own.
        self.earlier.extend(mem::take(&mut self.lanes).into_iter().enumerate());
    }

    /// Reads the next packet into a blank one; false at the end.
    pub(super) fn next(&mut self, packet: &mut Packet) -> Result<bool, MediaError> {
        while self.next_stored(packet)? {
            let track = packet.stream();
            while self.lanes.len() <= track {
                self.lanes.push(TrackFixes::of(&self.source, self.lanes.len()));
            }
            if let Some(whole) = self.lanes[track].take(mem::replace(packet, Packet::empty())) {
                *packet = whole;
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// The next packet as the container stores it.
    fn next_stored(&mut self, packet: &mut Packet) -> Result<bool, MediaError> {
        loop {
            self.watch.tick(self.source.bytes_read())?;
            match self.source.next(packet)? {
                ReadOutcome::Packet => break,
                ReadOutcome::End => return Ok(false),
                ReadOutcome::Nonsense if self.in_a_row >= NONSENSE_IN_A_ROW => return Ok(false),
                ReadOutcome::Nonsense => self.note_nonsense(),
            }
        }
        self.in_a_row = 0;
        let position = u64::try_from(packet.position()).map_or(0, |at| self.begin.saturating_add(at));
        self.last_position = self.last_position.max(position);
        Ok(true)
    }

    fn created_ms(&self) -> Option<i64> {
        if self.is_joined { self.created_ms } else { super::probe::created_ms(&self.source.metadata()) }
    }

    fn note_nonsense(&mut self) {
        self.nonsense += 1;
        self.in_a_row += 1;
        self.first_nonsense.get_or_insert(self.last_position);
    }

    /// Makes meters for the tracks up to this one.
    fn discover(&self, track: usize, meters: &mut Vec<TrackMeter>) {
        while meters.len() <= track {
            let Some(facts) = self.source.track(meters.len()) else { return };
            meters.push(TrackMeter::new(&facts, facts.time_base));
        }
    }

    fn discover_all(&self, meters: &mut Vec<TrackMeter>) {
        if let Some(last) = self.source.track_count().checked_sub(1) {
            self.discover(last, meters);
        }
    }

    /// Closes the pass: compares what was read with what the container declares.
    pub(super) fn conclude(self, mut tracks: Vec<TrackReading>) -> Result<MediaReading, MediaError> {
        align(&mut tracks);
        let path = self.source.path();
        let container = self.source.container();
        let tail = whole::tail(path, container, self.last_position).map_err(MediaError::open(path))?;
        let mut reading = MediaReading {
            container,
            size_bytes: self.source.size_bytes,
            bytes_read: self.source.bytes_read(),
            // What one recording declares says nothing of several.
            declared_ms: tail
                .declared_ms
                .or(self.source.declared_ms())
                .filter(|_| !self.is_joined)
                .map(|declared_ms| declared_length(declared_ms, &tracks)),
            created_ms: self.created_ms(),
            chapters: self.source.chapters().len(),
            tracks,
            defects: tail.missing.map(|missing| Defect::Truncated { missing }).into_iter().collect(),
        };
        let more = [
            self.unreadable(),
            self.unshown(),
            self.unextended(),
            shortfall(&reading),
            no_media(&reading),
            per_track(&reading),
        ];
        reading.defects.extend(more.into_iter().flatten());
        Ok(reading)
    }

    fn all_lanes(&self) -> impl Iterator<Item = (usize, &TrackFixes)> {
        self.earlier.iter().map(|(track, lane)| (*track, lane)).chain(self.lanes.iter().enumerate())
    }

    fn unshown(&self) -> Vec<Defect> {
        self.all_lanes().filter_map(|(track, lane)| unshown((track, &lane.superframes))).collect()
    }

    /// Times whose fourth byte the writer left out, and that are right all the same.
    fn unextended(&self) -> Vec<Defect> {
        let wraps = self.all_lanes().filter_map(|(_, lane)| lane.extended).map(ExtendedClock::wraps).max().unwrap_or(0);
        let detail = "timestamps without their extended byte (FLV annex E.4.1); the clock was continued".to_owned();
        if wraps > 0 { vec![Defect::Malformed { offset: None, detail }] } else { Vec::new() }
    }

    fn unreadable(&self) -> Vec<Defect> {
        let Some(near) = self.first_nonsense else { return Vec::new() };
        let places = self.nonsense;
        vec![Defect::Truncated { missing: format!("{places} unreadable places, the first after byte {near}") }]
    }
}

/// Hidden pictures at the end of a track without the shown one that they belong to.
fn unshown((track, hidden): (usize, &Superframes)) -> Option<Defect> {
    let pictures = hidden.waiting();
    let missing = format!("track {}: the frame behind its last {}", track + 1, counted(pictures, "hidden frame"));
    (pictures > 0).then_some(Defect::Truncated { missing })
}

/// How long a container says that its media lasts. Where the first packet is presented late, some writers count from zero and
/// some from that packet; whichever is nearer to the packets is meant.
fn declared_length(declared_ms: i64, tracks: &[TrackReading]) -> i64 {
    let timed = || tracks.iter().filter(|t| t.packets > 0 && !t.is_cover);
    let start_ms = timed().map(|t| t.first_pts_ms).min().unwrap_or(0).max(0);
    let lasts_ms = timed().map(|t| t.start_ms.saturating_add(t.duration_ms)).max().unwrap_or(0);
    let from_first_ms = declared_ms.saturating_sub(start_ms);
    if from_first_ms.abs_diff(lasts_ms) < declared_ms.abs_diff(lasts_ms) { from_first_ms } else { declared_ms }
}

/// How far a declared duration may be off before it says something.
const DECLARED_SLACK_MS: i64 = 2000;

/// Samples or time that the container promises and that are not there.
fn shortfall(reading: &MediaReading) -> Vec<Defect> {
    let is_short = |t: &&TrackReading| t.declared_packets.is_some_and(|declared| declared > t.packets);
    let mut defects: Vec<Defect> = Vec::new();
    if reading.container.is_iso() {
        defects.extend(reading.tracks.iter().filter(is_short).map(|t| Defect::Truncated {
            missing: format!("track {}: {} of {} samples", t.number, t.packets, t.declared_packets.unwrap_or(0)),
        }));
    }
    let measured_ms = reading.duration_ms();
    let Some(declared_ms) = reading.declared_ms.filter(|_| measured_ms > 0) else { return defects };
    let slack_ms = DECLARED_SLACK_MS.max(declared_ms / 20);
    match declared_ms - measured_ms {
        off if off > slack_ms && !reading.container.is_iso() => {
            defects.push(Defect::Truncated { missing: format!("{off} ms of the declared {declared_ms} ms") });
        }
        off if off.abs() > slack_ms => defects.push(Defect::DurationMismatch { declared_ms, measured_ms }),
        _ => {}
    }
    defects
}

pub(super) fn no_media(reading: &MediaReading) -> Vec<Defect> {
    match reading.timed().next().is_none() {
        true if reading.size_bytes == 0 => vec![Defect::Empty],
        true => vec![Defect::NoPackets],
        false => Vec::new(),
    }
}

pub(super) fn per_track(reading: &MediaReading) -> Vec<Defect> {
    let mut defects = Vec::new();
    for track in reading.tracks.iter().filter(|t| t.kind != TrackKind::Data && !t.is_cover) {
        let number = track.number;
        if track.packets == 0 {
            defects.push(Defect::EmptyTrack { track: number, codec: track.codec.clone() });
        } else if track.kind == TrackKind::Video && track.keyframes == 0 {
            defects.push(Defect::NoKeyframe);
        }
        defects.extend(gap_defects(number, &track.gaps, track.first_dts_ms));
    }
    let spans: Vec<TrackSpan> = reading.tracks.iter().map(|track| span(track, track.first_dts_ms)).collect();
    drop_still_pictures(&mut defects, &spans);
    defects
}

/// Where a track lies; the places of its gaps count from an origin.
pub(super) fn span(track: &TrackReading, origin_ms: i64) -> TrackSpan {
    TrackSpan {
        track: track.number,
        kind: track.kind,
        packets: track.packets,
        origin_ms,
        from_ms: track.first_dts_ms,
        to_ms: track.last_dts_ms,
    }
}

/// Gaps as defects; `start_ms` is where the track's timeline begins.
pub(super) fn gap_defects(track: u32, gaps: &[(i64, i64)], start_ms: i64) -> Vec<Defect> {
    const NAMED: usize = 16;
    gaps.iter()
        .take(NAMED)
        .map(|(at_ms, length_ms)| Defect::TimestampGap { track, at_ms: at_ms - start_ms, length_ms: *length_ms })
        .collect()
}
