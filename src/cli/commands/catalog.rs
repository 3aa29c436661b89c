//! `catalog rebuild | check`.

use std::io;

use serde_json::json;

use super::super::args::CatalogCommand;
use super::super::executor::Executor;
use super::super::exit::Exit;
use super::super::output::Output;
use super::super::run::absolute;
use super::CommandError;
use crate::operations::{CatalogCheck, CheckCatalog, RebuildCatalog, RebuiltCatalog};
use crate::recording::name::{printable, printable_text};

/// Runs one of them.
pub fn run(executor: &Executor, command: &CatalogCommand, out: &mut Output<'_>) -> Result<Exit, CommandError> {
    let (printed, is_whole) = match command {
        CatalogCommand::Rebuild { paths, no_stores } => {
            let rebuilt = executor.ask(&RebuildCatalog { paths: absolute(paths), no_stores: *no_stores })?;
            (print(&rebuilt, out), rebuilt.is_whole())
        }
        CatalogCommand::Check => {
            let checked = executor.ask(&CheckCatalog {})?;
            (print_check(&checked, out), checked.unreadable.is_empty())
        }
    };
    printed.map_err(CommandError::output)?;
    Ok(if is_whole { Exit::Done } else { Exit::SomeFailed })
}

fn print(rebuilt: &RebuiltCatalog, out: &mut Output<'_>) -> io::Result<()> {
    if out.is_json {
        return out.json(rebuilt);
    }
    let RebuiltCatalog { added, known, from_stores, attached, unasked, unfinished, failed, problems } = rebuilt;
    for (path, reason) in failed {
        writeln!(out.out, "not read          {}: {}", printable(path), printable_text(reason))?;
    }
    for problem in problems {
        writeln!(out.out, "unreadable        {problem}")?;
    }
    for path in unfinished {
        writeln!(out.out, "not finished      {}", printable(path))?;
    }
    for target in unasked {
        let (name, reason) = (printable_text(&target.target), printable_text(&target.reason));
        writeln!(out.out, "not queried       target {name}: {reason}")?;
    }
    writeln!(out.err, "Records recreated: {added}, already present: {known}. Unfinished files: {}.", unfinished.len())?;
    writeln!(
        out.err,
        "Records of freed recordings recreated from the targets: {from_stores}. Copies added to existing records: {attached}."
    )
}

fn print_check(checked: &CatalogCheck, out: &mut Output<'_>) -> io::Result<()> {
    for words in &checked.unreadable {
        writeln!(out.out, "{words}")?;
    }
    let CatalogCheck { vods, deliveries, unreadable, missing_rows_added, dangling_rows_removed } = checked;
    let unreadable = unreadable.len();
    if out.is_json {
        return out.json(&json!({
            "vods": vods, "deliveries": deliveries, "unreadable": unreadable,
            "missingRowsAdded": missing_rows_added, "danglingRowsRemoved": dangling_rows_removed,
        }));
    }
    writeln!(
        out.out,
        "VoDs: {vods}, deliveries: {deliveries}. Index rows added: {missing_rows_added}, removed: \
         {dangling_rows_removed}. Unreadable values: {unreadable}."
    )
}
