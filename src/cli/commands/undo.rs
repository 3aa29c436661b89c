//! `recover --undo`: recordings that were finished in place become what they were.

use std::path::PathBuf;

use serde_json::json;

use super::super::asked::Asked;
use super::super::exit::Exit;
use super::super::output::Output;
use super::Failure;
use crate::finish::Undone;
use crate::operations::UndoSplice;
use crate::recording::name::printable;

/// Takes back the splice of each path and says what became of it.
pub fn run(asked: &Asked, paths: &[PathBuf], out: &mut Output<'_>) -> Result<Exit, Failure> {
    let mut worst = Exit::Done;
    for path in paths {
        let taken = asked.ask(&UndoSplice { path: path.clone() })?;
        let (now, undone) = taken.map_or((path.clone(), None), |taken| (taken.path, Some(taken.undone)));
        let (state, words) = said(undone);
        if out.is_json {
            out.json(&json!({ "path": path, "state": state, "now": now })).map_err(Failure::output)?;
        } else {
            let renamed = if now == *path { String::new() } else { format!("  (now {})", printable(&now)) };
            writeln!(out.out, "{state:<16}  {}{renamed}{words}", printable(path)).map_err(Failure::output)?;
        }
        let is_undone = matches!(undone, Some(Undone::AsBefore | Undone::SameMedia));
        worst = Exit::merge(worst, if is_undone { Exit::Done } else { Exit::SomeFailed });
    }
    Ok(worst)
}

const fn said(undone: Option<Undone>) -> (&'static str, &'static str) {
    match undone {
        Some(Undone::AsBefore) => ("undone", ""),
        Some(Undone::SameMedia) => ("undone", "  (same media; the tables in its header are wider than before)"),
        Some(Undone::NotSpliced) => ("not undone", "  (not finished in place)"),
        Some(Undone::Refused) => ("not undone", "  (it has changed since, has other hard links, or is open)"),
        None => ("not undone", "  (the catalogue has no VoD at this path)"),
    }
}
