//! `queue list | retry | gc`: what waits for delivery, what failed, what is quarantined.

use std::io;

use serde_json::json;

use super::super::args::QueueCommand;
use super::super::executor::Executor;
use super::super::exit::Exit;
use super::super::output::Output;
use super::super::table::Table;
use super::CommandError;
use crate::clock::Clock;
use crate::operations::{CollectUploads, ListQueue, NotFreed, Queue, RetryDeliveries, StoppedRecording, Upload};
use crate::recording::DeliveryState;
use crate::recording::journey::Step;
use crate::recording::name::{format_time, printable_text};

/// Runs one of them.
pub fn run(executor: &Executor, command: &QueueCommand, out: &mut Output<'_>) -> Result<Exit, CommandError> {
    match command {
        QueueCommand::List { all } => {
            list(executor, *all, out)?;
        }
        QueueCommand::Retry { ids, queue } => {
            // Files that the catalogue knows have names that are text.
            let directory = std::env::current_dir().ok().filter(|directory| directory.to_str().is_some());
            let wanted = RetryDeliveries { ids: ids.clone(), directory, queue: *queue, ..RetryDeliveries::default() };
            let retried = executor.ask(&wanted)?;
            let printed = if out.is_json {
                out.json(&retried)
            } else {
                writeln!(out.out, "Deliveries queued for retry: {}.", retried.retried)
            };
            printed.map_err(CommandError::output)?;
        }
        QueueCommand::Gc { yes } => gc(executor, *yes, out)?,
    }
    Ok(Exit::Done)
}

/// When a delivery is tried next and why it waits, in words; its target may wait as a whole.
pub fn next_try(state: &DeliveryState, target_waits_until: Option<i64>) -> (String, String) {
    match state {
        DeliveryState::Waiting { due_ms, last_fault } => (
            when(target_waits_until.map_or(*due_ms, |until| until.max(*due_ms))),
            last_fault.as_ref().map_or_else(String::new, |(_, message)| message.clone()),
        ),
        DeliveryState::Stuck { message } => ("manual".to_owned(), message.clone()),
        DeliveryState::Delivered { .. } => ("delivered".to_owned(), String::new()),
    }
}

fn when(due_ms: i64) -> String {
    let zone = jiff::tz::TimeZone::system();
    if due_ms <= Clock::default().now_ms() {
        "now".to_owned()
    } else {
        format_time(due_ms, &zone, "%H:%M:%S").unwrap_or_default()
    }
}

/// Entries that are asked for at once.
const PAGE: usize = 1000;

/// Prints the whole queue, page by page.
fn list(executor: &Executor, all: bool, out: &mut Output<'_>) -> Result<(), CommandError> {
    let mut table = Table::new(&["ITEM", "STATE", ">TRIES", "NEXT TRY", "REASON"]);
    let mut wanted = ListQueue { all, limit: PAGE, after: None };
    loop {
        let mut queue = executor.ask(&wanted)?;
        wanted.after = queue.next.take();
        let printed = queue.unreadable.iter().try_for_each(|words| writeln!(out.err, "Warning: {words}"));
        let printed = printed.and_then(|()| {
            if out.is_json {
                print_json(&queue, out)
            } else {
                add(&queue, &mut table);
                Ok(())
            }
        });
        printed.map_err(CommandError::output)?;
        if wanted.after.is_none() {
            break;
        }
    }
    if out.is_json { Ok(()) } else { out.table(&table, "Queue is empty.").map_err(CommandError::output) }
}

fn print_json(queue: &Queue, out: &mut Output<'_>) -> io::Result<()> {
    for queued in &queue.deliveries {
        out.json(&json!({ "delivery": queued.delivery }))?;
    }
    queue.recordings.iter().try_for_each(|recording| out.json(recording))?;
    queue.not_freed.iter().try_for_each(|NotFreed { target, root, reason }| {
        out.json(&json!({ "target": target, "root": root, "state": "not_freed", "reason": reason }))
    })
}

fn add(queue: &Queue, table: &mut Table) {
    for queued in &queue.deliveries {
        let delivery = &queued.delivery;
        let (next, why) = next_try(&delivery.state, queued.paused_until_ms);
        let state = if delivery.is_pending() { "pending" } else { "delivered" };
        table.row([&delivery.id, state, &delivery.attempts.to_string(), &next, &why]);
    }
    for recording in &queue.recordings {
        let (next, why) = reason_of(recording);
        let path = recording.path.to_string_lossy();
        table.row([&path, recording.state.as_str(), &recording.attempts.to_string(), &next, &why]);
    }
    for NotFreed { root, reason, .. } in &queue.not_freed {
        table.row([&root.to_string_lossy(), "not freed", "", "", reason]);
    }
}

fn reason_of(recording: &StoppedRecording) -> (String, String) {
    if let Some(postponed) = &recording.postponed {
        return (when(postponed.due_ms), postponed.message.clone());
    }
    match &recording.step {
        Some(Step::Failed { message, due_ms, .. }) => {
            (due_ms.map_or_else(|| "manual".to_owned(), when), message.clone())
        }
        Some(Step::Quarantined { defects }) => {
            ("manual".to_owned(), defects.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))
        }
        _ => ("manual".to_owned(), "existed before the first start (`existing`)".to_owned()),
    }
}

/// Lists the unfinished uploads of every target that are not ours to continue, and aborts them if told so.
fn gc(executor: &Executor, is_confirmed: bool, out: &mut Output<'_>) -> Result<(), CommandError> {
    let found = executor.perform(&CollectUploads { abort: is_confirmed }, |upload| print_upload(&upload, out))?.found;
    let printed = if !out.is_json && found == 0 {
        writeln!(out.out, "No abandoned uploads.")
    } else if !is_confirmed && found > 0 {
        writeln!(out.err, "Nothing was aborted; use --yes to abort. Other programs may still be writing to these.")
    } else {
        Ok(())
    };
    printed.map_err(CommandError::output)
}

fn print_upload(upload: &Upload, out: &mut Output<'_>) -> io::Result<()> {
    if out.is_json {
        return out.json(upload);
    }
    let did = if upload.aborted { "aborted" } else { "open" };
    let (key, begun) = (printable_text(&upload.key), printable_text(&upload.begun));
    writeln!(out.out, "{did}  {}  {key}  since {begun}", upload.target)
}
