//! Plain aligned tables for people: lists of recordings, of queued work, of checks.
//!
//! The same table goes to a terminal and into a pipe, except for colour. Cells are made safe for a terminal here.

use std::io::IsTerminal as _;

use crate::recording::name::printable_text;

const GAP: &str = "  ";
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
pub struct Table {
    header: Vec<String>,
    is_right: Vec<bool>,
    rows: Vec<Vec<String>>,
}

impl Table {
    /// A table with these columns; a name that begins with `>` makes the column align to the right.
    pub fn new(columns: &[&str]) -> Self {
        let header = columns.iter().map(|name| name.trim_start_matches('>').to_owned()).collect();
        Self { header, is_right: columns.iter().map(|name| name.starts_with('>')).collect(), rows: Vec::new() }
    }

    /// Adds a row; missing cells are empty, surplus ones are dropped.
    pub fn row<S: AsRef<str>>(&mut self, cells: impl IntoIterator<Item = S>) -> &mut Self {
        let mut row: Vec<String> = cells.into_iter().map(|cell| printable_text(cell.as_ref())).collect();
        row.resize(self.header.len(), String::new());
        self.rows.push(row);
        self
    }

    /// Whether there is no row.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// The text, one line per row, the header first.
    pub fn render(&self, style: Style) -> String {
        let widths = self.widths();
        let mut text = match (style, self.line(&self.header, &widths)) {
            (Style::Plain, header) => header,
            (Style::Terminal, header) => format!("{BOLD}{}{PLAIN}\n", header.trim_end()),
        };
        text.extend(self.rows.iter().map(|row| self.line(row, &widths)));
        text
    }

    fn widths(&self) -> Vec<usize> {
        let lines = || std::iter::once(&self.header).chain(&self.rows);
        (0..self.header.len()).map(|column| lines().map(|row| width(&row[column])).max().unwrap_or(0)).collect()
    }

    fn line(&self, row: &[String], widths: &[usize]) -> String {
        let aligned = row.iter().zip(widths).zip(&self.is_right).map(|((cell, column), is_right)| {
            let space = " ".repeat(column - width(cell));
            if *is_right { format!("{space}{cell}") } else { format!("{cell}{space}") }
        });
        let line = aligned.collect::<Vec<_>>().join(GAP);
        format!("{}\n", line.trim_end())
    }
}

/// Columns that a text takes on a terminal (Unicode Annex 11, the ranges that names of recordings meet).
fn width(text: &str) -> usize {
    text.chars().map(char_width).sum()
}

fn char_width(c: char) -> usize {
    match u32::from(c) {
        0x300..=0x36F | 0x200B..=0x200D | 0xFE00..=0xFE0F => 0,
        0x1100..=0x115F
        | 0x2E80..=0x303E
        | 0x3041..=0xA4CF
        | 0xAC00..=0xD7A3
        | 0xF900..=0xFAFF
        | 0xFE30..=0xFE6F
        | 0xFF00..=0xFF60
        | 0xFFE0..=0xFFE6
        | 0x1F300..=0x1FAFF
        | 0x20000..=0x3FFFD => 2,
        _ => 1,
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
