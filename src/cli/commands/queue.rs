//! `queue list | retry | gc`: what waits for delivery, what failed, what is quarantined.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::super::args::QueueCommand;
use super::super::exit::Exit;
use super::super::output::Output;
use super::super::run::absolute;
use super::super::table::Table;
use super::Failure;
use crate::catalog::{CatalogError, DeliveryFilter, Entry, Retry};
use crate::pipeline::{House, now_ms};
use crate::recording::journey::Step;
use crate::recording::name::{format_time, printable_text};
use crate::recording::{Delivery, DeliveryState};
use crate::retain::Refusal;

/// Entries of the journal that are read at once.
const PAGE: usize = 500;

/// Runs one of them.
pub fn run(
    house: &House,
    command: &QueueCommand,
    directory: Option<&Path>,
    out: &mut Output<'_>,
) -> Result<Exit, Failure> {
    match command {
        QueueCommand::List { all } => list(house, *all, out),
        QueueCommand::Retry { ids } => retry(house, ids, directory, out),
        QueueCommand::Gc { yes } => gc(house, *yes, out),
    }
}

/// When a delivery is tried next and why it waits, in words; its target may wait as a whole.
pub fn next_try(state: &DeliveryState, target_waits_until: Option<i64>) -> (String, String) {
    match state {
        DeliveryState::Waiting { due_ms, last_fault } => (
            when(target_waits_until.map_or(*due_ms, |until| until.max(*due_ms))),
            last_fault.as_ref().map_or_else(String::new, |(_, message)| message.clone()),
        ),
        DeliveryState::Stuck { message } => ("by hand".to_owned(), message.clone()),
        DeliveryState::Delivered { .. } => ("delivered".to_owned(), String::new()),
    }
}

fn when(due_ms: i64) -> String {
    let zone = jiff::tz::TimeZone::system();
    if due_ms <= now_ms() { "now".to_owned() } else { format_time(due_ms, &zone, "%H:%M:%S").unwrap_or_default() }
}

fn list(house: &House, all: bool, out: &mut Output<'_>) -> Result<Exit, Failure> {
    let filter = DeliveryFilter { pending_only: !all, ..DeliveryFilter::default() };
    let deliveries = house.catalog.deliveries(&filter)?;
    let (stopped, unreadable) = entries(house, is_stopped)?;
    for error in deliveries.unreadable.iter().chain(&unreadable) {
        writeln!(out.err, "Warning: {}", crate::fault::chain(error)).map_err(Failure::output)?;
    }
    if out.is_json {
        for delivery in &deliveries.items {
            out.json(&json!({ "delivery": delivery })).map_err(Failure::output)?;
        }
        stopped.iter().try_for_each(|e| out.json(&json_of(e))).map_err(Failure::output)?;
        for (path, why) in house.unjournalled() {
            let said = json!({ "path": path, "state": "failed", "attempts": why.tries, "postponed": why });
            out.json(&said).map_err(Failure::output)?;
        }
        for (target, root) in house.shown_roots()? {
            let said =
                json!({ "target": target, "root": root, "state": "not_freed", "reason": not_freed(&target, &root) });
            out.json(&said).map_err(Failure::output)?;
        }
        return Ok(Exit::Done);
    }
    let mut table = Table::new(&["WHAT", "STATE", ">TRIES", "NEXT TRY", "WHY"]);
    for delivery in &deliveries.items {
        let (next, why) = next_try(&delivery.state, house.target_waits_until(&delivery.target));
        let state = if delivery.is_pending() { "waits" } else { "delivered" };
        table.row([delivery.id.clone(), state.to_owned(), delivery.attempts.to_string(), next, why]);
    }
    for entry in &stopped {
        let (next, why) = reason_of(entry);
        let path = entry.settled.path().to_string_lossy().into_owned();
        table.row([path, entry.step.name().to_owned(), entry.attempts.to_string(), next, why]);
    }
    for (path, why) in house.unjournalled() {
        let path = path.to_string_lossy().into_owned();
        table.row([path, "failed".to_owned(), why.tries.to_string(), when(why.due_ms), why.message]);
    }
    for (target, root) in house.shown_roots()? {
        let why = not_freed(&target, &root);
        table.row([root.to_string_lossy().into_owned(), "not freed".to_owned(), String::new(), String::new(), why]);
    }
    out.table(&table, "Nothing waits.").map_err(Failure::output)?;
    Ok(Exit::Done)
}

/// Why nothing of a root is freed by a target.
fn not_freed(target: &str, root: &Path) -> String {
    Refusal::View { target: target.to_owned(), root: root.to_owned() }.to_string()
}

/// Entries of the journal that are wanted, and what of it cannot be read, looked at a page at a time.
fn entries(house: &House, is_wanted: impl Fn(&Entry) -> bool) -> Result<(Vec<Entry>, Vec<CatalogError>), Failure> {
    let (mut wanted, mut unreadable, mut after) = (Vec::new(), Vec::new(), None);
    loop {
        let page = house.catalog.entries(after.as_ref(), PAGE)?;
        wanted.extend(page.items.into_iter().map(|(_, entry)| entry).filter(&is_wanted));
        unreadable.extend(page.unreadable);
        after = page.next;
        if after.is_none() {
            return Ok((wanted, unreadable));
        }
    }
}

const fn is_stopped(entry: &Entry) -> bool {
    entry.postponed.is_some() || matches!(entry.step, Step::Quarantined { .. } | Step::Failed { .. } | Step::LeftOut)
}

fn reason_of(entry: &Entry) -> (String, String) {
    if let Some(postponed) = &entry.postponed {
        return (when(postponed.due_ms), postponed.message.clone());
    }
    match &entry.step {
        Step::Failed { message, due_ms, .. } => (due_ms.map_or_else(|| "by hand".to_owned(), when), message.clone()),
        Step::Quarantined { defects } => {
            ("by hand".to_owned(), defects.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))
        }
        _ => ("by hand".to_owned(), "there before the first start (`existing`)".to_owned()),
    }
}

fn json_of(entry: &Entry) -> Value {
    let mut said = json!({ "path": entry.settled.path(), "state": entry.step.name(), "attempts": entry.attempts, "step": entry.step });
    if let Some(postponed) = &entry.postponed {
        said["postponed"] = json!(postponed);
    }
    said
}

fn retry(house: &House, named: &[String], directory: Option<&Path>, out: &mut Output<'_>) -> Result<Exit, Failure> {
    let mut count = 0;
    if named.is_empty() {
        count += house.catalog.retry(Retry::All, now_ms())?;
    }
    for named in named {
        for id in ids_of(house, named, directory)? {
            count += house.catalog.retry(Retry::One(&id), now_ms())?;
        }
    }
    house.resume_targets();
    if out.is_json {
        out.json(&json!({ "retried": count })).map_err(Failure::output)?;
    } else {
        writeln!(out.out, "{count} due now.").map_err(Failure::output)?;
    }
    Ok(Exit::Done)
}

/// The deliveries that are meant: one by its id, or all of a file.
fn ids_of(house: &House, named: &str, directory: Option<&Path>) -> Result<Vec<String>, Failure> {
    if house.catalog.delivery(named)?.is_some() {
        return Ok(vec![named.to_owned()]);
    }
    let paths = absolute(&[PathBuf::from(named)], directory);
    let is_meant = |delivery: &Delivery| delivery.asset.files.iter().any(|file| paths.contains(&file.path));
    let deliveries = house.catalog.deliveries(&DeliveryFilter::default())?.items.into_iter();
    let ids: Vec<_> = deliveries.filter(is_meant).map(|delivery| delivery.id).collect();
    if !ids.is_empty() {
        return Ok(ids);
    }
    let is_meant = |entry: &Entry| paths.iter().any(|path| entry.settled.path() == path);
    let is_unfinished = !entries(house, is_meant)?.0.is_empty();
    let named = printable_text(named);
    Err(Failure::Usage(if is_unfinished {
        format!("`{named}` is a recording that is not finished; `aftercast recover` tries it again")
    } else {
        format!("no delivery has the id or the file `{named}`; `aftercast queue list` shows them")
    }))
}

/// Lists the unfinished uploads of every target that are not ours to continue, and aborts them if told so.
fn gc(house: &House, is_confirmed: bool, out: &mut Output<'_>) -> Result<Exit, Failure> {
    let targets = house.targets();
    let mut found = 0;
    for name in targets.names() {
        for upload in targets.open_uploads(name, &house.catalog)? {
            found += 1;
            if is_confirmed {
                targets.abort_upload(name, &upload)?;
            }
            if out.is_json {
                let line = json!({ "target": name, "key": upload.key, "uploadId": upload.upload_id, "begun": upload.begun, "aborted": is_confirmed });
                out.json(&line).map_err(Failure::output)?;
            } else {
                let did = if is_confirmed { "aborted" } else { "open" };
                let key = printable_text(&upload.key);
                writeln!(out.out, "{did}  {name}  {key}  since {}", printable_text(&upload.begun))
                    .map_err(Failure::output)?;
            }
        }
    }
    if !out.is_json && found == 0 {
        writeln!(out.out, "No upload is open that nobody will continue.").map_err(Failure::output)?;
    } else if !is_confirmed && found > 0 {
        writeln!(out.err, "Nothing was aborted; --yes aborts. Other programs may still be writing to these.")
            .map_err(Failure::output)?;
    }
    Ok(Exit::Done)
}
