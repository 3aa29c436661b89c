//! `doctor`: says what is missing and what to do. It needs no daemon and no catalogue.

use super::super::exit::Exit;
use super::super::output::Output;
use super::super::table::Table;
use super::CommandError;
use crate::config::Config;
use crate::operations::{self, Check};
use crate::recording::name::printable_text;
use crate::stop::Stop;

/// Runs every check; something that is missing is exit code 5.
pub fn run(config: &Config, out: &mut Output<'_>) -> Result<Exit, CommandError> {
    let checks = operations::checks(config, None, &Stop::default());
    print(&checks, out).map_err(CommandError::output)?;
    Ok(if checks.iter().all(|check| check.is_ok) { Exit::Done } else { Exit::Environment })
}

/// Prints what was checked.
pub fn print(checks: &[Check], out: &mut Output<'_>) -> std::io::Result<()> {
    if out.is_json {
        return checks.iter().try_for_each(|check| out.json(check));
    }
    let mut table = Table::new(&["", "SUBJECT", "CHECK", "DETAIL"]);
    for check in checks {
        let mark = if check.is_ok { "ok" } else { "MISSING" };
        table.row([mark, &check.subject, &check.name, &check.detail]);
    }
    out.table(&table, "")?;
    for check in checks {
        if let Some(hint) = &check.hint {
            writeln!(out.out, "{}, {}: {}", check.subject, check.name, printable_text(hint))?;
        }
    }
    Ok(())
}
