//! `process` and `recover`: everything in the given paths to its end, once.

use std::io;
use std::path::Path;

use serde_json::json;

use super::super::executor::Executor;
use super::super::exit::Exit;
use super::super::output::Output;
use super::CommandError;
use crate::fault::Class;
use crate::human;
use crate::operations::{NotSettled, OperationError, Plan, Process, ProcessReport, Processed};
use crate::pipeline::JourneyOutcome;
use crate::recording::name::{printable, printable_text};
use crate::recording::{Delivery, DeliveryState, VodRecord, counted};

/// Runs the batch and prints each recording's end as it comes.
pub fn run(executor: &Executor, process: &Process, out: &mut Output<'_>) -> Result<Exit, CommandError> {
    let mut ends = OutcomeCounts::default();
    let report = executor.perform(process, |processed| {
        ends.count(&processed.ended);
        // Who does not read on wants the rest done all the same.
        let _ = print_ended(&processed, out);
        Ok(())
    })?;
    print_rest(out, &report, &ends).map_err(CommandError::output)?;
    Ok(exit_of(&report, ends.worst))
}

/// How many recordings ended in which state, and the worst of what that means for the exit code.
#[derive(Debug, Default)]
struct OutcomeCounts {
    counts: [(usize, &'static str); STATES.len()],
    worst: Exit,
}

const STATES: [&str; 6] = ["finished", "already finished", "quarantined", "left out", "postponed", "failed"];

impl OutcomeCounts {
    fn count(&mut self, ended: &JourneyOutcome) {
        for (count, state) in self.counts.iter_mut().zip(STATES).filter(|(_, state)| *state == state_of(ended)) {
            *count = (count.0 + 1, state);
        }
        self.worst = self.worst.merge(match ended {
            JourneyOutcome::Postponed { class, .. } | JourneyOutcome::Failed { class, .. } => Exit::of_class(*class),
            JourneyOutcome::Quarantined { .. } => Exit::SomeFailed,
            _ => Exit::Done,
        });
    }
}

/// The longest plan is as long.
const PLAN_WIDTH: usize = "move sample tables to front".len();

/// Prints what a run would do; nothing is journalled, written or asked of a store.
pub fn dry_run(executor: &Executor, plan: &Plan, out: &mut Output<'_>) -> Result<Exit, CommandError> {
    let planned = executor.ask(plan)?;
    for item in &planned.items {
        if out.is_json {
            out.json(item).map_err(CommandError::output)?;
            continue;
        }
        let to = item.to.as_deref().map(|to| format!(" → {}", printable(to))).unwrap_or_default();
        writeln!(out.out, "{:<PLAN_WIDTH$}  {}{to}", item.plan, printable(&item.path)).map_err(CommandError::output)?;
        for defect in &item.defects {
            writeln!(out.out, "{:PLAN_WIDTH$}  {defect}", "").map_err(CommandError::output)?;
        }
    }
    for problem in &planned.problems {
        let (message, hint) = (&problem.detail, problem.next_step.as_deref().unwrap_or_default());
        writeln!(out.err, "{:<PLAN_WIDTH$}  {}  {}", "unreadable", printable_text(message), printable_text(hint))
            .map_err(CommandError::output)?;
    }
    writeln!(out.err, "Nothing was done.").map_err(CommandError::output)?;
    Ok(worst_of(&planned.problems))
}

fn worst_of(problems: &[OperationError]) -> Exit {
    problems.iter().map(|problem| Exit::of_class(problem.class)).fold(Exit::Done, Exit::merge)
}

const fn state_of(ended: &JourneyOutcome) -> &'static str {
    match ended {
        JourneyOutcome::Finished { .. } => "finished",
        JourneyOutcome::AlreadyFinished { .. } => "already finished",
        JourneyOutcome::Quarantined { .. } => "quarantined",
        JourneyOutcome::LeftOut => "left out",
        JourneyOutcome::Postponed { .. } => "postponed",
        JourneyOutcome::Failed { .. } => "failed",
    }
}

fn print_ended(processed: &Processed, out: &mut Output<'_>) -> io::Result<()> {
    if out.is_json {
        return out.json(processed);
    }
    let (path, ended) = (printable(&processed.path), &processed.ended);
    match ended {
        JourneyOutcome::Finished { vod } => print_finished(out, &path, vod),
        JourneyOutcome::AlreadyFinished { .. } => writeln!(out.out, "already finished  {path}"),
        JourneyOutcome::LeftOut => writeln!(out.out, "left out          {path}  (use --again to process it)"),
        JourneyOutcome::Quarantined { defects } => {
            writeln!(out.out, "quarantined       {path}")?;
            defects.iter().try_for_each(|d| writeln!(out.out, "                    {d}"))
        }
        JourneyOutcome::Postponed { message, hint, .. } | JourneyOutcome::Failed { message, hint, .. } => {
            writeln!(out.out, "{:<16}  {path}", state_of(ended))?;
            writeln!(out.out, "                    {message}")?;
            hint.iter().try_for_each(|hint| writeln!(out.out, "                    {}", printable_text(hint)))
        }
    }
}

fn print_finished(out: &mut Output<'_>, path: &str, vod: &VodRecord) -> io::Result<()> {
    let (length, size) = (human::duration(vod.duration), human::size(vod.file_size));
    let to = printable(Path::new(&vod.vod_name));
    writeln!(out.out, "finished          {path} → {to}  {length}  {size}  {}", vod.outcome.name())?;
    vod.defects.iter().try_for_each(|d| writeln!(out.out, "                    {d}"))?;
    let original = vod.original_path.iter().map(|p| printable(p.as_path()));
    original.into_iter().try_for_each(|p| writeln!(out.out, "                    original kept: {p}"))
}

fn print_rest(out: &mut Output<'_>, report: &ProcessReport, ends: &OutcomeCounts) -> io::Result<()> {
    for NotSettled { path, message } in &report.not_settled {
        if out.is_json {
            out.json(&json!({ "path": path, "state": "not settled", "message": message }))?;
        } else {
            writeln!(out.out, "not settled       {}: {message}", printable(path))?;
        }
    }
    for path in &report.unhandled {
        if out.is_json {
            out.json(&json!({ "path": path, "state": "not handled" }))?;
        } else {
            writeln!(out.out, "not handled       {}", printable(path))?;
        }
    }
    for OperationError { detail, next_step, .. } in &report.problems {
        if out.is_json {
            out.json(&json!({ "state": "unreadable", "message": detail, "hint": next_step }))?;
        } else {
            writeln!(out.out, "unreadable        {}", printable_text(detail))?;
            next_step.iter().try_for_each(|hint| writeln!(out.out, "                    {}", printable_text(hint)))?;
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
    if out.is_json { Ok(()) } else { print_sum(out, report, ends) }
}

fn print_sum(out: &mut Output<'_>, report: &ProcessReport, ends: &OutcomeCounts) -> io::Result<()> {
    let rest = [(report.not_settled.len(), "not settled"), (report.unhandled.len(), "not handled")];
    let all = ends.counts.iter().chain(&rest).filter(|(count, _)| *count > 0);
    let mut said: Vec<_> = all.map(|(count, state)| format!("{count} {state}")).collect();
    if !report.undelivered.is_empty() {
        said.push(format!("{} pending", counted(report.undelivered.len() as u64, "delivery")));
    }
    if said.is_empty() {
        return writeln!(out.err, "No recording found.");
    }
    writeln!(out.err, "{}.", said.join(", "))
}

/// 130 when interrupted, 5 when the surroundings were in the way, 4 when recordings failed, else 0.
fn exit_of(report: &ProcessReport, of_ends: Exit) -> Exit {
    let of_delivery = |delivery: &Delivery| match &delivery.state {
        DeliveryState::Waiting { last_fault: Some((Class::Environment | Class::Transient, _)), .. } => {
            Exit::Environment
        }
        DeliveryState::Waiting { .. } | DeliveryState::Stuck { .. } => Exit::SomeFailed,
        DeliveryState::Delivered { .. } => Exit::Done,
    };
    let of_deliveries = report.undelivered.iter().map(of_delivery).fold(Exit::Done, Exit::merge);
    let worst = of_ends.merge(worst_of(&report.problems)).merge(of_deliveries);
    if report.is_interrupted { Exit::Interrupted } else { worst }
}
