//! A value before it is understood: from a TOML file (typed) or from the environment and flags (raw text), and the
//! readers that turn it into what a key wants.
//!
//! Readers say what they found instead; the key knows what it wanted and where it stands.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::{document, units};
use crate::printable::is_misleading;

/// A value as found.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Value {
    Bool(bool),
    Integer(i64),
    Float(String),
    Moment(String),
    Text(String),
    List(Vec<Value>),
    Table(Vec<TableEntry>),
    /// From the environment or a flag: not typed yet.
    Raw(String),
}

/// One line of a table.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct TableEntry {
    pub(super) key: String,
    pub(super) line: u32,
    pub(super) value: Value,
}

/// Why a value cannot be taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum ValueError {
    /// It is of another kind; says which.
    Kind(String),
    /// It is of the right kind and means nothing; says why, as a clause.
    Meaning(String),
}

impl ValueError {
    pub(super) fn meaning(why: impl Into<String>) -> Self {
        Self::Meaning(why.into())
    }
}

type ValueResult<T> = Result<T, ValueError>;

impl Value {
    /// What it is, to be read after "not".
    pub(super) fn kind(&self) -> &'static str {
        match self {
            Self::Bool(_) => "true or false",
            Self::Integer(_) => "a whole number",
            Self::Float(_) => "a number with a fraction",
            Self::Moment(_) => "a date without quotes",
            Self::Text(_) | Self::Raw(_) => "text",
            Self::List(_) => "a list",
            Self::Table(_) => "a table",
        }
    }

    fn wrong(&self) -> ValueError {
        ValueError::Kind(self.kind().to_owned())
    }

    pub(super) fn boolean(&self) -> ValueResult<bool> {
        match self {
            Self::Bool(value) => Ok(*value),
            Self::Raw(text) => match text.trim().to_ascii_lowercase().as_str() {
                "true" => Ok(true),
                "false" => Ok(false),
                _ => Err(ValueError::Kind(format!("`{text}`"))),
            },
            _ => Err(self.wrong()),
        }
    }

    pub(super) fn text(&self) -> ValueResult<&str> {
        let (Self::Text(text) | Self::Raw(text)) = self else { return Err(self.wrong()) };
        if text.chars().any(char::is_control) {
            return Err(ValueError::meaning("it contains a control character"));
        }
        Ok(text)
    }

    pub(super) fn filled_text(&self) -> ValueResult<String> {
        match self.text()?.trim() {
            "" => Err(ValueError::meaning("it is empty")),
            text => Ok(text.to_owned()),
        }
    }

    pub(super) fn integer(&self) -> ValueResult<i64> {
        match self {
            Self::Integer(value) => Ok(*value),
            Self::Raw(text) => text.trim().parse().map_err(|_| ValueError::Kind(format!("`{text}`"))),
            _ => Err(self.wrong()),
        }
    }

    /// A number of things: 0 or more.
    pub(super) fn count(&self) -> ValueResult<usize> {
        let value = self.integer()?;
        usize::try_from(value).map_err(|_| ValueError::Kind(format!("`{value}`")))
    }

    pub(super) fn duration(&self) -> ValueResult<Duration> {
        units::parse_duration(self.text()?).map_err(ValueError::Meaning)
    }

    /// A duration that may not be zero.
    pub(super) fn some_duration(&self) -> ValueResult<Duration> {
        let duration = self.duration()?;
        if duration.is_zero() { Err(ValueError::meaning("it must not be zero")) } else { Ok(duration) }
    }

    pub(super) fn size(&self) -> ValueResult<u64> {
        match self {
            Self::Integer(bytes) => u64::try_from(*bytes).map_err(|_| ValueError::Kind(format!("`{bytes}`"))),
            _ => units::parse_size(self.text()?).map_err(ValueError::Meaning),
        }
    }

    /// One of several names.
    pub(super) fn choice<T>(&self, all: &[(&'static str, T)]) -> ValueResult<T>
    where
        T: Copy,
    {
        let text = self.text()?.trim();
        let found = all.iter().find(|(name, _)| *name == text);
        found.map(|(_, value)| *value).ok_or_else(|| ValueError::Kind(format!("`{text}`")))
    }

    pub(super) fn list(&self) -> ValueResult<Vec<String>> {
        match self {
            Self::List(items) => items.iter().map(|item| item.text().map(str::to_owned)).collect(),
            Self::Raw(text) if text.trim_start().starts_with('[') => document::parse_value(text)?.list(),
            Self::Raw(text) => {
                Ok(text.split([',', ':']).map(str::trim).filter(|s| !s.is_empty()).map(Into::into).collect())
            }
            _ => Err(self.wrong()),
        }
    }

    /// A table of text by name, such as `{ team = "news" }`.
    pub(super) fn table(&self) -> ValueResult<BTreeMap<String, String>> {
        match self {
            Self::Table(entries) => entries.iter().map(text_entry).collect(),
            Self::Raw(text) if text.trim_start().starts_with('{') => document::parse_value(text)?.table(),
            _ => Err(self.wrong()),
        }
    }

    /// An absolute path without `..`.
    pub(super) fn absolute_path(&self) -> ValueResult<PathBuf> {
        let text = self.filled_text()?;
        absolute(&text)
    }
}

fn text_entry(entry: &TableEntry) -> ValueResult<(String, String)> {
    let named = |found: ValueError| match found {
        ValueError::Kind(kind) => ValueError::Meaning(format!("its entry `{}` is {kind}, not text", entry.key)),
        ValueError::Meaning(why) => ValueError::Meaning(format!("its entry `{}`: {why}", entry.key)),
    };
    Ok((entry.key.clone(), entry.value.text().map_err(named)?.to_owned()))
}

/// Reads where a secret is: an absolute path, or `env:NAME` for an environment variable. `otherwise` is said of anything else, which may be
/// the secret itself.
pub(super) fn secret_place(text: &str, otherwise: &str) -> ValueResult<PathBuf> {
    let is_name = |name: &str| !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
    match text.strip_prefix("env:") {
        Some(name) if is_name(name) => Ok(PathBuf::from(text)),
        Some(_) => Err(ValueError::meaning("`env:` must be followed by the name of an environment variable")),
        None => absolute(text).map_err(|_| ValueError::meaning(otherwise)),
    }
}

/// Checks that a path is absolute and has no `..`; never repeats it in the message where it is neither.
pub(super) fn absolute(text: &str) -> ValueResult<PathBuf> {
    let path = Path::new(text);
    if !path.is_absolute() {
        return Err(ValueError::meaning("it is a relative path"));
    }
    if path.components().any(|part| part == std::path::Component::ParentDir) {
        return Err(ValueError::meaning("it contains `..`: write the path without it"));
    }
    Ok(path.components().collect())
}

/// Writes text as a TOML basic string; what could mislead its reader on a terminal is escaped.
pub fn quote(text: &str) -> String {
    use std::fmt::Write as _;
    let mut quoted = String::with_capacity(text.len() + 2);
    quoted.push('"');
    let mut before = None;
    for c in text.chars() {
        let is_misleading = is_misleading(c, before.replace(c));
        match c {
            '"' | '\\' => quoted.extend(['\\', c]),
            '\n' => quoted.push_str("\\n"),
            '\t' => quoted.push_str("\\t"),
            _ if is_misleading => {
                let _ = write!(quoted, "\\U{:08X}", u32::from(c));
            }
            _ => quoted.push(c),
        }
    }
    quoted.push('"');
    quoted
}

/// Writes a list of texts as TOML.
pub(super) fn quote_list<S: AsRef<str>>(items: impl IntoIterator<Item = S>) -> String {
    let items: Vec<String> = items.into_iter().map(|item| quote(item.as_ref())).collect();
    format!("[{}]", items.join(", "))
}

/// Writes a table of texts as TOML.
pub(super) fn quote_table<'a>(entries: impl IntoIterator<Item = (&'a str, String)>) -> String {
    let entries: Vec<String> =
        entries.into_iter().map(|(key, value)| format!("{} = {}", quote_key(key), quote(&value))).collect();
    format!("{{ {} }}", entries.join(", "))
}

fn quote_key(key: &str) -> String {
    let is_bare = !key.is_empty() && key.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-');
    if is_bare { key.to_owned() } else { quote(key) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn raw(text: &str) -> Value {
        Value::Raw(text.into())
    }

    #[test]
    fn raw_lists_are_arrays_or_separated_by_comma_or_colon() {
        let expected = Ok(vec!["/a".to_owned(), "/b".to_owned()]);
        for text in ["/a:/b", "/a,/b", "/a, /b", r#"["/a", "/b"]"#] {
            assert_eq!(raw(text).list(), expected, "{text}");
        }
        assert_eq!(raw("").list(), Ok(vec![]));
        assert_eq!(raw(r#"["/with:colon"]"#).list(), Ok(vec!["/with:colon".to_owned()]));
        assert!(raw(r#"["/a""#).list().is_err());
        assert!(Value::Text("/a".into()).list().is_err());
    }

    #[test]
    fn typed_values_are_not_bent_into_another_type() {
        assert!(Value::Text("true".into()).boolean().is_err());
        assert!(Value::Text("7".into()).integer().is_err());
        assert_eq!(raw("7").integer(), Ok(7));
        assert_eq!(raw("true").boolean(), Ok(true));
        assert!(Value::Integer(-1).count().is_err());
        assert_eq!(Value::Integer(5).duration(), Err(ValueError::Kind("a whole number".into())));
    }

    #[test]
    fn quoted_text_reads_back() {
        for text in ["plain", "with \"quotes\" and \\", "tab\tnew\nline", "\u{1b}[31m", "x\u{202e}4pm\u{e0041}é"] {
            assert!(quote(text).chars().all(|c| !is_misleading(c, Some('ü'))), "{text:?}");
            assert_eq!(document::parse_value(&quote(text)), Ok(Value::Text(text.into())));
        }
        assert_eq!(document::parse_value(&quote_table([("a b", "c".into())])).unwrap().table().unwrap()["a b"], "c");
    }

    #[test]
    fn paths_are_absolute_and_plain() {
        assert_eq!(absolute("/srv//streams/"), Ok(PathBuf::from("/srv/streams")));
        assert!(absolute("streams").is_err());
        assert!(absolute("/srv/../etc").is_err());
    }
}
