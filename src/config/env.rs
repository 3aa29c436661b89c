//! The layers of the environment and of the command line.
//!
//! `AFTERCAST_WATCH__QUIET` is `watch.quiet`; `AFTERCAST_DELIVER__TARGET__0__URL` is `deliver.target.0.url`. A variable
//! of ours that means nothing is a warning: it may be somebody else's, or for another version.

use super::error::{Origin, ProblemKind};
use super::keys::{Key, Section, nearest, section_named};
use super::layer::{ENV_PREFIX, Layer, SourcedValue, key_of};
use super::value::{TableEntry, Value};
use crate::announce::VARIABLES;

/// Variables that the program itself reads. Those that it gives to hook commands, which may run it, set nothing either.
const OWN: [&str; 5] =
    ["AFTERCAST_CONFIG", "AFTERCAST_LOG", "AFTERCAST_STEP_LOG", "AFTERCAST_KILL_AFTER", "AFTERCAST_STOP_AFTER"];

/// A key by its dotted path: the key, the entry of a repeated section, and the name inside a table.
struct KeyPath {
    key: &'static Key,
    index: Option<usize>,
    inner: Option<String>,
}

/// Reads the environment; says which variables mean nothing.
pub(super) fn layer(env: impl IntoIterator<Item = (String, String)>) -> (Layer, Vec<String>) {
    let mut layer = Layer::default();
    let mut warnings = Vec::new();
    let mut ours: Vec<_> = env.into_iter().filter(|(name, _)| is_setting(name)).collect();
    ours.sort();
    for (name, value) in ours {
        match address(&name[ENV_PREFIX.len()..], "__") {
            Ok(found) => put(&mut layer, found, &name, value, Origin::Env(name.clone())),
            Err(advice) => warnings.push(unknown(&name, advice)),
        }
    }
    (layer, warnings)
}

/// Reads settings of the command line, by dotted path (`watch.quiet`).
pub(super) fn overrides(settings: &[(String, String)]) -> Layer {
    let mut layer = Layer::default();
    for (path, value) in settings {
        match address(path, ".") {
            Ok(found) => put(&mut layer, found, path, value.clone(), Origin::Flag),
            Err(advice) => {
                let what = ProblemKind::UnknownKey { spelled: path.clone(), advice };
                layer.problem(Origin::Flag, path.clone(), what);
            }
        }
    }
    layer
}

fn is_setting(name: &str) -> bool {
    name.starts_with(ENV_PREFIX) && !OWN.contains(&name) && !VARIABLES.contains(&name)
}

fn unknown(name: &str, advice: Option<String>) -> String {
    let advice = advice.map(|a| format!("; {a}")).unwrap_or_default();
    format!("the environment variable `{name}` matches no setting{advice}")
}

/// Finds the key of `WATCH__QUIET`, `DELIVER__TARGET__0__METADATA__TEAM`; otherwise says what comes nearest.
fn address(path: &str, separator: &str) -> Result<KeyPath, Option<String>> {
    let parts: Vec<String> = path.split(separator).map(str::to_ascii_lowercase).collect();
    let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
    let (section, index, rest) = match parts.as_slice() {
        [_] => (Section::Top, None, parts.as_slice()),
        [outer, repeated, index, rest @ ..] if section_named(&format!("{outer}.{repeated}")).is_some() => {
            let section = section_named(&format!("{outer}.{repeated}")).unwrap_or(Section::Top);
            (section, Some(index.parse().map_err(|_| Some(number_wanted(section)))?), rest)
        }
        [section, rest @ ..] => {
            (section_named(section).ok_or_else(|| nearest(Section::Top, section, true))?, None, rest)
        }
        [] => return Err(None),
    };
    let [name, inner @ ..] = rest else { return Err(None) };
    let key = key_of(section, name).ok_or_else(|| nearest(section, name, false))?;
    match (inner, key.is_table()) {
        ([], _) => Ok(KeyPath { key, index, inner: None }),
        ([inner], true) => Ok(KeyPath { key, index, inner: Some((*inner).to_owned()) }),
        _ => Err(nearest(section, name, false)),
    }
}

fn number_wanted(section: Section) -> String {
    format!("`{}` is a list: an index from 0 must follow", section.name())
}

fn put(layer: &mut Layer, found: KeyPath, spelled: &str, text: String, origin: Origin) {
    let KeyPath { key, index, inner } = found;
    let Some(name) = inner else {
        let setting = SourcedValue { value: Value::Raw(text), origin, spelled: spelled.to_owned() };
        return layer.set(key, index, setting);
    };
    let entry = TableEntry { key: name, line: 0, value: Value::Raw(text) };
    let slot = super::layer::Slot::new(key, index);
    if let Some(SourcedValue { value: Value::Table(entries), .. }) = layer.settings.get_mut(&slot) {
        return entries.push(entry);
    }
    layer.set(key, index, SourcedValue { value: Value::Table(vec![entry]), origin, spelled: spelled.to_owned() });
}

#[cfg(test)]
mod tests {
    use super::*;

    fn vars(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
        pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect()
    }

    fn paths(layer: &Layer) -> Vec<String> {
        layer.settings.keys().map(super::super::layer::Slot::path).collect()
    }

    #[test]
    fn every_depth_of_name_finds_its_key() {
        let (layer, warnings) = layer(vars(&[
            ("AFTERCAST_STATE_DIR", "/x"),
            ("AFTERCAST_WATCH__QUIET", "60s"),
            ("AFTERCAST_DELIVER__TARGET__1__URL", "s3://b"),
            ("AFTERCAST_DELIVER__TARGET__1__METADATA__TEAM", "news"),
            ("AFTERCAST_DELIVER__TARGET__1__METADATA__SHOW", "late"),
            ("AFTERCAST_MP4MUXINGENABLED", "false"),
            ("AFTERCAST_CONFIG", "/etc/x"),
            ("PATH", "/bin"),
        ]));
        assert_eq!(warnings, Vec::<String>::new());
        assert_eq!(
            paths(&layer),
            [
                "state_dir",
                "finish.mp4_muxing_enabled",
                "watch.quiet",
                "deliver.target.1.metadata",
                "deliver.target.1.url"
            ]
        );
    }

    #[test]
    fn what_sets_nothing_is_a_warning_with_the_nearest() {
        let (layer, warnings) = layer(vars(&[
            ("AFTERCAST_WATCH__QUITE", "60s"),
            ("AFTERCAST_DELIVER__TARGET__FIRST__URL", "s3://b"),
            ("AFTERCAST_BANANA", "s3cret"),
            ("AFTERCAST_WATCH", "x"),
        ]));
        assert!(layer.settings.is_empty());
        assert_eq!(warnings.len(), 4);
        assert!(warnings[3].contains("did you mean `watch.quiet`?"), "{warnings:?}");
        assert!(warnings[1].contains("an index from 0"), "{warnings:?}");
        assert!(!warnings.concat().contains("s3cret"));
    }

    #[test]
    fn an_unknown_override_is_a_problem() {
        let layer = overrides(&vars(&[("watch.quite", "1s"), ("watch.roots", "/a:/b")]));
        assert_eq!(layer.problems.len(), 1);
        assert_eq!(paths(&layer), ["watch.root.0.path", "watch.root.1.path"]);
    }
}
