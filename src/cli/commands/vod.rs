//! `vod list | show | delete | verify | export`.

use std::io;
use std::path::Path;

use jiff::tz::TimeZone;
use serde_json::json;

use super::super::args::{ExportFormat, VodCommand};
use super::super::executor::Executor;
use super::super::exit::Exit;
use super::super::output::Output;
use super::super::sheet;
use super::super::table::Table;
use super::CommandError;
use crate::human;
use crate::operations::{
    DeleteVod, DeletedFile, DeletedObject, Deletion, ErrorKind, ExportVods, ListVods, ListedVod, ShowVod, Verified,
    VerifyVods, VodPage,
};
use crate::recording::VodRecord;
use crate::recording::name::{format_time, printable, printable_text};

/// Runs one of them; times are shown in a zone.
pub fn run(
    executor: &Executor,
    command: &VodCommand,
    zone: &TimeZone,
    out: &mut Output<'_>,
) -> Result<Exit, CommandError> {
    match command {
        VodCommand::List { stream, limit, after, oldest_first, node } => {
            let (stream, after, node) = (stream.clone(), after.clone(), node.clone());
            let (limit, oldest_first) = (*limit, *oldest_first);
            let wanted = ListVods { stream, limit, after, oldest_first, node, ..ListVods::default() };
            list(executor, wanted, zone, out)
        }
        VodCommand::Show { id } => show(executor, id, zone, out),
        VodCommand::Delete { ids, yes, keep_file, keep_objects, queue } => {
            ids.iter().try_fold(Exit::Done, |exit, id| {
                let (id, keep_file, keep_objects, queue) = (id.clone(), *keep_file, *keep_objects, *queue);
                let wanted = DeleteVod { id, keep_file, keep_objects, dry_run: true, queue };
                Ok(exit.merge(delete(executor, wanted, *yes, out)?))
            })
        }
        VodCommand::Verify { ids, download, sample, queue } => {
            let (ids, download, sample_percent, queue) = (ids.clone(), *download, *sample, *queue);
            verify(executor, &VerifyVods { ids, download, sample_percent, queue }, out)
        }
        VodCommand::Export { format } => export(executor, *format, out),
    }
}

/// Prints as many VoDs as are wanted, page by page.
fn list(
    executor: &Executor,
    mut wanted: ListVods,
    zone: &TimeZone,
    out: &mut Output<'_>,
) -> Result<Exit, CommandError> {
    let (mut vods, mut exit) = (Vec::new(), Exit::Done);
    loop {
        let VodPage { items, next, unreadable, .. } = executor.ask(&wanted)?;
        for words in &unreadable {
            writeln!(out.err, "Warning: {words}").map_err(CommandError::output)?;
            exit = Exit::SomeFailed;
        }
        wanted.limit = wanted.limit.saturating_sub(items.len() + unreadable.len());
        vods.extend(items);
        wanted.after = next;
        if wanted.after.is_none() || wanted.limit == 0 {
            break;
        }
    }
    print_list(&vods, zone, out).map_err(CommandError::output)?;
    if let Some(next) = &wanted.after {
        writeln!(out.err, "More VoDs: --after {next}").map_err(CommandError::output)?;
    }
    Ok(exit)
}

fn print_list(vods: &[ListedVod], zone: &TimeZone, out: &mut Output<'_>) -> io::Result<()> {
    if out.is_json {
        return vods.iter().try_for_each(|vod| out.json(vod));
    }
    out.table(&table_of(vods, zone), "The catalogue is empty.")
}

fn table_of(vods: &[ListedVod], zone: &TimeZone) -> Table {
    let has_nodes = vods.iter().any(|vod| vod.node.is_some());
    let columns = ["ID", "STREAM", "NAME", "START", ">LENGTH", ">SIZE", "MEDIA", "OUTCOME", "WHERE"];
    let columns: Vec<_> = columns.into_iter().chain(has_nodes.then_some("NODE")).collect();
    let mut table = Table::new(&columns);
    for vod in vods {
        let row = [
            vod.vod_id.clone(),
            vod.stream_id.clone(),
            vod.vod_name.clone(),
            format_time(vod.start_time, zone, "%Y-%m-%d %H:%M:%S").unwrap_or_default(),
            human::duration(vod.duration),
            human::size(vod.file_size),
            media_of(vod),
            format!("{}{}", vod.outcome.name(), if vod.defects.is_empty() { "" } else { ", with defects" }),
            places_of(vod),
        ];
        table.row(row.into_iter().chain(has_nodes.then(|| node_of(vod))));
    }
    table
}

/// A serialised enum's own word.
fn word(value: &impl serde::Serialize) -> String {
    serde_json::to_value(value).ok().and_then(|v| v.as_str().map(str::to_owned)).unwrap_or_default()
}

fn media_of(vod: &VodRecord) -> String {
    let codecs: Vec<_> = vod.tracks.iter().map(|t| t.codec.as_str()).collect();
    let size = vod.tracks.iter().find_map(|t| Some((t.width?, t.height?)));
    let size = size.map(|(w, h)| format!(" {w}x{h}")).unwrap_or_default();
    format!("{} {}{size}", vod.container.extension(), codecs.join("+"))
}

/// Name of the node, and whether it is away.
fn node_of(vod: &ListedVod) -> String {
    let Some(node) = &vod.node else { return String::new() };
    let name = printable_text(&node.name);
    match (node.is_alive, node.unknown_since_ms) {
        (_, Some(_)) => format!("{name} (unknown there)"),
        (false, None) => format!("{name} (away)"),
        (true, None) => name,
    }
}

fn places_of(vod: &VodRecord) -> String {
    let local = vod.freed_at.is_none().then_some("local");
    let places: Vec<_> = local.into_iter().chain(vod.remote.iter().map(|r| r.target.as_str())).collect();
    places.join(", ")
}

fn show(executor: &Executor, id: &str, zone: &TimeZone, out: &mut Output<'_>) -> Result<Exit, CommandError> {
    let vod = executor.ask(&ShowVod { id: id.to_owned() })?;
    let printed = if out.is_json { out.json(&vod) } else { sheet::print(&vod, zone, out) };
    printed.map_err(CommandError::output)?;
    Ok(Exit::Done)
}

/// What will go is printed before anything goes: a deletion that fails halfway has said what it may have removed.
fn delete(
    executor: &Executor,
    wanted: DeleteVod,
    is_confirmed: bool,
    out: &mut Output<'_>,
) -> Result<Exit, CommandError> {
    let planned = match executor.ask(&DeleteVod { queue: false, ..wanted.clone() }) {
        // A node that is away cannot say what would go.
        Err(CommandError::Operation(error)) if error.kind == ErrorKind::NodeAway && wanted.queue && is_confirmed => {
            return executor.ask(&DeleteVod { dry_run: false, ..wanted }).map(|_| Exit::Done);
        }
        planned => planned?,
    };
    let verb = if is_confirmed { "Deleting" } else { "Would delete" };
    print_planned(&planned, verb, out).map_err(CommandError::output)?;
    if !is_confirmed {
        writeln!(out.err, "Nothing was deleted; use --yes to delete.").map_err(CommandError::output)?;
        return Ok(Exit::Done);
    }
    let deletion = executor.ask(&DeleteVod { dry_run: false, ..wanted })?;
    let exit = print_what_was_left(&deletion, out).map_err(CommandError::output)?;
    if out.is_json {
        out.json(&json!({ "vodId": deletion.vod_id, "state": "deleted" })).map_err(CommandError::output)?;
    }
    Ok(exit)
}

fn print_planned(deletion: &Deletion, verb: &str, out: &mut Output<'_>) -> io::Result<()> {
    for DeletedObject { url, also_of, other_node, .. } in &deletion.objects {
        let url = printable_text(url);
        match also_of {
            Some(other) => {
                let other = printable_text(other);
                let on = other_node
                    .as_ref()
                    .map_or_else(String::new, |node| format!(" on the node {}", printable_text(node)));
                writeln!(out.err, "Keeping {url}: VoD {other}{on} also references it")
            }
            None => writeln!(out.err, "{verb} {url}"),
        }?;
    }
    deletion.file.iter().try_for_each(|file| writeln!(out.err, "{verb} {}", printable(&file.path)))
}

fn print_what_was_left(deletion: &Deletion, out: &mut Output<'_>) -> io::Result<Exit> {
    let mut exit = Exit::Done;
    for DeletedObject { url, left, .. } in &deletion.objects {
        if let Some(difference) = left {
            let (url, difference) = (printable_text(url), printable_text(difference));
            writeln!(out.err, "Kept {url}: it differs from the delivered object: {difference}")?;
            exit = Exit::SomeFailed;
        }
    }
    if let Some(DeletedFile { path, left: Some(why) }) = &deletion.file {
        writeln!(out.err, "Kept {}: {why}", printable(path))?;
        exit = Exit::SomeFailed;
    }
    Ok(exit)
}

fn verify(executor: &Executor, wanted: &VerifyVods, out: &mut Output<'_>) -> Result<Exit, CommandError> {
    let print = |verified: Verified| {
        if out.is_json {
            return out.json(&verified);
        }
        let (url, message) = (printable_text(&verified.url), printable_text(&verified.message));
        writeln!(out.out, "{}  {url}  {message}", verified.vod_id)
    };
    let counts = executor.perform(wanted, print)?;
    Ok(if counts.different == 0 { Exit::Done } else { Exit::SomeFailed })
}

fn export(executor: &Executor, format: ExportFormat, out: &mut Output<'_>) -> Result<Exit, CommandError> {
    match format {
        ExportFormat::Json => drop(executor.perform(&ExportVods {}, |vod| out.json(&vod))?),
        ExportFormat::Csv => {
            let mut csv = csv::Writer::from_writer(out.out.as_it_is());
            csv.write_record(CSV_COLUMNS).map_err(|error| CommandError::output(io::Error::other(error)))?;
            executor.perform(&ExportVods {}, |vod| csv.write_record(csv_row(&vod)).map_err(io::Error::other))?;
            csv.flush().map_err(CommandError::output)?;
        }
    }
    Ok(Exit::Done)
}

const CSV_COLUMNS: [&str; 14] = [
    "vodId",
    "streamId",
    "vodName",
    "filePath",
    "startTime",
    "creationDate",
    "duration",
    "fileSize",
    "container",
    "codecs",
    "outcome",
    "defects",
    "freedAt",
    "remote",
];

fn csv_row(vod: &VodRecord) -> [String; 14] {
    let join = |words: Vec<String>, by: &str| words.join(by);
    [
        vod.vod_id.clone(),
        vod.stream_id.clone(),
        vod.vod_name.clone(),
        path_text(&vod.file_path),
        vod.start_time.to_string(),
        vod.creation_date.to_string(),
        vod.duration.to_string(),
        vod.file_size.to_string(),
        word(&vod.container),
        join(vod.tracks.iter().map(|t| t.codec.clone()).collect(), "+"),
        vod.outcome.name().to_owned(),
        join(vod.defects.iter().map(ToString::to_string).collect(), "; "),
        vod.freed_at.map(|ms| ms.to_string()).unwrap_or_default(),
        join(vod.remote.iter().map(|r| r.url.clone()).collect(), " "),
    ]
    .map(|cell| printable_text(&cell))
}

fn path_text(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}
