//! A VoD's record as a sheet for people: one fact on each line.

use std::io;

use jiff::tz::TimeZone;

use super::output::Output;
use crate::human;
use crate::recording::name::{format_time, printable, printable_text};
use crate::recording::{Outcome, SpliceMethod, StartSource, TrackKind, TrackSummary, VodRecord, counted};

/// Columns that names have.
const NAMES: usize = 13;

/// Prints it.
pub(super) fn print(vod: &VodRecord, zone: &TimeZone, out: &mut Output<'_>) -> io::Result<()> {
    let time = |ms| format_time(ms, zone, "%Y-%m-%d %H:%M:%S %Z").unwrap_or_default();
    writeln!(out.out, "{}", printable_text(&vod.vod_name))?;
    for (name, text) in facts(vod, &time) {
        writeln!(out.out, "  {name:NAMES$} {}", printable_text(&text))?;
    }
    Ok(())
}

type SheetRows = Vec<(&'static str, String)>;

fn facts(vod: &VodRecord, time: &dyn Fn(i64) -> String) -> SheetRows {
    let mut facts = vec![("id", vod.vod_id.clone()), ("stream", stream(vod))];
    facts.extend(vod.description.iter().map(|text| ("description", text.clone())));
    facts.extend(vod.metadata.iter().map(|(name, value)| ("metadata", format!("{name} = {value}"))));
    facts.push(("recorded", format!("{} ({})", time(vod.start_time), of_start(vod.start_source))));
    facts.push(("length", lengths(vod)));
    facts.push(("size", format!("{}, {} kbit/s", human::size(vod.file_size), vod.bitrate / 1_000)));
    facts.extend(vod.tracks.iter().map(|track| (kind(track.kind), of_track(track))));
    facts.push(("file", local(vod, time)));
    facts.extend(vod.remote.iter().map(|copy| {
        let proof = if copy.checksum_compared { "checksum" } else { "size" };
        ("copy", format!("{}, {} compared {}", copy.url, proof, time(copy.verified_ms)))
    }));
    facts.push(("finished", format!("{}, {}", time(vod.creation_date), of_outcome(vod))));
    facts.push(("source", printable(&vod.source_path)));
    facts.extend(vod.original_path.iter().map(|path| ("original kept", printable(path))));
    facts.extend(pictures(vod));
    facts.extend(vod.defects.iter().map(|defect| ("defect", defect.to_string())));
    facts
}

fn pictures(vod: &VodRecord) -> SheetRows {
    let preview = vod.preview_file_path.iter().map(|path| ("poster", printable(path)));
    let sprite = vod.pictures.sprite.iter().map(|sprite| ("sprite sheet", printable(&sprite.file.path)));
    let missing = vod.pictures.missing.iter().map(|why| ("pictures", why.clone()));
    preview.chain(sprite).chain(missing).collect()
}

fn stream(vod: &VodRecord) -> String {
    let name = if vod.stream_name == vod.stream_id { String::new() } else { format!(" ({})", vod.stream_name) };
    let rendition = vod.rendition.as_ref().map(|rendition| format!(", {rendition}")).unwrap_or_default();
    format!("{}{name}{rendition}", vod.stream_id)
}

const fn of_start(source: StartSource) -> &'static str {
    match source {
        StartSource::Name => "from its name",
        StartSource::Container => "from the container",
        StartSource::Mtime => "from its modification time and its length",
    }
}

/// The length, and what else claims to be it where that differs by more than a second.
fn lengths(vod: &VodRecord) -> String {
    let differs = |ms: &&i64| ms.abs_diff(vod.duration) > 1_000;
    let declared = vod.declared_duration.as_ref().filter(differs).map(|ms| ("declared", ms));
    let wall = vod.wall_clock.as_ref().filter(differs).map(|ms| ("by the clock", ms));
    let others = declared.into_iter().chain(wall).map(|(what, ms)| format!("; {what} {}", human::duration(*ms)));
    human::duration(vod.duration) + &others.collect::<String>()
}

const fn kind(kind: TrackKind) -> &'static str {
    match kind {
        TrackKind::Video => "video",
        TrackKind::Audio => "audio",
        TrackKind::Subtitle => "subtitles",
        TrackKind::Data => "data",
    }
}

fn of_track(track: &TrackSummary) -> String {
    let size = track.width.zip(track.height).map(|(width, height)| format!("{width}x{height}"));
    let rate = track.frame_rate.map(|rate| format!("{rate:.5} fps").replace(".00000", ""));
    let every = track.keyframe_interval_ms.map(|ms| format!("keyframe every {} at most", human::duration(ms)));
    let sampled = track.sample_rate_hz.map(|hz| format!("{hz} Hz"));
    let channels = track.channels.map(|channels| counted(u64::from(channels), "channel"));
    let packets = Some(counted(track.packets, "packet"));
    let all = [size, rate, sampled, channels, track.language.clone(), packets, every];
    let parts: Vec<_> = std::iter::once(track.codec.clone()).chain(all.into_iter().flatten()).collect();
    parts.join(", ")
}

fn local(vod: &VodRecord, time: &dyn Fn(i64) -> String) -> String {
    let path = printable(&vod.file_path);
    vod.freed_at.map_or_else(|| path.clone(), |freed| format!("freed {} (was {path})", time(freed)))
}

fn of_outcome(vod: &VodRecord) -> String {
    let how = match vod.outcome {
        Outcome::Kept => "kept as it was",
        Outcome::Spliced => "header moved to the front",
        Outcome::Remuxed => "remuxed",
        Outcome::Salvaged => "sample tables rebuilt from the media",
    };
    let by = vod.splice.map(|method| match method {
        SpliceMethod::InsertRange => " (in place)",
        SpliceMethod::Reflink => " (shared blocks)",
        SpliceMethod::CopyRange => " (copied by the kernel)",
        SpliceMethod::Copy => " (copied)",
    });
    format!("{how}{}", by.unwrap_or_default())
}
