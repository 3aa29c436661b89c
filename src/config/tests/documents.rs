//! `config.toml.example` and `docs/configuration.md` say what the code does.

use super::*;
use crate::config::{Section, example, keys, reference};

const BEGIN: &str = "<!-- keys: begin (written by the tests from the table of keys) -->\n";
const END: &str = "<!-- keys: end -->\n";

#[test]
fn the_example_holds_every_key_and_nothing_else() {
    assert_file(&repository().join("config.toml.example"), &example());
    let is_key = |line: &&str| line.trim_start_matches('#').split_once(" = ").is_some_and(|(k, _)| !k.contains(' '));
    assert_eq!(example().lines().filter(is_key).count(), keys().count());
}

#[test]
fn the_example_as_it_is_changes_no_default() {
    let config = from_text(&example()).unwrap();
    let expected = Config {
        state_dir: "/home/op/.local/state/aftercast".into(),
        origins: config.origins.clone(),
        file: config.file.clone(),
        ..Config::default()
    };
    assert_eq!(config, expected);
}

#[test]
fn the_example_loads_with_every_line_switched_on() {
    let is_code = |line: &str| line.starts_with('#') && !line.starts_with("# ") && line.len() > 1;
    let switched_on: Vec<_> =
        example().lines().map(|l| if is_code(l) { l[1..].to_owned() } else { l.to_owned() }).collect();
    let config = from_text(&switched_on.join("\n")).unwrap();
    assert_eq!((config.watch.roots.len(), config.deliver.targets.len()), (1, 1));
    let set = keys().filter(|key| config.origins.contains_key(&key.path_at(key.section.is_repeated().then_some(0))));
    assert_eq!(set.count(), keys().count());
}

#[test]
fn the_documentation_has_the_table_and_names_every_variable_form() {
    let path = repository().join("docs/configuration.md");
    let text = std::fs::read_to_string(&path).unwrap();
    let (before, rest) = text.split_once(BEGIN).unwrap();
    let (_, after) = rest.split_once(END).unwrap();
    assert_file(&path, &format!("{before}{BEGIN}\n{}\n{END}{after}", reference()));
    for key in keys() {
        assert!(reference().contains(&format!("| `{}`", key.name)), "{} is not documented", key.path());
    }
    assert!(Section::ALL.iter().all(|section| reference().contains(&section.header())));
}

#[test]
fn the_file_shown_in_the_documentation_loads() {
    let text = std::fs::read_to_string(repository().join("docs/configuration.md")).unwrap();
    let blocks: Vec<_> = text.split("```toml\n").skip(1).filter_map(|rest| rest.split("```").next()).collect();
    assert!(!blocks.is_empty());
    for block in blocks {
        from_text(block).unwrap_or_else(|error| panic!("{error}\n{block}"));
    }
}

#[test]
fn environment_names_set_the_keys_that_they_are_said_to_set() {
    for key in keys().filter(|key| key.default.is_some()) {
        let raw = key.default.unwrap().trim_matches('"');
        let path = key.path_at(key.section.is_repeated().then_some(0));
        let name = format!("AFTERCAST_{}", path.replace('.', "__").to_ascii_uppercase());
        let vars = env(&[
            ("AFTERCAST_DELIVER__TARGET__0__NAME", "n"),
            ("AFTERCAST_DELIVER__TARGET__0__URL", "s3://b"),
            ("AFTERCAST_ANNOUNCE__WEBHOOK__0__NAME", "n"),
            ("AFTERCAST_ANNOUNCE__WEBHOOK__0__URL", "http://localhost"),
            ("AFTERCAST_ANNOUNCE__COMMAND__0__NAME", "n"),
            ("AFTERCAST_ANNOUNCE__COMMAND__0__COMMAND", "[\"/bin/true\"]"),
            (&name, raw),
        ]);
        let config = read(None, &vars, &[]).unwrap();
        assert!(config.warnings.is_empty(), "{:?}", config.warnings);
        assert!(config.origins.contains_key(&path), "{path}");
    }
}
