//! `recover FILE --output OUT`: one file, without the catalogue. The file is only read; OUT appears complete or not at all.

use std::path::Path;
use std::sync::atomic::AtomicBool;

use serde_json::json;

use super::super::args::RecoverArgs;
use super::super::exit::Exit;
use super::super::output::Output;
use super::super::report;
use super::CommandError;
use crate::clock::Clock;
use crate::config::Config;
use crate::cpu_permits::CpuPermit;
use crate::durable;
use crate::finish::{self, Conclusion, FinishOptions};
use crate::human;
use crate::media::apart;
use crate::progress::Progress;
use crate::recording::name::printable;
use crate::recording::{Defect, ParameterSource, SalvageReport, VodRecord};
use crate::salvage::{Origin, Reference};

/// Runs it.
pub fn run(config: &Config, args: &RecoverArgs, out: &mut Output<'_>) -> Result<Exit, CommandError> {
    let [file] = args.process.paths.as_slice() else {
        return Err(CommandError::usage("--output takes one FILE"));
    };
    let absolute = |path: &Path| std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    let (file, output) = (absolute(file), absolute(args.output.as_deref().unwrap_or(Path::new(""))));
    if output.exists() {
        return Err(CommandError::usage(format!("{} already exists; it is not overwritten", printable(&output))));
    }
    let given = args.reference.as_deref().map(given).transpose()?.flatten();
    match finished(config, &file, &output, given.as_ref())? {
        Conclusion::Quarantined(defects) => {
            print_hopeless(&file, &defects, out).map_err(CommandError::output)?;
            Ok(Exit::SomeFailed)
        }
        Conclusion::Finished(finished) => {
            durable::publish(&finished.written_path, &output, &finished.written)?.durably()?;
            print(&finished.record, &output, out).map_err(CommandError::output)?;
            Ok(Exit::Done)
        }
    }
}

/// What the operator's reference teaches. One that teaches nothing is in nobody's way.
fn given(path: &Path) -> Result<Option<Reference>, CommandError> {
    if !path.is_file() {
        return Err(CommandError::usage(format!(
            "{} is not a file; it cannot be used as a reference",
            printable(path)
        )));
    }
    let found = finish::reference_of(path, Origin::Given);
    if found.is_none() {
        report::warn(&format!("{} has no usable codec parameters; it is not used as a reference.", printable(path)));
    }
    Ok(found)
}

fn finished(
    config: &Config,
    file: &Path,
    output: &Path,
    given: Option<&Reference>,
) -> Result<Conclusion, CommandError> {
    let settled = finish::settled_as_given(file)?;
    let options = FinishOptions { keep_original: true, ..config.finish.clone() };
    let work = finish::FinishJob {
        settled: &settled,
        options: &options,
        stop: &AtomicBool::new(false),
        now_ms: Clock::default().now_ms(),
        progress: &Progress::default(),
        cpu_permit: &CpuPermit::alone(),
        owner: &durable::PartialOwner::of_process(),
        decoder: Some(Path::new(apart::THIS_PROGRAM)),
    };
    let prepared = finish::prepare(work)?;
    let stream_id = &settled.candidate().facts.stream_id;
    let references = match given {
        Some(reference) => vec![reference.clone()],
        None if prepared.needs_references() => finish::siblings(file, stream_id),
        None => Vec::new(),
    };
    Ok(finish::finish_beside(prepared, &references, output)?)
}

fn print(record: &VodRecord, output: &Path, out: &mut Output<'_>) -> std::io::Result<()> {
    if out.is_json {
        return out.json(&json!({
            "path": output, "outcome": record.outcome, "salvaged": record.salvaged, "duration": record.duration,
            "size": record.file_size, "tracks": record.tracks, "defects": record.defects,
            "salvage": record.salvage,
        }));
    }
    let (size, length) = (human::size(record.file_size), human::duration(record.duration));
    let outcome = record.outcome.name();
    writeln!(out.out, "{}: {outcome}, {size}, {length}", printable(output))?;
    for (number, track) in (1..).zip(&record.tracks) {
        let length = human::duration(track.duration_ms);
        writeln!(out.out, "track {number}: {}, {} packets, {length}", track.codec, track.packets)?;
    }
    record.defects.iter().try_for_each(|defect| writeln!(out.out, "defect: {defect}"))?;
    record.salvage.as_ref().map_or(Ok(()), |report| print_salvage(report, out))
}

/// What a salvage says about itself.
fn print_salvage(report: &SalvageReport, out: &mut Output<'_>) -> std::io::Result<()> {
    const MOST_GAPS: usize = 10;
    let source = match report.source {
        ParameterSource::Given => "the reference",
        ParameterSource::Stream => "an earlier recording of the stream",
        ParameterSource::Sibling => "a recording beside it",
        ParameterSource::Other => "a recording of another stream or node",
        ParameterSource::Media => "the recording itself",
    };
    let confidence = report.confidence.name();
    writeln!(
        out.out,
        "salvage: parameters from {source}, confidence {confidence}, video timing {}",
        report.frame_rate
    )?;
    for track in &report.tracks {
        let (length, lost) = (human::duration(track.duration_ms), track.lost);
        writeln!(
            out.out,
            "salvage: {} packets of {} in {length}, about {lost} lost in gaps",
            track.packets, track.codec
        )?;
    }
    for gap in report.gaps.iter().take(MOST_GAPS) {
        let doubt = match gap.doubt_ms {
            _ if !gap.is_ambiguous => String::new(),
            ms => format!("; ambiguous, it may be {ms} ms longer or shorter"),
        };
        let (bytes, at) = (gap.bytes, gap.offset);
        let (pictures, sounds) = (gap.lost_pictures, gap.lost_audio);
        writeln!(
            out.out,
            "salvage: {bytes} bytes at {at} not explained, about {pictures} video frames and {sounds} audio frames{doubt}"
        )?;
    }
    if report.guessed_pictures > 0 {
        writeln!(out.out, "salvage: video frames at the end with estimated timestamps: {}", report.guessed_pictures)?;
    }
    if report.gap_count > MOST_GAPS {
        writeln!(out.out, "salvage: {} more places; use --json to list them", report.gap_count - MOST_GAPS)?;
    }
    match report.decode_errors {
        Some(0) => writeln!(out.out, "salvage: no decoding errors at the beginning, middle and end"),
        Some(1) => writeln!(out.out, "salvage: 1 decoding error at the beginning, middle and end"),
        Some(errors) => writeln!(out.out, "salvage: {errors} decoding errors at the beginning, middle and end"),
        None => Ok(()),
    }
}

fn print_hopeless(file: &Path, defects: &[Defect], out: &mut Output<'_>) -> std::io::Result<()> {
    if out.is_json {
        return out.json(&json!({ "path": file, "outcome": "quarantined", "defects": defects }));
    }
    writeln!(out.out, "{}: nothing written; the file is unchanged", printable(file))?;
    defects.iter().try_for_each(|defect| writeln!(out.out, "defect: {defect}"))
}
