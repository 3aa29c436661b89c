//! `recover --undo`: recordings that were finished in place become what they were.

use std::path::PathBuf;

use serde_json::json;

use super::super::executor::Executor;
use super::super::exit::Exit;
use super::super::output::Output;
use super::CommandError;
use crate::finish::UndoOutcome;
use crate::operations::UndoSplice;
use crate::recording::name::printable;

/// Takes back the splice of each path and says what became of it.
pub fn run(executor: &Executor, paths: &[PathBuf], out: &mut Output<'_>) -> Result<Exit, CommandError> {
    let mut worst = Exit::Done;
    for path in paths {
        let taken = executor.ask(&UndoSplice { path: path.clone() })?;
        let (now, undone) = taken.map_or((path.clone(), None), |taken| (taken.path, Some(taken.undone)));
        let (state, words) = said(undone);
        if out.is_json {
            out.json(&json!({ "path": path, "state": state, "now": now })).map_err(CommandError::output)?;
        } else {
            let renamed = if now == *path { String::new() } else { format!("  (now {})", printable(&now)) };
            writeln!(out.out, "{state:<16}  {}{renamed}{words}", printable(path)).map_err(CommandError::output)?;
        }
        let is_undone = matches!(undone, Some(UndoOutcome::AsBefore | UndoOutcome::SameMedia));
        worst = Exit::merge(worst, if is_undone { Exit::Done } else { Exit::SomeFailed });
    }
    Ok(worst)
}

const fn said(undone: Option<UndoOutcome>) -> (&'static str, &'static str) {
    match undone {
        Some(UndoOutcome::AsBefore) => ("undone", ""),
        Some(UndoOutcome::SameMedia) => ("undone", "  (same media; the tables in its header are wider than before)"),
        Some(UndoOutcome::NotSpliced) => ("not undone", "  (not finished in place)"),
        Some(UndoOutcome::Refused) => ("not undone", "  (it has changed since, has other hard links, or is open)"),
        None => ("not undone", "  (the catalogue has no VoD at this path)"),
    }
}
