//! From settings to options: every value is read by its key, then the rules between keys are checked.
//!
//! Goes on after a problem, so that all of them are told at once; the options are given out only without any.

use std::collections::BTreeMap;

use super::check;
use super::error::{Origin, Problem, What};
use super::keys::{Access, Key, Section};
use super::layer::{Layer, Setting, Slot};
use super::{Config, keys};
use crate::announce::{CommandOptions, WebhookOptions};
use crate::deliver::TargetOptions;

/// Makes the options, or says everything that is wrong.
pub(super) fn compose(mut layer: Layer) -> Result<Config, Vec<Problem>> {
    let settings = std::mem::take(&mut layer.settings);
    let mut config = Config::default();
    read_single(&mut config, &mut layer, &settings);
    read_roots(&mut config, &mut layer, &settings);
    read_targets(&mut config, &mut layer, &settings);
    read_webhooks(&mut config, &mut layer, &settings);
    read_commands(&mut config, &mut layer, &settings);
    let mut problems = layer.problems;
    if !problems.iter().any(|problem| matches!(problem.what, What::Syntax(_))) {
        let more = check::rules(&config, &problems);
        problems.extend(more);
    }
    problems.sort_by(|a, b| (&a.origin, &a.key).cmp(&(&b.origin, &b.key)));
    if problems.is_empty() { Ok(config) } else { Err(problems) }
}

type Settings = BTreeMap<Slot, Setting>;

fn read_single(config: &mut Config, layer: &mut Layer, settings: &Settings) {
    for (slot, setting) in settings {
        let Access::Whole(set, _) = slot.key.access else { continue };
        match set(config, &setting.value) {
            Ok(()) => drop(config.origins.insert(slot.path(), setting.origin.clone())),
            Err(wrong) => layer.wrong(setting, slot.key, slot.index, wrong),
        }
    }
    if let Some(origin) = layer.roots_origin() {
        config.origins.insert("watch.roots".into(), origin.clone());
    }
}

fn read_roots(config: &mut Config, layer: &mut Layer, settings: &Settings) {
    for (position, (index, origin)) in layer.entries_of(Section::Root).into_iter().enumerate() {
        let mut root = config.root_at(std::path::PathBuf::new());
        for name in ["server", "template", "fragmented", "deliver_progressive"] {
            inherit(config, position, name);
        }
        for (slot, setting) in of_entry(settings, Section::Root, index) {
            let Access::Root(set, _) = slot.key.access else { continue };
            match set(&mut root, &setting.value) {
                Ok(()) => drop(config.origins.insert(slot.key.path_at(Some(position)), setting.origin.clone())),
                Err(wrong) => layer.wrong(setting, slot.key, slot.index, wrong),
            }
        }
        need(layer, settings, Section::Root, index, &origin, "path");
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

fn read_targets(config: &mut Config, layer: &mut Layer, settings: &Settings) {
    for (position, (index, origin)) in layer.entries_of(Section::Target).into_iter().enumerate() {
        let mut target = TargetOptions::new("", "");
        for (slot, setting) in of_entry(settings, Section::Target, index) {
            let Access::Target(set, _) = slot.key.access else { continue };
            match set(&mut target, &setting.value) {
                Ok(()) => drop(config.origins.insert(slot.key.path_at(Some(position)), setting.origin.clone())),
                Err(wrong) => layer.wrong(setting, slot.key, slot.index, wrong),
            }
        }
        for name in ["name", "url"] {
            need(layer, settings, Section::Target, index, &origin, name);
        }
        config.deliver.targets.push(target);
    }
}

fn read_webhooks(config: &mut Config, layer: &mut Layer, settings: &Settings) {
    for (position, (index, origin)) in layer.entries_of(Section::Webhook).into_iter().enumerate() {
        let mut webhook = WebhookOptions::new("", "");
        for (slot, setting) in of_entry(settings, Section::Webhook, index) {
            let Access::Webhook(set, _) = slot.key.access else { continue };
            match set(&mut webhook, &setting.value) {
                Ok(()) => drop(config.origins.insert(slot.key.path_at(Some(position)), setting.origin.clone())),
                Err(wrong) => layer.wrong(setting, slot.key, slot.index, wrong),
            }
        }
        for name in ["name", "url"] {
            need(layer, settings, Section::Webhook, index, &origin, name);
        }
        config.announce.webhooks.push(webhook);
    }
}

fn read_commands(config: &mut Config, layer: &mut Layer, settings: &Settings) {
    for (position, (index, origin)) in layer.entries_of(Section::Command).into_iter().enumerate() {
        let mut command = CommandOptions::new("", Vec::new());
        for (slot, setting) in of_entry(settings, Section::Command, index) {
            let Access::Command(set, _) = slot.key.access else { continue };
            match set(&mut command, &setting.value) {
                Ok(()) => drop(config.origins.insert(slot.key.path_at(Some(position)), setting.origin.clone())),
                Err(wrong) => layer.wrong(setting, slot.key, slot.index, wrong),
            }
        }
        for name in ["name", "command"] {
            need(layer, settings, Section::Command, index, &origin, name);
        }
        config.announce.commands.push(command);
    }
}

fn of_entry(settings: &Settings, section: Section, index: usize) -> impl Iterator<Item = (&Slot, &Setting)> {
    settings.iter().filter(move |(slot, _)| slot.section == section && slot.index == Some(index))
}

/// Notes that an entry lacks a key it cannot do without.
fn need(layer: &mut Layer, settings: &Settings, section: Section, index: usize, origin: &Origin, name: &str) {
    let Some(key) = keys::find(section, name) else { return };
    let is_there = settings.contains_key(&Slot::new(key, Some(index)));
    if !is_there {
        layer.problem(origin.clone(), key.path_at(Some(index)), What::Rule(missing(section, key)));
    }
}

fn missing(section: Section, key: &Key) -> String {
    format!("this `{}` has no `{}`: it must be {}", section.header(), key.name, key.wants)
}
