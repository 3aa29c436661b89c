//! Plain aligned tables for people: lists of recordings, of queued work, of checks.
//!
//! The same table goes to a terminal and into a pipe, except for colour. Cells are made safe for a terminal here.

use std::io::IsTerminal as _;

use comfy_table::{CellAlignment, presets};

use crate::recording::name::printable_text;

/// Columns of a terminal between two cells.
const GAP: u16 = 2;
const BOLD: &str = "\u{1b}[1m";
const PLAIN: &str = "\u{1b}[0m";

/// Whether the table may have colour.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Style {
    /// Text only.
    Plain,
    /// The header is bold.
    Terminal,
}

impl Style {
    /// What standard output takes: colour on a terminal unless `NO_COLOR` is set.
    pub fn of_stdout() -> Self {
        let is_unwanted = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        if std::io::stdout().is_terminal() && !is_unwanted { Self::Terminal } else { Self::Plain }
    }
}

/// A table in the making.
#[derive(Debug, Clone)]
pub struct Table(comfy_table::Table);

impl Table {
    /// A table with these columns; a name that begins with `>` makes the column align to the right.
    pub fn new(columns: &[&str]) -> Self {
        let mut table = comfy_table::Table::new();
        table.load_preset(presets::NOTHING).set_header(columns.iter().map(|name| name.trim_start_matches('>')));
        for (column, name) in table.column_iter_mut().zip(columns) {
            column.set_padding((0, GAP));
            if name.starts_with('>') {
                column.set_cell_alignment(CellAlignment::Right);
            }
        }
        Self(table)
    }

    /// Adds a row; missing cells are empty, surplus ones are dropped.
    pub fn row<S: AsRef<str>>(&mut self, cells: impl IntoIterator<Item = S>) -> &mut Self {
        let cells = cells.into_iter().take(self.0.column_count()).map(|cell| printable_text(cell.as_ref()));
        self.0.add_row(cells.collect::<Vec<_>>());
        self
    }

    /// Whether there is no row.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The text, one line per row, the header first.
    pub fn render(&self, style: Style) -> String {
        let text = self.0.trim_fmt() + "\n";
        match (style, text.split_once('\n')) {
            (Style::Terminal, Some((header, rows))) => format!("{BOLD}{header}{PLAIN}\n{rows}"),
            _ => text,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Table {
        let mut table = Table::new(&["STREAM", ">SIZE", "NAME"]);
        table.row(["room1", "1.4 GiB", "room1.mp4"]);
        table.row(["直播", "23 MiB", "evil\u{1b}[2J\n.mp4"]);
        table.row(["x"]);
        table
    }

    #[test]
    fn columns_are_aligned_and_nothing_trails() {
        let expected = "STREAM     SIZE  NAME\n\
                        room1   1.4 GiB  room1.mp4\n\
                        直播     23 MiB  evil\\u{1b}[2J\\u{a}.mp4\n\
                        x\n";
        assert_eq!(sample().render(Style::Plain), expected);
    }

    #[test]
    fn a_terminal_gets_the_same_table_with_a_bold_header() {
        let coloured = sample().render(Style::Terminal);
        assert!(coloured.starts_with("\u{1b}[1mSTREAM"));
        assert_eq!(coloured.replace(BOLD, "").replace(PLAIN, ""), sample().render(Style::Plain));
    }

    #[test]
    fn surplus_cells_are_dropped() {
        let mut table = Table::new(&["A"]);
        assert!(table.is_empty());
        table.row(["1", "2"]);
        assert_eq!(table.render(Style::Plain), "A\n1\n");
    }
}
