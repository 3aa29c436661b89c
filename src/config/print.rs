//! `config print`: every value that holds, and where it came from. Nothing secret is ever in a [`Config`].

use super::Config;
use super::error::Origin;
use super::keys::{Accessors, Key, Section, keys};
use super::value::quote_list;

/// One value that holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PrintedSetting {
    /// Its path: `watch.quiet`, `deliver.target.0.url`.
    pub key: String,
    /// The value as TOML.
    pub value: String,
    /// Where it came from.
    pub origin: Origin,
}

/// All values in the order of the example; optional ones that are not set are left out.
pub fn print(config: &Config) -> Vec<PrintedSetting> {
    keys().flat_map(|key| of_key(config, key)).collect()
}

fn of_key(config: &Config, key: &'static Key) -> Vec<PrintedSetting> {
    let is_first = keys().find(|k| k.section == key.section) == Some(key);
    match key.access {
        Accessors::Spread if config.watch.roots.is_empty() => vec![printed(config, key.path(), quote_list([""; 0]))],
        Accessors::Whole(_, show) => show(config).map(|value| printed(config, key.path(), value)).into_iter().collect(),
        Accessors::Root(..) if is_first => {
            entries(config, &config.watch.roots, key.section, |root, access| match access {
                Accessors::Root(_, show) => show(root),
                _ => None,
            })
        }
        Accessors::Target(..) if is_first => {
            entries(config, &config.deliver.targets, key.section, |target, access| match access {
                Accessors::Target(_, show) => show(target),
                _ => None,
            })
        }
        Accessors::Webhook(..) if is_first => {
            entries(config, &config.announce.webhooks, key.section, |webhook, access| match access {
                Accessors::Webhook(_, show) => show(webhook),
                _ => None,
            })
        }
        Accessors::Command(..) if is_first => {
            entries(config, &config.announce.commands, key.section, |command, access| match access {
                Accessors::Command(_, show) => show(command),
                _ => None,
            })
        }
        Accessors::Spread
        | Accessors::Root(..)
        | Accessors::Target(..)
        | Accessors::Webhook(..)
        | Accessors::Command(..) => Vec::new(),
    }
}

/// All keys of the first entry, then all of the second …
fn entries<T>(
    config: &Config,
    all: &[T],
    section: Section,
    show: fn(&T, Accessors) -> Option<String>,
) -> Vec<PrintedSetting> {
    let of_entry = |(index, entry)| {
        let of_section = keys().filter(move |key| key.section == section);
        let shown = move |key: &'static Key| Some((key.path_at(Some(index)), show(entry, key.access)?));
        of_section.filter_map(shown).map(|(path, value)| printed(config, path, value))
    };
    all.iter().enumerate().flat_map(of_entry).collect()
}

fn printed(config: &Config, key: String, value: String) -> PrintedSetting {
    let origin = config.origin(&key).clone();
    PrintedSetting { key, value, origin }
}
