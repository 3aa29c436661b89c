//! `batch start | status | pause | resume | cancel`: what nodes with `aftercast work` work off. It asks the database; no daemon is needed.

use std::io;

use serde_json::json;

use super::super::args::{BatchCommand, Reprocess};
use super::super::exit::Exit;
use super::super::output::Output;
use super::super::table::Table;
use super::CommandError;
use crate::config::Config;
use crate::fleet::{BatchState, BatchStatus, OutcomeCount};
use crate::human;
use crate::operations::{BatchChange, BatchKind, StartBatch, batch_status, change_batch, is_bucket};
use crate::recording::counted;
use crate::recording::name::printable_text;

/// Runs one of them.
pub fn run(config: &Config, command: &BatchCommand, out: &mut Output<'_>) -> Result<Exit, CommandError> {
    match command {
        BatchCommand::Start { root, reprocess, rate } => {
            let typed = root.to_string_lossy();
            let root = if is_bucket(&typed) { root.clone() } else { std::path::absolute(root).unwrap_or_default() };
            let Some(root) = root.to_str().map(str::to_owned) else {
                return Err(CommandError::usage("the path of the directory is not UTF-8"));
            };
            let id = StartBatch { root, kind: kind_of(*reprocess), rate: *rate }.run(config)?;
            let printed = if out.is_json {
                out.json(&json!({ "id": id }))
            } else {
                writeln!(out.out, "Batch {id} started.").and_then(|()| {
                    writeln!(
                        out.err,
                        "Run `aftercast work` on each node; `aftercast batch status {id}` shows the progress."
                    )
                })
            };
            printed.map_err(CommandError::output)?;
        }
        BatchCommand::Status { id: Some(id) } => {
            for status in batch_status(config, Some(*id))? {
                show(&status, out).map_err(CommandError::output)?;
            }
        }
        BatchCommand::Status { id: None } => {
            list(&batch_status(config, None)?, out).map_err(CommandError::output)?;
        }
        BatchCommand::Pause { id } => change(config, *id, BatchChange::Pause, out)?,
        BatchCommand::Resume { id } => change(config, *id, BatchChange::Resume, out)?,
        BatchCommand::Cancel { id } => change(config, *id, BatchChange::Cancel, out)?,
    }
    Ok(Exit::Done)
}

const fn kind_of(reprocess: Option<Reprocess>) -> BatchKind {
    match reprocess {
        None => BatchKind::Finish,
        Some(Reprocess::Salvage) => BatchKind::Salvage,
        Some(Reprocess::Posters) => BatchKind::Posters,
        Some(Reprocess::Verify) => BatchKind::Verify,
        Some(Reprocess::Deliver) => BatchKind::Deliver,
    }
}

fn change(config: &Config, id: i64, change: BatchChange, out: &mut Output<'_>) -> Result<(), CommandError> {
    let status = change_batch(config, id, change)?;
    let printed =
        if out.is_json { out.json(&status) } else { writeln!(out.out, "Batch {id} is {}.", status.state.name()) };
    printed.map_err(CommandError::output)
}

fn list(all: &[BatchStatus], out: &mut Output<'_>) -> io::Result<()> {
    if out.is_json {
        return all.iter().try_for_each(|status| out.json(status));
    }
    let mut table = Table::new(&[">ID", "STATE", "KIND", ">FOUND", ">DONE", ">FAILED", ">LEFT", "TIME LEFT", "ROOT"]);
    for status in all {
        let failed = status.failed + status.quarantined;
        let [id, found, done, failed, left] = [
            status.id.to_string(),
            status.found.to_string(),
            status.done.to_string(),
            failed.to_string(),
            (status.ready + status.leased).to_string(),
        ];
        table.row([
            &id,
            status.state.name(),
            &status.kind,
            &found,
            &done,
            &failed,
            &left,
            &time_left(status),
            &status.root,
        ]);
    }
    out.table(&table, "No batch was started yet.")
}

fn time_left(status: &BatchStatus) -> String {
    let left = status.left_s.filter(|left_s| *left_s > 0);
    left.map_or_else(String::new, |left_s| human::duration(i64::try_from(left_s).unwrap_or(i64::MAX / 1000) * 1000))
}

fn show(status: &BatchStatus, out: &mut Output<'_>) -> io::Result<()> {
    if out.is_json {
        return out.json(status);
    }
    let BatchStatus { id, kind, found, ready, leased, done, failed, quarantined, .. } = status;
    writeln!(out.out, "batch {id}: {kind} {}", printable_text(&status.root))?;
    writeln!(out.out, "state: {}{}", status.state.name(), listing(status))?;
    let ended = done + failed + quarantined;
    writeln!(
        out.out,
        "progress: {ended} of {}, {ready} ready, {leased} claimed by {}",
        counted(*found, "recording"),
        counted(status.nodes, "node")
    )?;
    writeln!(out.out, "done {done}, failed {failed}, quarantined {quarantined}")?;
    if status.state == BatchState::Running {
        let limit = status.rate.map_or_else(String::new, |rate| format!(", at most {rate}"));
        writeln!(out.out, "rate: {:.1} a second{limit}", status.per_second)?;
        let left = time_left(status);
        if !left.is_empty() {
            writeln!(out.out, "time left: {left}")?;
        }
    }
    let mut table = Table::new(&[">COUNT", "STATE", "CLASS", "OUTCOME"]);
    for OutcomeCount { state, class, reason, count } in &status.outcomes {
        if let Some(reason) = reason {
            table.row([&count.to_string(), state, class.as_deref().unwrap_or_default(), reason]);
        }
    }
    if table.is_empty() { Ok(()) } else { out.table(&table, "") }
}

fn listing(status: &BatchStatus) -> &'static str {
    match (status.is_listing_failed, status.is_listed) {
        (true, _) => "; a part of the root could not be listed",
        (false, false) => "; listing",
        (false, true) => "",
    }
}
