//! From settings to options: every value is read by its key, then the rules between keys are checked.
//!
//! Goes on after a problem, so that all of them are told at once; the options are given out only without any.

use std::collections::BTreeMap;

use super::check;
use super::error::{ConfigProblem, Origin, ProblemKind};
use super::keys::{Accessors, Key, Section, SetFn};
use super::layer::{Layer, Slot, SourcedValue};
use super::{Config, keys};
use crate::announce::{CommandOptions, WebhookOptions};
use crate::deliver::TargetOptions;

/// Makes the options, or says everything that is wrong.
pub(super) fn compose(mut layer: Layer) -> Result<Config, Vec<ConfigProblem>> {
    let settings = std::mem::take(&mut layer.settings);
    let mut config = Config::default();
    read_single(&mut config, &mut layer, &settings);
    read_roots(&mut config, &mut layer, &settings);
    read_targets(&mut config, &mut layer, &settings);
    read_webhooks(&mut config, &mut layer, &settings);
    read_commands(&mut config, &mut layer, &settings);
    let mut problems = layer.problems;
    if !problems.iter().any(|problem| matches!(problem.what, ProblemKind::Syntax(_))) {
        let more = check::rules(&config, &problems);
        problems.extend(more);
    }
    problems.sort_by(|a, b| (&a.origin, &a.key).cmp(&(&b.origin, &b.key)));
    if problems.is_empty() { Ok(config) } else { Err(problems) }
}

type SettingMap = BTreeMap<Slot, SourcedValue>;

fn read_single(config: &mut Config, layer: &mut Layer, settings: &SettingMap) {
    for (slot, setting) in settings {
        let Accessors::Whole(set, _) = slot.key.access else { continue };
        match set(config, &setting.value) {
            Ok(()) => drop(config.origins.insert(slot.path(), setting.origin.clone())),
            Err(wrong) => layer.wrong(setting, slot.key, slot.index, wrong),
        }
    }
    if let Some(origin) = layer.roots_origin() {
        config.origins.insert("watch.roots".into(), origin.clone());
    }
}

fn read_roots(config: &mut Config, layer: &mut Layer, settings: &SettingMap) {
    for entry in SectionEntry::all(layer, Section::Root) {
        for name in ["server", "template", "fragmented", "deliver_progressive"] {
            inherit(config, entry.position, name);
        }
        let root = config.root_at(std::path::PathBuf::new());
        let root = entry.read(config, layer, settings, root, |access| match access {
            Accessors::Root(set, _) => Some(set),
            _ => None,
        });
        entry.need(layer, settings, &["path"]);
        if !root.path.as_os_str().is_empty() {
            config.watch.roots.push(root);
        }
    }
}

/// A root without its own server or template has those of the section, also in `config print`.
fn inherit(config: &mut Config, position: usize, name: &str) {
    if let Some(origin) = config.origins.get(&format!("watch.{name}")).cloned() {
        config.origins.insert(format!("watch.root.{position}.{name}"), origin);
    }
}

fn read_targets(config: &mut Config, layer: &mut Layer, settings: &SettingMap) {
    for entry in SectionEntry::all(layer, Section::Target) {
        let target = entry.read(config, layer, settings, TargetOptions::new("", ""), |access| match access {
            Accessors::Target(set, _) => Some(set),
            _ => None,
        });
        entry.need(layer, settings, &["name", "url"]);
        config.deliver.targets.push(target);
    }
}

fn read_webhooks(config: &mut Config, layer: &mut Layer, settings: &SettingMap) {
    for entry in SectionEntry::all(layer, Section::Webhook) {
        let webhook = entry.read(config, layer, settings, WebhookOptions::new("", ""), |access| match access {
            Accessors::Webhook(set, _) => Some(set),
            _ => None,
        });
        entry.need(layer, settings, &["name", "url"]);
        config.announce.webhooks.push(webhook);
    }
}

fn read_commands(config: &mut Config, layer: &mut Layer, settings: &SettingMap) {
    for entry in SectionEntry::all(layer, Section::Command) {
        let command = entry.read(config, layer, settings, CommandOptions::new("", Vec::new()), |access| match access {
            Accessors::Command(set, _) => Some(set),
            _ => None,
        });
        entry.need(layer, settings, &["name", "command"]);
        config.announce.commands.push(command);
    }
}

/// One of the sections of a name that may be there several times.
struct SectionEntry {
    section: Section,
    /// Among those that are there.
    position: usize,
    /// As it was written.
    index: usize,
    origin: Origin,
}

impl SectionEntry {
    fn all(layer: &Layer, section: Section) -> Vec<Self> {
        let entries = layer.entries_of(section).into_iter().enumerate();
        entries.map(|(position, (index, origin))| Self { section, position, index, origin }).collect()
    }

    /// Sets what it says on top of what holds without it.
    fn read<T>(
        &self,
        config: &mut Config,
        layer: &mut Layer,
        settings: &SettingMap,
        mut options: T,
        access: impl Fn(Accessors) -> Option<SetFn<T>>,
    ) -> T {
        let own = settings.iter().filter(|(slot, _)| slot.section == self.section && slot.index == Some(self.index));
        for (slot, setting) in own {
            let Some(set) = access(slot.key.access) else { continue };
            match set(&mut options, &setting.value) {
                Ok(()) => drop(config.origins.insert(slot.key.path_at(Some(self.position)), setting.origin.clone())),
                Err(wrong) => layer.wrong(setting, slot.key, slot.index, wrong),
            }
        }
        options
    }

    /// Notes which keys it lacks and cannot do without.
    fn need(&self, layer: &mut Layer, settings: &SettingMap, names: &[&str]) {
        for key in names.iter().filter_map(|name| keys::find(self.section, name)) {
            if !settings.contains_key(&Slot::new(key, Some(self.index))) {
                let what = ProblemKind::Rule(missing(self.section, key));
                layer.problem(self.origin.clone(), key.path_at(Some(self.index)), what);
            }
        }
    }
}

fn missing(section: Section, key: &Key) -> String {
    format!("this `{}` has no `{}`: it must be {}", section.header(), key.name, key.wants)
}
