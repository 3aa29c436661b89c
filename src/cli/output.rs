//! Where a command prints: results on `out`, everything else on `err`. The daemon's socket gives it other ends.

use std::io::{self, Write};

use serde::Serialize;

use super::table::{Style, Table};

/// The two ends of a command, and the form of its results.
pub struct Output<'a> {
    /// Results.
    pub out: &'a mut dyn Write,
    /// Everything else.
    pub err: &'a mut dyn Write,
    /// Whether results are JSON, one value per line.
    pub is_json: bool,
    /// Whether tables may have colour.
    pub style: Style,
}

impl std::fmt::Debug for Output<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Output").field("is_json", &self.is_json).finish_non_exhaustive()
    }
}

impl Output<'_> {
    /// Prints one result as JSON, on a line of its own.
    pub fn json(&mut self, value: &impl Serialize) -> io::Result<()> {
        let line = serde_json::to_string(value)?;
        writeln!(self.out, "{line}")
    }

    /// Prints a table, or what to say instead of an empty one.
    pub fn table(&mut self, table: &Table, when_empty: &str) -> io::Result<()> {
        if table.is_empty() {
            return writeln!(self.err, "{when_empty}");
        }
        write!(self.out, "{}", table.render(self.style))
    }
}
