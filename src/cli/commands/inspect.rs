//! `inspect FILE`: what a file holds, what is wrong with it, and what would be done. Needs no catalogue, writes nothing.

use std::path::Path;

use serde_json::json;

use super::super::exit::Exit;
use super::super::output::Output;
use super::super::table::Table;
use super::CommandError;
use crate::config::Config;
use crate::discover;
use crate::finish::{self, Description, FinishAction, FinishPlan, Inspection, IsoHeader, ValidationLevel};
use crate::human;
use crate::isobmff::{BoxHeader, FileShape, Layout, Track};
use crate::media::{self, PassControl};
use crate::recording::name::printable;
use crate::recording::{Defect, TrackSummary, counted};

/// Runs it.
pub fn run(config: &Config, file: &Path, out: &mut Output<'_>) -> Result<Exit, CommandError> {
    let inspection = finish::inspect(file)?;
    let root = discover::root_of(file, &config.watch.roots).root;
    let keeps_fragments = discover::fragments_of(&root, root.server.name()).are_kept;
    let plan = finish::decide(&inspection, &finish::FinishOptions { keeps_fragments, ..config.finish.clone() });
    let description = match (inspection.container, inspection.is_hopeless()) {
        (Some(container), false) => {
            finish::describe(file, container, &PassControl { cancel: None, progress: None }).ok()
        }
        _ => None,
    };
    let mut defects = inspection.defects.clone();
    let found = description.iter().flat_map(|d| d.defects.clone()).chain(decode_errors(config, file, &inspection)?);
    for defect in found {
        if !defects.contains(&defect) {
            defects.push(defect);
        }
    }
    print(file, &inspection, &plan, description.as_ref(), &defects, out).map_err(CommandError::output)?;
    Ok(if matches!(plan.action, FinishAction::Quarantine(_)) { Exit::SomeFailed } else { Exit::Done })
}

fn decode_errors(config: &Config, file: &Path, inspection: &Inspection) -> Result<Vec<Defect>, CommandError> {
    let Some(container) = inspection.container.filter(|_| config.finish.validate == ValidationLevel::Decode) else {
        return Ok(Vec::new());
    };
    if inspection.is_hopeless() {
        return Ok(Vec::new());
    }
    let errors = media::decode_check(file, container, PassControl { cancel: None, progress: None })?;
    Ok(errors.into_iter().map(|e| Defect::Undecodable { track: e.track, errors: e.errors }).collect())
}

fn print(
    file: &Path,
    inspection: &Inspection,
    plan: &FinishPlan,
    description: Option<&Description>,
    defects: &[Defect],
    out: &mut Output<'_>,
) -> std::io::Result<()> {
    let shape = inspection.shape().map(FileShape::name);
    if out.is_json {
        return out.json(&json!({
            "path": file, "size": inspection.size_bytes, "container": inspection.container, "shape": shape,
            "duration": description.map(|d| d.duration_ms), "tracks": description.map(|d| &d.tracks),
            "boxes": inspection.iso.as_ref().map(|iso| boxes_as_json(&iso.layout)),
            "tables": inspection.movie().map(|m| m.tracks.iter().map(tables_as_json).collect::<Vec<_>>()),
            "startSkew": inspection.iso.as_ref().and_then(|iso| iso.verdict.start_skew_ms),
            "endSkew": inspection.iso.as_ref().and_then(|iso| iso.verdict.end_skew_ms),
            "defects": defects, "plan": plan.action.name(), "becomes": plan.container,
            "writes": written_bytes(inspection, plan),
        }));
    }
    let container = inspection.container.map_or("unknown container format", |c| c.extension());
    let shape = shape.map(|s| format!(", {s}")).unwrap_or_default();
    let length = description.map(|d| format!(", {}", human::duration(d.duration_ms))).unwrap_or_default();
    writeln!(out.out, "{}: {container}{shape}, {}{length}", printable(file), human::size(inspection.size_bytes))?;
    if let Some(description) = description {
        out.table(&table_of(&description.tracks), "No tracks.")?;
    }
    if let Some(IsoHeader { iso, movie }) = inspection.header() {
        out.table(&tables_of(&movie.tracks), "No tables.")?;
        writeln!(out.out, "boxes: {}", boxes_in_words(&iso.layout))?;
        if let Some((start, end)) = iso.verdict.start_skew_ms.zip(iso.verdict.end_skew_ms) {
            writeln!(out.out, "audio/video offset: start {start:+} ms, end {end:+} ms")?;
        }
    }
    if defects.is_empty() {
        writeln!(out.out, "defects: none")?;
    }
    for defect in defects {
        writeln!(out.out, "defect: {defect}")?;
    }
    let writes = written_bytes(inspection, plan).map(|bytes| match bytes {
        0 => ", no new data is written".to_owned(),
        bytes => {
            format!(", writes a {} header; media is not copied where the file system supports it", human::size(bytes))
        }
    });
    let (action, becomes) = (plan.action.name(), plan.container.extension());
    writeln!(out.out, "plan: {action}, as {becomes}{}", writes.unwrap_or_default())
}

/// About how many bytes the plan has to write new, where that is not the media.
fn written_bytes(inspection: &Inspection, plan: &FinishPlan) -> Option<u64> {
    match plan.action {
        FinishAction::Keep => Some(0),
        FinishAction::Front => inspection.movie()?.to_moov(0).ok().map(|moov| moov.len() as u64),
        FinishAction::Index | FinishAction::Remux | FinishAction::Salvage | FinishAction::Quarantine(_) => None,
    }
}

/// Neighbours of one type are counted together: a fragmented file has thousands.
fn boxes_in_words(layout: &Layout) -> String {
    const MOST: usize = 12;
    let alike = |a: &BoxHeader, b: &BoxHeader| a.fourcc == b.fourcc;
    let groups: Vec<_> = layout.boxes.chunk_by(alike).collect();
    let mut words: Vec<String> = groups.iter().take(MOST).map(|group| group_in_words(group, layout.len)).collect();
    if groups.len() > MOST {
        words.push(format!("and {} more", layout.boxes.len() - groups[..MOST].iter().map(|g| g.len()).sum::<usize>()));
    }
    words.extend(layout.garbage_at.map(|at| format!("no valid box from byte {at}")));
    words.join(" · ")
}

fn group_in_words(group: &[BoxHeader], len: u64) -> String {
    let bytes = group.iter().map(|b| b.end().min(len) - b.offset).sum();
    let count = if group.len() > 1 { format!("{} × ", group.len()) } else { String::new() };
    format!("{count}{} {}", group[0].fourcc, human::size(bytes))
}

fn boxes_as_json(layout: &Layout) -> Vec<serde_json::Value> {
    let one = |b: &BoxHeader| json!({ "type": b.fourcc.to_string(), "offset": b.offset, "size": b.size_bytes });
    layout.boxes.iter().map(one).collect()
}

fn tables_as_json(track: &Track) -> serde_json::Value {
    let tables = track.overview();
    json!({
        "timescale": track.timescale(), "sampleDescriptions": tables.descriptions, "timeRuns": tables.time_runs,
        "compositionRuns": tables.composition_runs, "syncSamples": tables.sync_samples, "chunkRuns": tables.chunk_runs,
        "chunks": tables.chunks, "constantSize": tables.constant_size_bytes, "external": tables.is_external,
        "edits": track.edits.iter().map(|e| json!({
            "segmentDuration": e.segment_duration, "mediaTime": e.media_time,
        })).collect::<Vec<_>>(),
    })
}

fn tables_of(tracks: &[Track]) -> Table {
    let columns = [">TRACK", ">CLOCK", ">CHUNKS", ">STSC", ">STTS", ">CTTS", ">SYNC", ">SIZES", ">EDITS", ">STSD"];
    let mut table = Table::new(&columns);
    let or = |count: Option<usize>, none: &str| count.map_or_else(|| none.to_owned(), |n| n.to_string());
    for (number, track) in (1..).zip(tracks) {
        let tables = track.overview();
        table.row([
            format!("{number}"),
            format!("{} Hz", track.timescale()),
            tables.chunks.to_string(),
            tables.chunk_runs.to_string(),
            tables.time_runs.to_string(),
            or(tables.composition_runs, "-"),
            or(tables.sync_samples, "all"),
            tables.constant_size_bytes.map_or_else(|| "listed".to_owned(), |bytes| format!("{bytes} each")),
            tables.edits.to_string(),
            tables.descriptions.to_string(),
        ]);
    }
    table
}

fn table_of(tracks: &[TrackSummary]) -> Table {
    let mut table = Table::new(&[">TRACK", "KIND", "CODEC", ">PACKETS", ">BYTES", ">START", ">LENGTH", "DETAIL"]);
    for (number, track) in (1..).zip(tracks) {
        table.row([
            format!("{number}"),
            track.kind.name().to_owned(),
            track.codec.clone(),
            track.packets.to_string(),
            human::size(track.bytes),
            format!("{} ms", track.start_ms),
            human::duration(track.duration_ms),
            detail_of(track),
        ]);
    }
    table
}

fn detail_of(track: &TrackSummary) -> String {
    let picture = track.width.zip(track.height).map(|(w, h)| format!("{w}x{h}"));
    let rate = track.frame_rate.map(|r| format!("{r:.2} fps"));
    let keyframes = track.keyframe_interval_ms.map(|ms| format!("keyframe every {ms} ms at most"));
    let sound = track.sample_rate_hz.map(|hz| format!("{hz} Hz"));
    let channels = track.channels.map(|n| counted(u64::from(n), "channel"));
    let language = track.language.clone();
    [picture, rate, keyframes, sound, channels, language].into_iter().flatten().collect::<Vec<_>>().join(", ")
}
