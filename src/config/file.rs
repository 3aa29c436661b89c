//! The layer of the TOML file: which lines set which keys, and which lines mean nothing.

use super::document::{self, Document};
use super::error::{Origin, ProblemKind};
use super::keys::{Section, nearest, section_named};
use super::layer::{Layer, SourcedValue, TWO_KINDS_OF_ROOTS, key_of};
use super::value::{TableEntry, Value};

/// Reads the text of a file into a layer with all its problems.
pub(super) fn layer(text: &str) -> Layer {
    let Document { entries, syntax } = document::parse(text);
    let mut layer = Layer::default();
    walk(&mut layer, Section::Top, None, entries);
    // What follows a slip may be in another section than it seems: only its syntax is reported.
    let first_bad = syntax.first().map_or(u32::MAX, |(line, _)| *line);
    layer.problems.retain(|problem| matches!(problem.origin, Origin::File(line) if line < first_bad));
    layer.settings.retain(|_, setting| matches!(setting.origin, Origin::File(line) if line < first_bad));
    layer.entries.retain(|_, origin| matches!(origin, Origin::File(line) if *line < first_bad));
    for (line, words) in syntax {
        layer.problem(Origin::File(line), String::new(), ProblemKind::Syntax(words));
    }
    layer
}

fn walk(layer: &mut Layer, section: Section, index: Option<usize>, entries: Vec<TableEntry>) {
    for entry in entries {
        let inner = section_named(&join(section, &entry.key));
        match (key_of(section, &entry.key), inner) {
            (Some(key), _) => {
                let TableEntry { key: spelled, line, value } = entry;
                layer.set(key, index, SourcedValue { value, origin: Origin::File(line), spelled });
            }
            (None, Some(inner)) => enter(layer, inner, entry),
            (None, None) => unknown(layer, section, &entry),
        }
    }
}

fn enter(layer: &mut Layer, section: Section, entry: TableEntry) {
    let origin = Origin::File(entry.line);
    match entry.value {
        Value::Table(entries) if !section.is_repeated() => walk(layer, section, None, entries),
        _ if section == Section::Root && layer.has_listed_roots() => {
            let what = ProblemKind::Rule(TWO_KINDS_OF_ROOTS.into());
            layer.problem(origin, section.name().to_owned(), what);
        }
        Value::List(items) if section.is_repeated() && items.iter().all(|i| matches!(i, Value::Table(_))) => {
            for (index, item) in items.into_iter().enumerate() {
                let Value::Table(entries) = item else { continue };
                let first = entries.first().map_or(entry.line, |e| e.line);
                layer.entries.insert((section, index), Origin::File(first));
                walk(layer, section, Some(index), entries);
            }
        }
        _ => {
            let what =
                ProblemKind::Rule(format!("`{}` is a section: begin it with `{}`", section.name(), section.header()));
            layer.problem(origin, section.name().to_owned(), what);
        }
    }
}

fn unknown(layer: &mut Layer, section: Section, entry: &TableEntry) {
    let advice = if is_secret(&entry.key) {
        Some(
            "secrets must not be in this file: set them in the environment, or name files in `credential_files`".into(),
        )
    } else {
        nearest(section, &entry.key, matches!(entry.value, Value::Table(_)))
    };
    let spelled = join(section, &entry.key);
    layer.problem(Origin::File(entry.line), spelled.clone(), ProblemKind::UnknownKey { spelled, advice });
}

fn is_secret(key: &str) -> bool {
    let key = key.to_ascii_lowercase();
    ["secret", "password", "token", "access_key", "accesskey", "account_key"].iter().any(|word| key.contains(word))
}

fn join(section: Section, key: &str) -> String {
    if section == Section::Top { key.to_owned() } else { format!("{}.{key}", section.name()) }
}
