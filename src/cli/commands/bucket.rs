//! `process s3://…`: everything below a URL to its end, once, or what that would take.

use std::io;

use super::super::executor::Executor;
use super::super::exit::Exit;
use super::super::output::Output;
use super::CommandError;
use crate::archive::{ArchiveItem, ArchiveReport, ItemState, Transferred};
use crate::human;
use crate::operations::ProcessBucket;
use crate::recording::counted;
use crate::recording::name::printable_text;

/// The longest state is as long.
const STATE_WIDTH: usize = "download, finish, upload".len();

/// Runs it and prints each object's end as it comes.
pub fn run(executor: &Executor, bucket: &ProcessBucket, out: &mut Output<'_>) -> Result<Exit, CommandError> {
    let mut counts: Vec<(&'static str, u64)> = Vec::new();
    let mut worst = Exit::Done;
    let report = executor.perform(bucket, |item| {
        match counts.iter_mut().find(|(state, _)| *state == item.state.name()) {
            Some((_, count)) => *count += 1,
            None => counts.push((item.state.name(), 1)),
        }
        worst = worst.merge(match &item.state {
            ItemState::Failed { class, .. } => Exit::of_class(*class),
            ItemState::Quarantined => Exit::SomeFailed,
            _ => Exit::Done,
        });
        // Who does not read on wants the rest done all the same.
        let _ = print(&item, out);
        Ok(())
    })?;
    print_sum(out, bucket, &report, &counts).map_err(CommandError::output)?;
    Ok(if report.is_interrupted { Exit::Interrupted } else { worst })
}

fn print(item: &ArchiveItem, out: &mut Output<'_>) -> io::Result<()> {
    if out.is_json {
        return out.json(item);
    }
    let state = match &item.state {
        ItemState::Planned { way } => way.name(),
        state => state.name(),
    };
    let key = printable_text(&item.key);
    let to = item.to.as_deref().map(|to| format!(" → {}", printable_text(to))).unwrap_or_default();
    let is_transfer = matches!(item.state, ItemState::Planned { .. } | ItemState::Finished { .. });
    let line = if is_transfer { format!("  {}", transferred(&item.transferred)) } else { String::new() };
    writeln!(out.out, "{state:<STATE_WIDTH$}  {key}{to}{line}")?;
    let mut more = |text: &str| writeln!(out.out, "{:STATE_WIDTH$}  {text}", "");
    match &item.state {
        ItemState::Waiting { message } => more(message)?,
        ItemState::Failed { message, hint, .. } => {
            more(&printable_text(message))?;
            hint.iter().try_for_each(|hint| more(&printable_text(hint)))?;
        }
        _ => {}
    }
    item.defects.iter().try_for_each(|defect| more(&defect.to_string()))
}

fn transferred(transferred: &Transferred) -> String {
    let (down, up) = (human::size(transferred.read_bytes), human::size(transferred.sent_bytes));
    format!("{down} down, {up} up, {}", counted(transferred.requests, "request"))
}

fn print_sum(
    out: &mut Output<'_>,
    bucket: &ProcessBucket,
    report: &ArchiveReport,
    counts: &[(&'static str, u64)],
) -> io::Result<()> {
    if out.is_json {
        return out.json(report);
    }
    let mut said: Vec<_> = counts.iter().map(|(state, count)| format!("{count} {state}")).collect();
    if report.of_other_shards > 0 {
        said.push(format!("{} of other shards", report.of_other_shards));
    }
    if report.left_alone > 0 {
        said.push(format!("{} left alone", report.left_alone));
    }
    if said.is_empty() {
        return writeln!(out.err, "No recording found.");
    }
    writeln!(out.err, "{}; {}.", said.join(", "), transferred(&report.transferred))?;
    if bucket.dry_run { writeln!(out.err, "Nothing was done.") } else { Ok(()) }
}
