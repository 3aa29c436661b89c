//! Rules between keys: what is right by itself and cannot be together.
//!
//! Lexical only: nothing is looked up on a disk or a network, so that a check says the same everywhere. A rule is
//! skipped where a problem with one of its keys was already found.

use std::collections::BTreeMap;
use std::path::Path;

use super::error::{ConfigProblem, Origin, ProblemKind};
use super::{Config, address};
use crate::control;
use crate::discover::{RootOptions, Server};
use crate::recording::name::printable;
use crate::retain::DeleteLocal;

/// Everything that does not go together.
pub(super) fn rules(config: &Config, known: &[ConfigProblem]) -> Vec<ConfigProblem> {
    let mut found = Vec::new();
    same_names(config, &mut found);
    overlapping_roots(config, &mut found);
    targets_in_roots(config, &mut found);
    switches_of_servers(config, &mut found);
    shared_roots(config, &mut found);
    let is_known = |prefix: &str| known.iter().any(|problem| problem.key.starts_with(prefix));
    if !is_known("deliver") {
        deleting_without_delivery(config, &mut found);
    }
    found
}

fn rule(config: &Config, key: String, text: String) -> ConfigProblem {
    let origin = config.origin(&key).clone();
    ConfigProblem { origin, key, what: ProblemKind::Rule(text) }
}

fn same_names(config: &Config, found: &mut Vec<ConfigProblem>) {
    let targets = config.deliver.targets.iter().map(|target| target.name.as_str());
    let webhooks = config.announce.webhooks.iter().map(|webhook| webhook.name.as_str());
    let commands = config.announce.commands.iter().map(|command| command.name.as_str());
    told_apart(config, ("targets", "deliver.target"), targets, "records could not distinguish them", found);
    let why = "both would have the same place in the event log";
    told_apart(config, ("webhooks", "announce.webhook"), webhooks, why, found);
    told_apart(config, ("commands", "announce.command"), commands, why, found);
}

fn told_apart<'a>(
    config: &Config,
    (kind, section): (&str, &str),
    names: impl Iterator<Item = &'a str>,
    why: &str,
    found: &mut Vec<ConfigProblem>,
) {
    let mut first_of: BTreeMap<&str, usize> = BTreeMap::new();
    for (index, name) in names.enumerate().filter(|(_, name)| !name.is_empty()) {
        match first_of.get(name) {
            Some(first) => {
                let other = config.origin(&format!("{section}.{first}.name"));
                let text = format!("two {kind} are named `{name}` (the other: {other}): {why}");
                found.push(rule(config, format!("{section}.{index}.name"), text));
            }
            None => drop(first_of.insert(name, index)),
        }
    }
}

fn overlapping_roots(config: &Config, found: &mut Vec<ConfigProblem>) {
    let roots = &config.watch.roots;
    for (index, later) in roots.iter().enumerate() {
        let hits = roots[..index].iter().find(|earlier| nest(&earlier.path, &later.path));
        if let Some(earlier) = hits {
            let (earlier, later) = (printable(&earlier.path), printable(&later.path));
            let text = if earlier == later {
                format!("the root `{later}` is listed twice")
            } else {
                format!(
                    "the roots `{earlier}` and `{later}` overlap: one recording would belong to both; keep the outer one"
                )
            };
            found.push(rule(config, format!("watch.root.{index}.path"), text));
        }
    }
}

/// The address of a switch says nothing without the server whose it is.
fn switches_of_servers(config: &Config, found: &mut Vec<ConfigProblem>) {
    let without = |root: &RootOptions| root.control.url.is_some() && !control::has_switch(root.server);
    for (index, root) in config.watch.roots.iter().enumerate().filter(|(_, root)| without(root)) {
        let text = match root.server {
            Server::Auto => {
                "`control` needs `server`: \"antmedia\", \"mediamtx\", \"nginx-rtmp\" or \"ome\"".to_owned()
            }
            server => {
                let name = server.name();
                format!(
                    "the server `{name}` has no interface that switches the recording of a stream: remove `control`"
                )
            }
        };
        found.push(rule(config, format!("watch.root.{index}.control"), text));
    }
}

/// Who works on what in a shared root is told by the database of the fleet.
fn shared_roots(config: &Config, found: &mut Vec<ConfigProblem>) {
    for (index, root) in config.watch.roots.iter().enumerate() {
        if root.shared && !config.fleet.is_on() {
            let text = "`shared` needs `[fleet] database`: the nodes share out the recordings by it";
            found.push(rule(config, format!("watch.root.{index}.shared"), text.into()));
        }
        if root.first_right && !root.shared {
            let text = "`first_right` needs `shared = true`: other directories have one node";
            found.push(rule(config, format!("watch.root.{index}.first_right"), text.into()));
        }
    }
}

fn nest(a: &Path, b: &Path) -> bool {
    a.starts_with(b) || b.starts_with(a)
}

fn targets_in_roots(config: &Config, found: &mut Vec<ConfigProblem>) {
    let file_targets = config
        .deliver
        .targets
        .iter()
        .enumerate()
        .filter_map(|(index, target)| address::file_path(&target.url).map(|path| (index, path)));
    for (index, path) in file_targets {
        if let Some(root) = config.watch.roots.iter().find(|root| nest(&root.path, &path)) {
            found.push(rule(config, format!("deliver.target.{index}.url"), target_text(&path, &root.path)));
        }
    }
}

fn target_text(target: &Path, root: &Path) -> String {
    let (shown, root_shown) = (printable(target), printable(root));
    if target.starts_with(root) {
        format!(
            "the target `{shown}` is inside the root `{root_shown}`: delivered files would be found as new \
             recordings; use another directory"
        )
    } else {
        format!(
            "the target `{shown}` contains the root `{root_shown}`: files in a target are never recordings; use \
             another directory"
        )
    }
}

fn deleting_without_delivery(config: &Config, found: &mut Vec<ConfigProblem>) {
    if config.retain.delete_local == DeleteLocal::Never {
        return;
    }
    let key = "retain.delete_local";
    let has_required = config.deliver.targets.iter().any(|target| target.required);
    if !has_required {
        let text = "`retain.delete_local` needs a target with `required = true`: without one no copy is ever proven";
        found.push(rule(config, key.into(), text.into()));
    }
    if config.deliver.upload_extensions.is_empty() {
        let text = "`retain.delete_local` needs an `upload_extensions` other than 0: with 0 nothing is uploaded";
        found.push(rule(config, key.into(), text.into()));
    }
}

impl Config {
    /// Where the value of a key came from, by its path (`watch.quiet`, `deliver.target.0.url`).
    pub fn origin(&self, path: &str) -> &Origin {
        self.origins.get(path).unwrap_or(&Origin::Default)
    }
}
