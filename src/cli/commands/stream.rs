//! `stream recording`: whether a stream is being recorded, and the switch of its ingest server. `stream reference`: how it is coded.

use std::io;
use std::path::Path;

use jiff::tz::TimeZone;

use super::super::args::{StreamCommand, Switch};
use super::super::executor::Executor;
use super::super::exit::Exit;
use super::super::output::Output;
use super::super::run::absolute;
use super::super::table::Table;
use super::CommandError;
use crate::discover::OpenFor;
use crate::human;
use crate::operations::{
    RecordingState, ShowRecording, StreamRecording, SwitchRecording, SwitchedRecording, TeachStream,
};
use crate::recording::counted;
use crate::recording::name::{format_time, printable, printable_text};

/// Runs it; times are shown in a zone.
pub fn run(
    executor: &Executor,
    command: &StreamCommand,
    zone: &TimeZone,
    out: &mut Output<'_>,
) -> Result<Exit, CommandError> {
    let (stream, switch, root, format) = match command {
        StreamCommand::Recording { stream, switch, root, format } => (stream, switch, root, format),
        StreamCommand::Reference { stream, file } => return teach(executor, stream, file, out),
    };
    let (id, root) = (stream.clone(), root.as_ref().and_then(|root| absolute(std::slice::from_ref(root)).pop()));
    let printed = match switch {
        None => print(&executor.ask(&ShowRecording { id, root })?, zone, out),
        Some(switch) => {
            let record = *switch == Switch::On;
            let switched = executor.ask(&SwitchRecording { id, record, root, format: format.clone() })?;
            print_switched(&switched, out)
        }
    };
    printed.map_err(CommandError::output)?;
    Ok(Exit::Done)
}

fn teach(executor: &Executor, stream: &str, file: &Path, out: &mut Output<'_>) -> Result<Exit, CommandError> {
    let path = absolute(&[file.to_owned()]).pop().unwrap_or_default();
    let taught = executor.ask(&TeachStream { id: stream.to_owned(), path })?;
    let printed = if out.is_json {
        out.json(&taught)
    } else {
        let stream = printable_text(&taught.stream_id);
        let retried = counted(taught.retried as u64, "quarantined recording");
        writeln!(out.out, "{stream}: codec parameters learned; {retried} to be tried again")
    };
    printed.map_err(CommandError::output)?;
    Ok(Exit::Done)
}

fn print(told: &StreamRecording, zone: &TimeZone, out: &mut Output<'_>) -> io::Result<()> {
    if out.is_json {
        return out.json(told);
    }
    writeln!(out.out, "{}: {}", printable_text(&told.stream_id), name(told.state))?;
    for root in &told.roots {
        writeln!(out.out, "  {}: {}: {}", printable(&root.root), name(root.state), printable_text(&root.detail))?;
    }
    let mut table = Table::new(&["FILE", ">SIZE", "LAST WRITE", "OPEN FOR WRITING"]);
    for file in told.roots.iter().flat_map(|root| &root.files) {
        let written = format_time(file.grown_ms, zone, "%Y-%m-%d %H:%M:%S %Z").unwrap_or_default();
        let open = match file.writer {
            OpenFor::Writing => "yes",
            OpenFor::Nobody => "no",
            OpenFor::Unknown => "unknown",
        };
        table.row([&printable(&file.path), &human::size(file.size_bytes), &written, open]);
    }
    out.table(&table, "No unfinished files of the stream.")
}

fn print_switched(switched: &SwitchedRecording, out: &mut Output<'_>) -> io::Result<()> {
    if out.is_json {
        return out.json(switched);
    }
    let switch = if switched.record { "on" } else { "off" };
    let before = if switched.was_so { ", as before" } else { "" };
    let file = switched.path.as_ref().map_or_else(String::new, |path| format!(" ({})", printable(path)));
    writeln!(
        out.out,
        "{}: recording switched {switch} at `{}`{before}{file}",
        printable_text(&switched.stream_id),
        switched.server
    )
}

const fn name(state: RecordingState) -> &'static str {
    match state {
        RecordingState::Recording => "recording",
        RecordingState::NotRecording => "not recording",
        RecordingState::Unknown => "unknown",
    }
}
