//! One layer of settings (file, environment or flags) by key, and how layers lie on each other.
//!
//! A layer knows which keys were set, as what and where; it does not understand the values.

use std::collections::BTreeMap;

use super::error::{ConfigProblem, Origin, ProblemKind};
use super::keys::{Accessors, Key, Section, find, find_alias};
use super::value::{Value, ValueError};

/// What every environment variable of ours begins with.
pub(super) const ENV_PREFIX: &str = "AFTERCAST_";

/// In one file the two would count their entries from different beginnings.
pub(super) const TWO_KINDS_OF_ROOTS: &str =
    "`roots` and `[[watch.root]]` cannot be combined: write every directory as `[[watch.root]]`";

/// A key, and which entry of a repeated section.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Slot {
    pub(super) section: Section,
    pub(super) index: Option<usize>,
    pub(super) key: &'static Key,
}

impl Slot {
    pub(super) fn new(key: &'static Key, index: Option<usize>) -> Self {
        Self { section: key.section, index, key }
    }

    pub(super) fn path(&self) -> String {
        self.key.path_at(self.index)
    }
}

/// A value with where it was set and how the key was spelled there.
#[derive(Debug, Clone)]
pub(super) struct SourcedValue {
    pub(super) value: Value,
    pub(super) origin: Origin,
    pub(super) spelled: String,
}

/// Settings of one source, or of several laid on each other.
#[derive(Debug, Default)]
pub(super) struct Layer {
    pub(super) settings: BTreeMap<Slot, SourcedValue>,
    pub(super) problems: Vec<ConfigProblem>,
    /// Where `roots` was set: it takes the place of every root below.
    roots_from: Option<Origin>,
    /// Entries of repeated sections that were written, also those without a single valid key.
    pub(super) entries: BTreeMap<(Section, usize), Origin>,
}

/// The key of a spelling in a section that is no repeated one.
pub(super) fn key_of(section: Section, spelled: &str) -> Option<&'static Key> {
    let by_alias = || if section.is_repeated() { None } else { find_alias(spelled) };
    find(section, spelled).or_else(by_alias)
}

impl Layer {
    /// Takes one setting; the same key in two spellings is a problem.
    pub(super) fn set(&mut self, key: &'static Key, index: Option<usize>, setting: SourcedValue) {
        if matches!(key.access, Accessors::Spread) {
            return self.spread_roots(key, &setting);
        }
        let slot = Slot::new(key, index);
        if let Some(index) = index {
            self.entries.entry((key.section, index)).or_insert_with(|| setting.origin.clone());
        }
        match self.settings.get(&slot) {
            Some(first) => {
                let (first, second) = (first.spelled.clone(), setting.spelled);
                let what = ProblemKind::TwoSpellings { key: slot.path(), first, second };
                self.problem(setting.origin, slot.path(), what);
            }
            None => drop(self.settings.insert(slot, setting)),
        }
    }

    /// `roots = [a, b]` is short for two `[[watch.root]]` with a path each.
    fn spread_roots(&mut self, key: &'static Key, setting: &SourcedValue) {
        if self.roots_from.is_some() {
            let what = ProblemKind::Rule("`watch.roots` is set twice; keep one".into());
            return self.problem(setting.origin.clone(), key.path(), what);
        }
        self.roots_from = Some(setting.origin.clone());
        let (paths, path_key) = match (setting.value.list(), find(Section::Root, "path")) {
            (Ok(paths), Some(path_key)) => (paths, path_key),
            (Err(wrong), _) => return self.wrong(setting, key, None, wrong),
            (_, None) => return,
        };
        if !paths.is_empty() && self.entries.keys().any(|(section, _)| *section == Section::Root) {
            let what = ProblemKind::Rule(TWO_KINDS_OF_ROOTS.into());
            return self.problem(setting.origin.clone(), key.path(), what);
        }
        for (index, path) in paths.into_iter().enumerate() {
            let value = Value::Text(path);
            self.set(path_key, Some(index), SourcedValue { value, ..setting.clone() });
        }
    }

    /// Notes why a value cannot be taken.
    pub(super) fn wrong(&mut self, setting: &SourcedValue, key: &'static Key, index: Option<usize>, wrong: ValueError) {
        let path = key.path_at(index);
        let what = match wrong {
            ValueError::Kind(found) => ProblemKind::Kind { key: path.clone(), wants: key.wants, found },
            ValueError::Meaning(why) => ProblemKind::Meaning { key: path.clone(), wants: key.wants, why },
        };
        self.problem(setting.origin.clone(), path, what);
    }

    /// Notes a problem.
    pub(super) fn problem(&mut self, origin: Origin, key: String, what: ProblemKind) {
        self.problems.push(ConfigProblem { origin, key, what });
    }

    /// Lays a stronger layer on this one.
    pub(super) fn cover(&mut self, stronger: Self) {
        if stronger.roots_from.is_some() {
            self.settings.retain(|slot, _| slot.section != Section::Root);
            self.entries.retain(|(section, _), _| *section != Section::Root);
            self.roots_from.clone_from(&stronger.roots_from);
        }
        self.settings.extend(stronger.settings);
        for (entry, origin) in stronger.entries {
            self.entries.entry(entry).or_insert(origin);
        }
        self.problems.extend(stronger.problems);
    }

    /// Whether `watch.roots` was set to anything but an empty list.
    pub(super) fn has_listed_roots(&self) -> bool {
        let is_listed = |origin| Some(origin) == self.roots_from.as_ref();
        self.entries_of(Section::Root).iter().any(|(_, origin)| is_listed(origin))
    }

    /// Where `watch.roots` was set, if it was.
    pub(super) fn roots_origin(&self) -> Option<&Origin> {
        self.roots_from.as_ref()
    }

    /// The entries of a repeated section, in order, with where each begins.
    pub(super) fn entries_of(&self, section: Section) -> Vec<(usize, Origin)> {
        let of_section = self.entries.iter().filter(|((s, _), _)| *s == section);
        of_section.map(|((_, index), origin)| (*index, origin.clone())).collect()
    }
}
