//! TOML text to [`Value`]s with line numbers. The only file that names the `toml` crate.
//!
//! Reads on after a syntax error, so that every problem of a file is found in one go.

use std::ops::Range;

use toml::de::{DeTable, DeValue};

use super::value::{TableEntry, Value, ValueError};

/// A parsed file.
#[derive(Debug, Default)]
pub(super) struct Document {
    pub(super) entries: Vec<TableEntry>,
    /// Line and the parser's words.
    pub(super) syntax: Vec<(u32, String)>,
}

/// Parses a whole file.
pub(super) fn parse(text: &str) -> Document {
    let lines = Lines::of(text);
    let (table, errors) = DeTable::parse_recoverable(text);
    let place = |error: &toml::de::Error| error.span().map_or(1, |span| lines.line_of(&span));
    let mut syntax: Vec<_> = errors.iter().map(|e| (place(e), e.message().replace('\n', "; "))).collect();
    // One slip makes the parser stumble several times on the same line; its first word is the useful one.
    syntax.sort_by_key(|(line, _)| *line);
    syntax.dedup_by_key(|(line, _)| *line);
    Document { entries: entries_of(table.get_ref(), &lines), syntax }
}

/// Parses a single value, as an environment variable holds it.
pub(super) fn parse_value(text: &str) -> Result<Value, ValueError> {
    let text = text.trim();
    let value =
        DeValue::parse(text).map_err(|error| ValueError::Meaning(format!("it is not TOML: {}", error.message())))?;
    Ok(value_of(value.get_ref(), &Lines::of(text)))
}

fn entries_of(table: &DeTable<'_>, lines: &Lines) -> Vec<TableEntry> {
    let entry = |(key, value): (&toml::Spanned<_>, &toml::Spanned<DeValue<'_>>)| TableEntry {
        key: ToString::to_string(key.get_ref() as &std::borrow::Cow<'_, str>),
        line: lines.line_of(&key.span()),
        value: value_of(value.get_ref(), lines),
    };
    let mut entries: Vec<_> = table.iter().map(entry).collect();
    entries.sort_by_key(|e| e.line);
    entries
}

fn value_of(value: &DeValue<'_>, lines: &Lines) -> Value {
    match value {
        DeValue::String(text) => Value::Text(text.to_string()),
        DeValue::Integer(number) => integer(number.as_str(), number.radix()),
        DeValue::Float(number) => Value::Float(number.as_str().to_owned()),
        DeValue::Boolean(value) => Value::Bool(*value),
        DeValue::Datetime(moment) => Value::Moment(moment.to_string()),
        DeValue::Array(items) => Value::List(items.iter().map(|item| value_of(item.get_ref(), lines)).collect()),
        DeValue::Table(table) => Value::Table(entries_of(table, lines)),
    }
}

fn integer(digits: &str, radix: u32) -> Value {
    i64::from_str_radix(digits, radix).map_or_else(|_| Value::Float(digits.to_owned()), Value::Integer)
}

/// Where lines begin.
struct Lines {
    starts: Vec<usize>,
}

impl Lines {
    fn of(text: &str) -> Self {
        let after_breaks = text.bytes().enumerate().filter(|(_, b)| *b == b'\n').map(|(at, _)| at + 1);
        Self { starts: std::iter::once(0).chain(after_breaks).collect() }
    }

    fn line_of(&self, span: &Range<usize>) -> u32 {
        u32::try_from(self.starts.partition_point(|start| *start <= span.start)).unwrap_or(u32::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_know_their_lines() {
        let document = parse("a = 1\n\n[s]\nb = \"x\"\nc = [\"y\",\n 2]\n");
        assert!(document.syntax.is_empty());
        assert_eq!(document.entries[0], TableEntry { key: "a".into(), line: 1, value: Value::Integer(1) });
        let Value::Table(section) = &document.entries[1].value else { panic!("not a table") };
        assert_eq!((section[0].line, section[1].line), (4, 5));
    }

    #[test]
    fn every_syntax_error_is_found_and_the_rest_is_read() {
        let document = parse("a = \nb = 2\nc = [1,\nd = 4\n[s]\ne = 5\n");
        assert!(document.syntax.len() >= 2, "{:?}", document.syntax);
        assert_eq!(document.syntax[0].0, 1);
        assert!(document.entries.iter().any(|e| e.key == "b"));
    }

    #[test]
    fn a_number_beyond_64_bits_is_no_whole_number() {
        assert_eq!(parse_value("0x10"), Ok(Value::Integer(16)));
        assert!(matches!(parse_value("99999999999999999999"), Ok(Value::Float(_))));
    }
}
