//! `work`: takes work from batches, item by item, until nothing is left or it is told to stop.

use super::super::args::WorkArgs;
use super::super::executor::Executor;
use super::super::exit::Exit;
use super::super::output::Output;
use super::CommandError;
use crate::operations::{ErrorKind, OperationError, TakeWork, WorkReport, WorkedItem};
use crate::recording::counted;
use crate::recording::name::printable_text;

/// The longest state is as long.
const STATE_WIDTH: usize = "given back".len();

/// Takes work and prints each item as it ends.
pub fn run(executor: &Executor, args: &WorkArgs, out: &mut Output<'_>) -> Result<Exit, CommandError> {
    let Executor::Here(context) = executor else {
        return Err(CommandError::Operation(in_use()));
    };
    let report = TakeWork { stop_when_empty: args.stop_when_empty }.run(context, &mut |item| {
        // Who does not read on wants the rest done all the same.
        let _ = print(&item, out);
    })?;
    print_sum(&report, out).map_err(CommandError::output)?;
    Ok(exit_of(&report))
}

fn in_use() -> OperationError {
    let in_use = OperationError::transient("the state directory is in use by a daemon; `work` needs one of its own");
    OperationError { kind: ErrorKind::StateInUse, ..in_use }
        .with_next_step("Run it with another `--state-dir DIR`. Nothing was claimed.")
}

fn print(item: &WorkedItem, out: &mut Output<'_>) -> std::io::Result<()> {
    if out.is_json {
        return out.json(item);
    }
    let WorkedItem { batch, item: name, state, message, .. } = item;
    let name = if name.is_empty() { "listing".to_owned() } else { printable_text(name) };
    writeln!(out.out, "{state:<STATE_WIDTH$}  batch {batch}  {name}  {}", printable_text(message))
}

fn print_sum(report: &WorkReport, out: &mut Output<'_>) -> std::io::Result<()> {
    if out.is_json {
        return out.json(report);
    }
    for skipped in &report.skipped {
        writeln!(out.err, "Not worked on: {}", printable_text(skipped))?;
    }
    if let Some(why) = &report.drained {
        writeln!(out.err, "This node takes no more work: {}.", printable_text(why))?;
        writeln!(out.err, "Its work was given back. Repair the cause and start it again.")?;
    }
    let WorkReport { done, failed, taken_over, .. } = report;
    let taken_over = if *taken_over > 0 { format!(", {taken_over} taken over by other nodes") } else { String::new() };
    writeln!(out.err, "{} done, {failed} failed{taken_over}.", counted(*done, "item"))
}

/// 130 when interrupted, 5 when this node stopped taking work or could not work on a batch, else 0: what failed is in the status of its batch.
fn exit_of(report: &WorkReport) -> Exit {
    if report.drained.is_some() {
        Exit::Environment
    } else if report.is_interrupted {
        Exit::Interrupted
    } else if report.skipped.is_empty() {
        Exit::Done
    } else {
        Exit::Environment
    }
}
