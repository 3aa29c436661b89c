//! What goes into an output before its first packet: tracks, covers and attached files, metadata, and how the muxer writes it.

use super::attempt::unreadable;
use super::track::{ExclusionReason, RemuxTrack, TrackRoute};
use super::{AttemptHints, HeaderPlacement, Remux};
use crate::isobmff::Tags;
use crate::media::ffi::source::StreamFacts;
use crate::media::ffi::{MediaSource, Sink};
use crate::media::fits::fits_as_cover;
use crate::media::probe::created_ms;
use crate::media::{MediaError, fits};
use crate::recording::{Container, Defect, TrackKind};

/// Decides where a track goes and makes it in the output.
pub(super) fn lay_out(
    request: &Remux<'_>,
    known: &MediaSource,
    sink: &mut Sink,
    facts: &StreamFacts,
    lessons: &AttemptHints,
) -> Result<TrackRoute, MediaError> {
    if facts.attached.is_some() || facts.is_picture {
        return lay_out_extra(request, known, sink, facts);
    }
    let is_media = matches!(facts.kind, TrackKind::Video | TrackKind::Audio);
    if is_media && (lessons.silent.contains(&facts.index) || !facts.is_described()) {
        return Ok(TrackRoute::Unknown);
    }
    if fits(&facts.codec, request.to) && facts.kind != TrackKind::Data {
        return sink.add_track(known, facts.index).map(TrackRoute::Output);
    }
    if !is_media {
        return Ok(TrackRoute::LeftOut(ExclusionReason::NotCarried));
    }
    Err(MediaError::DoesNotFit {
        path: request.source.to_owned(),
        track: facts.number(),
        codec: facts.codec.clone(),
        container: request.to,
    })
}

/// The same for a cover and for a file that is attached.
fn lay_out_extra(
    request: &Remux<'_>,
    known: &MediaSource,
    sink: &mut Sink,
    facts: &StreamFacts,
) -> Result<TrackRoute, MediaError> {
    match request.to {
        Container::Matroska => sink.attach(known, facts.index).map(|()| TrackRoute::Attached),
        to if facts.is_picture && fits_as_cover(&facts.codec, to) => {
            sink.add_track(known, facts.index).map(TrackRoute::Output)
        }
        _ => Ok(TrackRoute::LeftOut(ExclusionReason::NotCarried)),
    }
}

/// The first picture track that is no cover art decides where the file begins.
pub(super) fn lead(tracks: &[RemuxTrack]) -> Option<usize> {
    let is_lead = |t: &&RemuxTrack| t.facts.kind == TrackKind::Video && !t.facts.is_picture && t.is_output();
    tracks.iter().find(is_lead).map(|t| t.facts.index)
}

pub(super) fn begin_output(
    request: &Remux<'_>,
    source: &MediaSource,
    sink: &mut Sink,
    tracks: &[RemuxTrack],
) -> Result<(), MediaError> {
    if !tracks.iter().any(RemuxTrack::is_output) {
        return match tracks.iter().find(|t| t.is_main_media()) {
            Some(track) => Err(unreadable(request, &track.facts)),
            None => Err(MediaError::unfinishable(request.source, nothing_in(source))),
        };
    }
    if request.header == HeaderPlacement::Fragments {
        sink.write_unbuffered();
    }
    sink.begin(&metadata(request, source), options(request))
}

pub(super) fn nothing_in(source: &MediaSource) -> Defect {
    if source.size_bytes == 0 { Defect::Empty } else { Defect::NoPackets }
}

/// Whether the muxer writes chapters that it is given at the end.
pub(super) fn carries_chapters(request: &Remux<'_>) -> bool {
    match request.to {
        Container::Mp4 | Container::Mov => request.header == HeaderPlacement::First,
        Container::Matroska | Container::Webm => true,
        _ => false,
    }
}

/// What FFmpeg's muxer calls a programme that nobody named.
const UNNAMED: [&str; 2] = ["Service01", "FFmpeg"];

/// The name of the only programme and of who sends it, under the names that other containers have for them.
fn programme(source: &MediaSource) -> Vec<(String, String)> {
    let mut programmes = source.programmes();
    let Some(only) = programmes.pop().filter(|_| programmes.is_empty()) else { return Vec::new() };
    let named = |(key, value): (String, String)| {
        let key = match key.as_str() {
            "service_name" => "title",
            "service_provider" => "network",
            _ => return None,
        };
        (!value.is_empty() && !UNNAMED.contains(&value.as_str())).then(|| (key.to_owned(), value))
    };
    only.into_iter().filter_map(named).collect()
}

/// Metadata of the container that stays true, which is what an MP4 has a place for, and the time of the recording.
fn metadata(request: &Remux<'_>, source: &MediaSource) -> Vec<(String, String)> {
    let mut kept = source.metadata();
    for (key, value) in programme(source) {
        if !kept.iter().any(|(other, _)| other.eq_ignore_ascii_case(&key)) {
            kept.push((key, value));
        }
    }
    kept.retain(|(key, _)| key == "creation_time" || Tags::known(key.as_bytes()).is_some());
    if created_ms(&kept).is_none() {
        kept.retain(|(key, _)| key != "creation_time");
        let created = request.created_ms.and_then(|ms| jiff::Timestamp::from_millisecond(ms).ok());
        kept.extend(created.map(|at| ("creation_time".to_owned(), format!("{at:.6}"))));
    }
    kept
}

fn options(request: &Remux<'_>) -> &'static [(&'static str, &'static str)] {
    match (request.to, request.header) {
        (Container::Mp4 | Container::Mov, HeaderPlacement::First) => &[("movflags", "+faststart"), ("write_tmcd", "0")],
        // The first fragment lies before `moov`, so that its packets say what the edit lists must and what ADTS said. An
        // empty `moov` would come too early for both; an index of the fragments is not needed.
        (Container::Mp4 | Container::Mov, HeaderPlacement::Fragments) => &[
            ("movflags", "+default_base_moof+skip_trailer"),
            ("use_editlist", "1"),
            ("frag_duration", "2000000"),
            ("frag_size", "1048576"),
            ("write_tmcd", "0"),
        ],
        _ => &[],
    }
}
