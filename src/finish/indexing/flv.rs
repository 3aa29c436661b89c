//! The movie of a sound FLV file, or what its first tags promise.

use std::io::{self, Read, Seek};

use super::Tables;
use super::configuration;
use super::track::TrackRows;
use crate::isobmff::Movie;
use crate::media::{FlvMetadata, FlvPacket, FlvUnit, FlvWalk, Probe, ProbedTrack, WalkControl, flv_said, walk_flv};
use crate::recording::{Container, Defect, TrackKind};

/// Ticks per second of the movie, those of the container.
const MOVIE_TIMESCALE: u32 = 1000;
/// Sound that begins so long before the first keyframe is a lead of the encoder and stays in the file, before zero.
const LEAD_MS: i64 = 100;
/// Sound that begins so long before or after the first picture is of another clock.
const MOST_APART_MS: i64 = 3600 * 1000;
/// Units that are looked at for the tracks of a file.
const PROBED_UNITS: usize = 256;

/// The tracks by the first tags.
pub(super) fn probe<R: Read + Seek>(reader: R, len: u64) -> io::Result<Option<Probe>> {
    let (mut found, mut units) = (FlvContents::default(), 0);
    let walked = walk_flv(reader, len, |unit| {
        units += 1;
        match found.take(unit) {
            WalkControl::Next if units == PROBED_UNITS || found.has_begun() => WalkControl::Enough,
            taken => taken,
        }
    })?;
    let (tracks, start_ms) = (found.tracks(), found.zero_ms());
    let is_promising = walked == FlvWalk::Sound && !tracks.is_empty();
    let probe = Probe {
        container: Container::Flv,
        size_bytes: len,
        tracks,
        declared_ms: None,
        created_ms: found.said.created_ms,
        start_ms,
        chapters: 0,
    };
    Ok(is_promising.then_some(probe))
}

/// The movie over all tags, at most `most`; `goes_on` hears how far it is and says whether to go on.
pub(super) fn index<R: Read + Seek>(
    reader: R,
    len: u64,
    most: u64,
    goes_on: &dyn Fn(u64) -> bool,
) -> io::Result<Tables> {
    let (mut found, mut units) = (FlvContents::default(), 0);
    let walked = walk_flv(reader, len, |unit| {
        units += u64::from(!matches!(unit, FlvUnit::Metadata(_)));
        let is_here = if let FlvUnit::Packet(packet) = &unit { goes_on(packet.offset) } else { true };
        if units > most || !is_here { WalkControl::Refused } else { found.take(unit) }
    })?;
    Ok(match walked {
        FlvWalk::Sound => found.movie().map_or(Tables::None, |(movie, defects)| Tables::Of(Box::new(movie), defects)),
        FlvWalk::Refused => Tables::None,
        FlvWalk::Unsound(at) => Tables::Unsound(at),
    })
}

/// What was found so far: the picture and the sound track, and what the recording says of itself.
#[derive(Default)]
struct FlvContents {
    said: FlvMetadata,
    pictures: Option<TrackRows>,
    sound: Option<TrackRows>,
}

impl FlvContents {
    fn take(&mut self, unit: FlvUnit<'_>) -> WalkControl {
        let is_taken = match unit {
            FlvUnit::Metadata(values) => {
                self.said = flv_said(values);
                true
            }
            // One track of a kind is all that is indexed.
            FlvUnit::Configuration { track: 1.., .. } | FlvUnit::Packet(FlvPacket { track: 1.., .. }) => false,
            FlvUnit::Configuration { kind, codec, bytes, .. } => self.configure(kind, codec, bytes),
            FlvUnit::Packet(packet) => self.push(packet),
        };
        if is_taken { WalkControl::Next } else { WalkControl::Refused }
    }

    fn rows(&mut self, kind: TrackKind) -> &mut Option<TrackRows> {
        if kind == TrackKind::Video { &mut self.pictures } else { &mut self.sound }
    }

    /// Takes a configuration: the first of its track, or the same again.
    fn configure(&mut self, kind: TrackKind, codec: &str, bytes: &[u8]) -> bool {
        let rows = self.rows(kind);
        if let Some(rows) = rows {
            return rows.track().codec() == codec && rows.is_configured_so(bytes);
        }
        *rows = configuration::track(1, codec, bytes).map(|track| TrackRows::new(track, bytes));
        rows.is_some()
    }

    fn push(&mut self, packet: FlvPacket) -> bool {
        let rows = self.rows(packet.kind).as_mut().filter(|rows| rows.track().codec() == packet.codec);
        rows.is_some_and(|rows| rows.push(packet).unwrap_or(false))
    }

    /// The instant of the file's clock that becomes zero: the first picture, or the first sound where that is earlier by more
    /// than an encoder's lead.
    fn zero_ms(&self) -> Option<i64> {
        let first = |rows: &Option<TrackRows>| rows.as_ref().and_then(|rows| rows.first().copied());
        let presented = |rows| first(rows).map(|packet| packet.dts_ms + packet.composition_ms);
        match (presented(&self.pictures), presented(&self.sound)) {
            (Some(picture), Some(sound)) if picture - sound > LEAD_MS => Some(sound),
            (picture, sound) => picture.or(sound),
        }
    }

    fn has_begun(&self) -> bool {
        [&self.pictures, &self.sound].into_iter().all(|rows| rows.as_ref().is_some_and(|rows| rows.first().is_some()))
    }

    fn movie(self) -> Option<(Movie, Vec<Defect>)> {
        let zero_ms = self.zero_ms()?;
        // How long a single picture lasts is not said, and a track without packets is for others to judge.
        let is_enough = |rows: &Option<TrackRows>, least| rows.as_ref().is_none_or(|rows| rows.count() >= least);
        let apart_ms = |rows: &Option<TrackRows>| rows.as_ref()?.first().map(|packet| packet.dts_ms - zero_ms);
        let is_near = |rows| apart_ms(rows).is_none_or(|ms| ms <= MOST_APART_MS);
        let is_in_time = is_near(&self.pictures) && is_near(&self.sound);
        if !is_enough(&self.pictures, 2) || !is_enough(&self.sound, 1) || !is_in_time {
            return None;
        }
        let (mut tracks, mut defects) = (Vec::new(), Vec::new());
        for (number, rows) in (1..).zip([self.pictures, self.sound].into_iter().flatten()) {
            defects.extend(rows.repairs(number));
            tracks.extend(rows.finish(zero_ms, MOVIE_TIMESCALE).ok()?);
        }
        let mut movie = Movie::of_tracks(MOVIE_TIMESCALE, tracks);
        movie.set_tags(&self.said.tags);
        Some((movie, defects))
    }

    fn tracks(&self) -> Vec<ProbedTrack> {
        let found = [&self.pictures, &self.sound].into_iter().flatten();
        (1..).zip(found).filter_map(|(number, rows)| probed(number, rows)).collect()
    }
}

fn probed(number: u32, rows: &TrackRows) -> Option<ProbedTrack> {
    let track = rows.track();
    let entry = track.entry()?;
    Some(ProbedTrack {
        number,
        kind: track.kind(),
        codec: track.codec(),
        is_cover: false,
        is_readable: true,
        has_extradata: true,
        width: entry.dimensions.map(|(width, _)| u32::from(width)),
        height: entry.dimensions.map(|(_, height)| u32::from(height)),
        frame_rate: None,
        sample_rate_hz: entry.sample_rate_hz,
        channels: entry.channels,
        language: None,
        declared_ms: None,
    })
}
