//! `process` and `recover`: everything in the given paths to its end, once.

use std::io;
use std::path::Path;

use serde_json::{Value, json};

use super::super::args::ProcessArgs;
use super::super::exit::Exit;
use super::super::human;
use super::super::output::Output;
use super::Failure;
use crate::discover::Mode;
use crate::fault::{Class, Fault, chain};
use crate::pipeline::{self, Batch, Ended, Engine, Place, Report};
use crate::recording::name::{printable, printable_text};
use crate::recording::{DeliveryState, VodRecord};

/// Runs the batch, alone or beside the daemon's own work, and prints each recording's end as it comes.
pub fn run(
    engine: &Engine,
    args: &ProcessArgs,
    (places, mode): (Vec<Place>, Mode),
    is_alone: bool,
    out: &mut Output<'_>,
) -> Result<Exit, Failure> {
    let batch = Batch { places, mode, wait: args.wait, again: args.again, is_alone };
    let printed = std::cell::RefCell::new(out);
    let hear = |path: &Path, ended: &Ended| {
        let _ = print_ended(&mut printed.borrow_mut(), path, ended);
    };
    let report = pipeline::run(engine, &batch, &hear).map_err(Failure::from_engine)?;
    let out = printed.into_inner();
    print_rest(out, &report).map_err(Failure::output)?;
    Ok(exit_of(engine, &report))
}

/// Prints what a run would do; nothing is journalled, written or asked of a store.
pub fn dry_run(engine: &Engine, places: &[Place], mode: Mode, out: &mut Output<'_>) -> Result<Exit, Failure> {
    let planned = pipeline::plan(engine.house(), places, mode)?;
    for item in &planned.items {
        if out.is_json {
            let line = json!({ "path": item.path, "plan": item.plan, "to": item.to, "defects": item.defects });
            out.json(&line).map_err(Failure::output)?;
            continue;
        }
        let to = item.to.as_deref().map(|to| format!(" → {}", printable(to))).unwrap_or_default();
        writeln!(out.out, "{:<19}  {}{to}", item.plan, printable(&item.path)).map_err(Failure::output)?;
        for defect in &item.defects {
            writeln!(out.out, "                     {defect}").map_err(Failure::output)?;
        }
    }
    for problem in &planned.problems {
        let (message, hint) = (chain(problem), problem.hint().unwrap_or_default());
        writeln!(out.err, "unreadable           {}  {}", printable_text(&message), printable_text(&hint))
            .map_err(Failure::output)?;
    }
    writeln!(out.err, "Nothing was done.").map_err(Failure::output)?;
    Ok(planned.problems.iter().map(|p| Exit::of_class(p.class())).fold(Exit::Done, Exit::merge))
}

/// What `process --json` says of one recording.
pub fn json_of(path: &Path, ended: &Ended) -> Value {
    let mut said = json!({ "path": path, "state": state_of(ended) });
    match ended {
        Ended::Finished(vod) => said["vod"] = json!(vod),
        Ended::AlreadyFinished { vod_id } => said["vodId"] = json!(vod_id),
        Ended::Quarantined(defects) => said["defects"] = json!(defects),
        Ended::LeftOut => {}
        Ended::Postponed { vod_id, class, message, hint } => {
            said["vodId"] = json!(vod_id);
            said["class"] = json!(class);
            said["message"] = json!(message);
            said["hint"] = json!(hint);
        }
        Ended::Failed { class, message, hint } => {
            said["class"] = json!(class);
            said["message"] = json!(message);
            said["hint"] = json!(hint);
        }
    }
    said
}

const fn state_of(ended: &Ended) -> &'static str {
    match ended {
        Ended::Finished(_) => "finished",
        Ended::AlreadyFinished { .. } => "already finished",
        Ended::Quarantined(_) => "quarantined",
        Ended::LeftOut => "left out",
        Ended::Postponed { .. } => "postponed",
        Ended::Failed { .. } => "failed",
    }
}

fn print_ended(out: &mut Output<'_>, path: &Path, ended: &Ended) -> io::Result<()> {
    if out.is_json {
        return out.json(&json_of(path, ended));
    }
    let path = printable(path);
    match ended {
        Ended::Finished(vod) => print_finished(out, &path, vod),
        Ended::AlreadyFinished { .. } => writeln!(out.out, "already finished  {path}"),
        Ended::LeftOut => writeln!(out.out, "left out          {path}  (--again takes it)"),
        Ended::Quarantined(defects) => {
            writeln!(out.out, "quarantined       {path}")?;
            defects.iter().try_for_each(|d| writeln!(out.out, "                    {d}"))
        }
        Ended::Postponed { message, hint, .. } | Ended::Failed { message, hint, .. } => {
            writeln!(out.out, "{:<16}  {path}", state_of(ended))?;
            writeln!(out.out, "                    {message}")?;
            hint.iter().try_for_each(|hint| writeln!(out.out, "                    {}", printable_text(hint)))
        }
    }
}

fn print_finished(out: &mut Output<'_>, path: &str, vod: &VodRecord) -> io::Result<()> {
    let (length, size) = (human::duration(vod.duration), human::size(vod.file_size));
    let to = printable(Path::new(&vod.vod_name));
    writeln!(out.out, "finished          {path} → {to}  {length}  {size}  {}", outcome(vod))?;
    vod.defects.iter().try_for_each(|d| writeln!(out.out, "                    {d}"))?;
    let original = vod.original_path.iter().map(|p| printable(p.as_path()));
    original.into_iter().try_for_each(|p| writeln!(out.out, "                    the original stays: {p}"))
}

fn outcome(vod: &VodRecord) -> String {
    serde_json::to_value(vod.outcome).ok().and_then(|v| v.as_str().map(str::to_owned)).unwrap_or_default()
}

fn print_rest(out: &mut Output<'_>, report: &Report) -> io::Result<()> {
    for (path, reason) in &report.not_settled {
        if out.is_json {
            out.json(&json!({ "path": path, "state": "not settled", "message": reason.to_string() }))?;
        } else {
            writeln!(out.out, "not settled       {}: {reason}", printable(path))?;
        }
    }
    for path in &report.unhandled {
        if out.is_json {
            out.json(&json!({ "path": path, "state": "not handled" }))?;
        } else {
            writeln!(out.out, "not handled       {}", printable(path))?;
        }
    }
    for problem in &report.problems {
        let (message, hint) = (chain(problem), problem.hint());
        if out.is_json {
            out.json(&json!({ "state": "unreadable", "message": message, "hint": hint }))?;
        } else {
            writeln!(out.out, "unreadable        {}", printable_text(&message))?;
            hint.iter().try_for_each(|hint| writeln!(out.out, "                    {}", printable_text(hint)))?;
        }
    }
    for delivery in &report.undelivered {
        if out.is_json {
            out.json(&json!({ "state": "undelivered", "delivery": delivery }))?;
        } else {
            let (when, why) = super::queue::next_try(&delivery.state, None);
            writeln!(out.out, "undelivered       {}  next try {when}  {why}", printable_text(&delivery.id))?;
        }
    }
    if out.is_json { Ok(()) } else { print_sum(out, report) }
}

fn print_sum(out: &mut Output<'_>, report: &Report) -> io::Result<()> {
    let count = |state: &str| report.ended.iter().filter(|(_, e)| state_of(e) == state).count();
    let states = ["finished", "already finished", "quarantined", "left out", "postponed", "failed"];
    let counts: Vec<_> = states.into_iter().map(|s| (count(s), s)).filter(|(n, _)| *n > 0).collect();
    let mut said: Vec<_> = counts.iter().map(|(n, s)| format!("{n} {s}")).collect();
    said.extend((!report.not_settled.is_empty()).then(|| format!("{} not settled", report.not_settled.len())));
    said.extend((!report.unhandled.is_empty()).then(|| format!("{} not handled", report.unhandled.len())));
    said.extend((!report.undelivered.is_empty()).then(|| format!("{} deliveries wait", report.undelivered.len())));
    if said.is_empty() {
        return writeln!(out.err, "No recording found.");
    }
    writeln!(out.err, "{}.", said.join(", "))
}

/// 130 when interrupted, 5 when the surroundings were in the way, 4 when recordings failed, else 0.
fn exit_of(engine: &Engine, report: &Report) -> Exit {
    let of_ended = report.ended.iter().map(|(_, ended)| match ended {
        Ended::Postponed { class, .. } | Ended::Failed { class, .. } => Exit::of_class(*class),
        Ended::Quarantined(_) => Exit::SomeFailed,
        _ => Exit::Done,
    });
    let of_problems = report.problems.iter().map(|problem| Exit::of_class(problem.class()));
    let of_deliveries = report.undelivered.iter().map(|d| match &d.state {
        DeliveryState::Waiting { last_fault: Some((Class::Environment | Class::Transient, _)), .. } => {
            Exit::Environment
        }
        DeliveryState::Waiting { .. } | DeliveryState::Stuck { .. } => Exit::SomeFailed,
        DeliveryState::Delivered { .. } => Exit::Done,
    });
    let worst = of_ended.chain(of_problems).chain(of_deliveries).fold(Exit::Done, Exit::merge);
    if engine.house().stop.is_requested() { Exit::Interrupted } else { worst }
}
