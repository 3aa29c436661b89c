//! `inspect FILE`: what a file holds, what is wrong with it, and what would be done. Needs no catalogue, writes nothing.

use std::path::Path;

use serde_json::json;

use super::super::exit::Exit;
use super::super::human;
use super::super::output::Output;
use super::super::table::Table;
use super::Failure;
use crate::config::Config;
use crate::finish::{self, Action, Description, Inspection, Plan, Validate};
use crate::media::{self, Watch};
use crate::recording::name::printable;
use crate::recording::{Defect, TrackSummary};

/// Runs it.
pub fn run(config: &Config, file: &Path, out: &mut Output<'_>) -> Result<Exit, Failure> {
    let inspection = finish::inspect(file)?;
    let plan = finish::decide(&inspection, &config.finish);
    let description = match (inspection.container, inspection.is_hopeless()) {
        (Some(container), false) => finish::describe(file, container, &Watch { cancel: None, progress: None }).ok(),
        _ => None,
    };
    let mut defects = inspection.defects.clone();
    let found = description.iter().flat_map(|d| d.defects.clone()).chain(decode_errors(config, file, &inspection)?);
    for defect in found {
        if !defects.contains(&defect) {
            defects.push(defect);
        }
    }
    print(file, &inspection, &plan, description.as_ref(), &defects, out).map_err(Failure::output)?;
    Ok(if matches!(plan.action, Action::Quarantine(_)) { Exit::SomeFailed } else { Exit::Done })
}

fn decode_errors(config: &Config, file: &Path, inspection: &Inspection) -> Result<Vec<Defect>, Failure> {
    let Some(container) = inspection.container.filter(|_| config.finish.validate == Validate::Decode) else {
        return Ok(Vec::new());
    };
    if inspection.is_hopeless() {
        return Ok(Vec::new());
    }
    let errors = media::decode_check(file, container, Watch { cancel: None, progress: None })?;
    Ok(errors.into_iter().map(|e| Defect::Undecodable { track: e.track, errors: e.errors }).collect())
}

fn print(
    file: &Path,
    inspection: &Inspection,
    plan: &Plan,
    description: Option<&Description>,
    defects: &[Defect],
    out: &mut Output<'_>,
) -> std::io::Result<()> {
    let shape = inspection.shape().map(|s| format!("{s:?}"));
    if out.is_json {
        return out.json(&json!({
            "path": file, "size": inspection.size_bytes, "container": inspection.container, "shape": shape,
            "duration": description.map(|d| d.duration_ms), "tracks": description.map(|d| &d.tracks),
            "defects": defects, "plan": plan.action.name(), "becomes": plan.container,
        }));
    }
    let container = inspection.container.map_or("no container that is known here", |c| c.extension());
    let shape = shape.map(|s| format!(", {s}")).unwrap_or_default();
    let length = description.map(|d| format!(", {}", human::duration(d.duration_ms))).unwrap_or_default();
    writeln!(out.out, "{}: {container}{shape}, {}{length}", printable(file), human::size(inspection.size_bytes))?;
    if let Some(description) = description {
        out.table(&table_of(&description.tracks), "No tracks.")?;
    }
    for defect in defects {
        writeln!(out.out, "defect: {defect}")?;
    }
    writeln!(out.out, "plan: {}, as {}", plan.action.name(), plan.container.extension())
}

fn table_of(tracks: &[TrackSummary]) -> Table {
    let mut table = Table::new(&[">TRACK", "KIND", "CODEC", ">PACKETS", ">BYTES", ">START", ">LENGTH", "DETAIL"]);
    for (number, track) in (1..).zip(tracks) {
        table.row([
            format!("{number}"),
            format!("{:?}", track.kind).to_lowercase(),
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
    let channels = track.channels.map(|n| format!("{n} channels"));
    let language = track.language.clone();
    [picture, rate, keyframes, sound, channels, language].into_iter().flatten().collect::<Vec<_>>().join(", ")
}
