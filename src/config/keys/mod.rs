//! The one table of keys: name, other spellings, default, unit, why, and how a value goes into the options and out.
//!
//! Everything about keys comes from here: reading, suggestions, environment names, `config print`, the check of
//! `config.toml.example` and of `docs/configuration.md`. A setting that is not in the table does not exist.

mod announce;
mod archive;
mod deliver;
mod events;
mod finish;
mod fleet;
mod lookup;
mod pictures;
mod serve;
mod watch;

use crate::announce::{CommandOptions, WebhookOptions};
use crate::deliver::TargetOptions;
use crate::discover::RootOptions;

pub(super) use lookup::{find, find_alias, nearest, section_named};

use super::value::{Value, ValueError};
use super::{Config, value};

/// Where a key is written. The order is the order of reading: the time zone is known before the first date.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Section {
    /// Above the first section.
    Top,
    /// `[finish]`.
    Finish,
    /// `[watch]`.
    Watch,
    /// `[[watch.root]]`, several times.
    Root,
    /// `[pictures]`.
    Pictures,
    /// `[deliver]`.
    Deliver,
    /// `[[deliver.target]]`, several times.
    Target,
    /// `[retain]`.
    Retain,
    /// `[archive]`.
    Archive,
    /// `[events]`.
    Events,
    /// `[serve]`.
    Serve,
    /// `[announce]`.
    Announce,
    /// `[[announce.webhook]]`, several times.
    Webhook,
    /// `[[announce.command]]`, several times.
    Command,
    /// `[fleet]`.
    Fleet,
}

impl Section {
    /// All sections in the order of the example.
    pub const ALL: [Self; 15] = [
        Self::Top,
        Self::Watch,
        Self::Root,
        Self::Finish,
        Self::Pictures,
        Self::Deliver,
        Self::Target,
        Self::Retain,
        Self::Archive,
        Self::Events,
        Self::Serve,
        Self::Announce,
        Self::Webhook,
        Self::Command,
        Self::Fleet,
    ];

    /// The path in front of its keys.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Top => "",
            Self::Finish => "finish",
            Self::Watch => "watch",
            Self::Root => "watch.root",
            Self::Pictures => "pictures",
            Self::Deliver => "deliver",
            Self::Target => "deliver.target",
            Self::Retain => "retain",
            Self::Archive => "archive",
            Self::Events => "events",
            Self::Serve => "serve",
            Self::Announce => "announce",
            Self::Webhook => "announce.webhook",
            Self::Command => "announce.command",
            Self::Fleet => "fleet",
        }
    }

    /// How the section begins in the file.
    pub fn header(self) -> String {
        match self {
            Self::Top => String::new(),
            _ if self.is_repeated() => format!("[[{}]]", self.name()),
            _ => format!("[{}]", self.name()),
        }
    }

    /// Whether the section may be there several times.
    pub const fn is_repeated(self) -> bool {
        matches!(self, Self::Root | Self::Target | Self::Webhook | Self::Command)
    }
}

/// One key of the configuration.
#[derive(Debug)]
pub struct Key {
    /// Where it is written.
    pub section: Section,
    /// Its canonical name.
    pub name: &'static str,
    /// Other spellings, accepted in any section and above the first.
    pub aliases: &'static [&'static str],
    /// Its default as TOML; `None` where there is none or it depends on the machine.
    pub default: Option<&'static str>,
    /// A value to show where there is no default, as TOML.
    pub example: &'static str,
    /// Kind of value in one or two words.
    pub unit: &'static str,
    /// What it wants, with an example, to be read after "must be".
    pub wants: &'static str,
    /// What it is for, in one line.
    pub why: &'static str,
    pub(super) access: Accessors,
}

/// Sets a value in options.
pub(super) type SetFn<T> = fn(&mut T, &Value) -> Result<(), ValueError>;
type ShowFn<T> = fn(&T) -> Option<String>;

/// How a value goes into the options, and out again as TOML.
#[derive(Debug, Clone, Copy)]
pub(super) enum Accessors {
    Whole(SetFn<Config>, ShowFn<Config>),
    Root(SetFn<RootOptions>, ShowFn<RootOptions>),
    Target(SetFn<TargetOptions>, ShowFn<TargetOptions>),
    Webhook(SetFn<WebhookOptions>, ShowFn<WebhookOptions>),
    Command(SetFn<CommandOptions>, ShowFn<CommandOptions>),
    /// Spread over other keys before the options are made.
    Spread,
}

/// Kind of value: unit and wish.
#[derive(Debug, Clone, Copy)]
struct ValueKind {
    unit: &'static str,
    wants: &'static str,
}

const SWITCH: ValueKind = ValueKind { unit: "true or false", wants: "true or false" };
const DURATION: ValueKind =
    ValueKind { unit: "duration", wants: r#"a duration such as "500ms", "90s", "10m" or "24h""# };
const COUNT: ValueKind = ValueKind { unit: "count", wants: "a whole number, 0 or more, such as 4" };
const TEXT: ValueKind = ValueKind { unit: "text", wants: r#"text in quotes, such as "studio-1""# };
const PATH: ValueKind = ValueKind { unit: "absolute path", wants: r#"an absolute path such as "/srv/recordings""# };

impl Key {
    const fn new(section: Section, name: &'static str, shape: ValueKind, access: Accessors, why: &'static str) -> Self {
        let ValueKind { unit, wants } = shape;
        Self { section, name, aliases: &[], default: None, example: "", unit, wants, why, access }
    }

    const fn or(mut self, default: &'static str) -> Self {
        self.default = Some(default);
        self
    }

    const fn like(mut self, example: &'static str) -> Self {
        self.example = example;
        self
    }

    const fn also(mut self, aliases: &'static [&'static str]) -> Self {
        self.aliases = aliases;
        self
    }

    /// `section.name`.
    pub fn path(&self) -> String {
        self.path_at(None)
    }

    /// `section.index.name` for a key of a repeated section.
    pub fn path_at(&self, index: Option<usize>) -> String {
        match (self.section, index) {
            (Section::Top, _) => self.name.to_owned(),
            (section, None) => format!("{}.{}", section.name(), self.name),
            (section, Some(index)) => format!("{}.{index}.{}", section.name(), self.name),
        }
    }

    /// Whether its value is a table of free names.
    pub(super) fn is_table(&self) -> bool {
        self.unit.starts_with("table")
    }

    fn order(&self) -> (Section, &'static str) {
        (self.section, self.name)
    }
}

impl PartialEq for Key {
    fn eq(&self, other: &Self) -> bool {
        self.order() == other.order()
    }
}

impl Eq for Key {}

impl PartialOrd for Key {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Key {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.order().cmp(&other.order())
    }
}

static TOP: [Key; 1] = [Key::new(
    Section::Top,
    "state_dir",
    PATH,
    Accessors::Whole(|c, v| put(&mut c.state_dir, v.absolute_path()), |c| Some(quote_path(&c.state_dir))),
    "Directory of the catalogue, journal, lock and socket; one process owns it. Default: $XDG_STATE_HOME/aftercast \
     or ~/.local/state/aftercast.",
)
.like(r#""/var/lib/aftercast""#)];

/// All keys in the order of the example.
pub fn keys() -> impl Iterator<Item = &'static Key> {
    let tables: [&'static [Key]; 11] = [
        &TOP,
        &watch::KEYS,
        &finish::KEYS,
        &pictures::KEYS,
        &deliver::KEYS,
        &deliver::RETAIN,
        &archive::KEYS,
        &events::KEYS,
        &serve::KEYS,
        &announce::KEYS,
        &fleet::KEYS,
    ];
    tables.into_iter().flatten()
}

fn put<T>(place: &mut T, value: Result<T, ValueError>) -> Result<(), ValueError> {
    *place = value?;
    Ok(())
}

/// Where one secret is.
fn secret(value: &Value) -> Result<std::path::PathBuf, ValueError> {
    value::secret_place(&value.filled_text()?, "it is an absolute path or `env:NAME`, never the secret itself")
}

fn quote_path(path: &std::path::Path) -> String {
    value::quote(&path.to_string_lossy())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_two_keys_share_a_spelling_and_every_key_says_what_it_is_for() {
        let mut spellings = std::collections::BTreeSet::new();
        for key in keys() {
            assert!(spellings.insert(key.path()), "{} is there twice", key.path());
            assert!(key.aliases.iter().all(|alias| spellings.insert((*alias).to_owned())));
            assert!(!key.why.is_empty() && key.why.ends_with('.'), "{}", key.path());
            assert!(key.default.is_some() || !key.example.is_empty(), "{} shows no value", key.path());
        }
    }

    #[test]
    fn defaults_of_the_table_are_the_defaults_of_the_code() {
        let built_in = Config::default();
        for key in keys() {
            let (Some(default), Accessors::Whole(set, show)) = (key.default, key.access) else { continue };
            let mut changed = Config::default();
            set(&mut changed, &super::super::document::parse_value(default).unwrap()).unwrap();
            assert_eq!(changed, built_in, "{} = {default}", key.path());
            assert_eq!(show(&built_in).as_deref(), Some(default), "{}", key.path());
        }
    }
}
