//! `events list | tail | replay`: the log of what happened, and sending it to an endpoint again.

use std::io;

use jiff::tz::TimeZone;

use super::super::args::EventsCommand;
use super::super::executor::Executor;
use super::super::exit::Exit;
use super::super::output::Output;
use super::super::table::Table;
use super::CommandError;
use crate::catalog::LoggedEvent;
use crate::operations::{FollowEvents, ListEvents, LogPage, ReplayEvents};
use crate::recording::Event;
use crate::recording::name::{format_time, printable};

/// Runs one of them; times are shown in a zone.
pub fn run(
    executor: &Executor,
    command: &EventsCommand,
    zone: &TimeZone,
    out: &mut Output<'_>,
) -> Result<Exit, CommandError> {
    match command {
        EventsCommand::List { after, limit, types, streams } => {
            let (types, streams) = (joined(types), joined(streams));
            list(executor, ListEvents { after: *after, limit: *limit, types, streams }, zone, out)
        }
        EventsCommand::Tail { after, types, streams } => {
            let (types, streams) = (joined(types), joined(streams));
            let follow = FollowEvents { after: *after, types, streams, ends: false };
            executor.perform(&follow, |logged| {
                print_one(&logged, zone, out)?;
                // Whoever reads along sees it now.
                out.out.as_it_is().flush()
            })?;
            Ok(Exit::Done)
        }
        EventsCommand::Replay { endpoint, from } => {
            let replay = executor.ask(&ReplayEvents { endpoint: endpoint.clone(), from: *from })?;
            let printed = if out.is_json {
                out.json(&replay)
            } else {
                let (endpoint, from, last) = (&replay.endpoint, replay.from, replay.last);
                writeln!(out.out, "{endpoint}: events {from} to {last} are sent again, as far as it takes them.")
            };
            printed.map_err(CommandError::output)?;
            Ok(Exit::Done)
        }
    }
}

fn joined(patterns: &[String]) -> Option<String> {
    (!patterns.is_empty()).then(|| patterns.join(","))
}

/// Prints as many events as are wanted, page by page.
fn list(
    executor: &Executor,
    mut wanted: ListEvents,
    zone: &TimeZone,
    out: &mut Output<'_>,
) -> Result<Exit, CommandError> {
    let (mut events, mut exit) = (Vec::new(), Exit::Done);
    let is_more = loop {
        let LogPage { items, next, last, lost, unreadable } = executor.ask(&wanted)?;
        if lost > 0 && wanted.after > 0 {
            writeln!(out.err, "Warning: {lost} older events were dropped (`[events]`).")
                .map_err(CommandError::output)?;
        }
        for words in &unreadable {
            writeln!(out.err, "Warning: {words}").map_err(CommandError::output)?;
            exit = Exit::SomeFailed;
        }
        wanted.limit = wanted.limit.saturating_sub(items.len());
        wanted.after = next;
        events.extend(items);
        if next >= last || wanted.limit == 0 {
            break next < last;
        }
    };
    print(&events, zone, out).map_err(CommandError::output)?;
    if is_more {
        writeln!(out.err, "There is more: --after {}", wanted.after).map_err(CommandError::output)?;
    }
    Ok(exit)
}

fn print(events: &[LoggedEvent], zone: &TimeZone, out: &mut Output<'_>) -> io::Result<()> {
    if out.is_json {
        return events.iter().try_for_each(|logged| out.json(logged));
    }
    let mut table = Table::new(&[">NUMBER", "TIME", "TYPE", "STREAM", "SUBJECT"]);
    for logged in events {
        table.row(row(logged, zone));
    }
    out.table(&table, "No events.")
}

fn print_one(logged: &LoggedEvent, zone: &TimeZone, out: &mut Output<'_>) -> io::Result<()> {
    if out.is_json {
        return out.json(logged);
    }
    writeln!(out.out, "{}", row(logged, zone).join("  "))
}

fn row(logged: &LoggedEvent, zone: &TimeZone) -> [String; 5] {
    let LoggedEvent { sequence, at_ms, event } = logged;
    [
        sequence.to_string(),
        format_time(*at_ms, zone, "%Y-%m-%d %H:%M:%S").unwrap_or_default(),
        event.name().to_owned(),
        event.stream_id().unwrap_or_default().to_owned(),
        subject(event),
    ]
}

/// What an event is about, and why, in a few words.
fn subject(event: &Event) -> String {
    match event {
        Event::Available { object, .. } => object.url.clone(),
        Event::Failed { recording, message, .. } => format!("{}: {message}", printable(&recording.path)),
        Event::DeliveryFailed { delivery, message, .. } => format!("{}: {message}", delivery.target),
        Event::TargetPaused { target, message, .. } => format!("{target}: {message}"),
        Event::TargetResumed { target } => target.clone(),
        Event::DiskLow { short_bytes } => format!("{} short", crate::human::size(*short_bytes)),
        other => other.path().map(printable).unwrap_or_default(),
    }
}
