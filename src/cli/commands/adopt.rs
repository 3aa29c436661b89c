//! `adopt`: takes over the root of a node that is not running.

use super::super::args::AdoptArgs;
use super::super::executor::Executor;
use super::super::exit::Exit;
use super::super::output::Output;
use super::super::run::absolute;
use super::CommandError;
use crate::operations::{AdoptRoot, Adopted};
use crate::recording::counted;
use crate::recording::name::{printable, printable_text};

/// Runs it.
pub fn run(executor: &Executor, args: &AdoptArgs, out: &mut Output<'_>) -> Result<Exit, CommandError> {
    let root = absolute(std::slice::from_ref(&args.root)).pop().unwrap_or_default();
    let adopted = executor.ask(&AdoptRoot { root, yes: args.yes })?;
    let printed = if out.is_json { out.json(&adopted) } else { print(&adopted, out) };
    printed.map_err(CommandError::output)?;
    Ok(Exit::Done)
}

fn print(adopted: &Adopted, out: &mut Output<'_>) -> std::io::Result<()> {
    let root = printable(&adopted.root);
    let from = adopted
        .from
        .as_deref()
        .map_or_else(|| "an unknown node".to_owned(), |node| format!("the node `{}`", printable_text(node)));
    if !adopted.is_adopted {
        writeln!(out.out, "{root} belongs to {from}, which is not running.")?;
        return writeln!(out.err, "Nothing was changed. Run the command again with --yes to adopt it.");
    }
    writeln!(out.out, "{root} adopted from {from}; {} moved to this node.", counted(adopted.vods, "VoD"))
}
