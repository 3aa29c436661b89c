//! `rescan`: has the daemon scan its roots at once, and prints what it found.

use super::super::args::RescanArgs;
use super::super::executor::Executor;
use super::super::exit::Exit;
use super::super::output::Output;
use super::super::run::absolute;
use super::super::table::Table;
use super::CommandError;
use crate::operations::{Rescan, Rescanned};
use crate::recording::name::printable;

/// Runs it.
pub fn run(executor: &Executor, args: &RescanArgs, out: &mut Output<'_>) -> Result<Exit, CommandError> {
    let root = args.root.as_ref().and_then(|root| absolute(std::slice::from_ref(root)).pop());
    let found = executor.ask(&Rescan { root })?;
    let printed = if out.is_json { out.json(&found) } else { print(&found, out) };
    printed.map_err(CommandError::output)?;
    let is_whole = found.roots.iter().all(|root| root.is_available && root.problems.is_empty());
    Ok(if is_whole { Exit::Done } else { Exit::Environment })
}

fn print(found: &Rescanned, out: &mut Output<'_>) -> std::io::Result<()> {
    let mut table = Table::new(&["ROOT", ">RECORDINGS", ">TAKEN", ">WAITING", ">UNITS", ">UNHANDLED"]);
    for root in &found.roots {
        let numbers = [root.recordings, root.taken, root.waiting, root.units, root.unhandled];
        let [recordings, taken, waiting, units, unhandled] = numbers.map(|number| number.to_string());
        table.row([&printable(&root.root), &recordings, &taken, &waiting, &units, &unhandled]);
    }
    out.table(&table, "No roots.")?;
    for root in &found.roots {
        if !root.is_available {
            writeln!(out.err, "{}: root not available; nothing in it was scanned", printable(&root.root))?;
        }
        root.problems.iter().try_for_each(|problem| writeln!(out.err, "{problem}"))?;
    }
    Ok(())
}
