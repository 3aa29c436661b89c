//! A state directory that an earlier release left (`tests/fixtures/state-*`) opens, and nothing in it is lost.

use std::process::Command;

use serde_json::{Map, Value, json};

use super::*;
use crate::catalog::tree::TreeId;

/// What must be there after the upgrade, row by row.
const KEPT: [TreeId; 8] = [
    TreeId::Vods,
    TreeId::Known,
    TreeId::Journal,
    TreeId::Open,
    TreeId::Names,
    TreeId::Codecs,
    TreeId::Ledger,
    TreeId::Deliveries,
];

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/state-4").join(name)
}

fn opened() -> TestCatalog {
    let dir = tempfile::tempdir().unwrap();
    let archive = fixture("state.tar.gz");
    let tar = Command::new("tar").arg("--no-same-owner").arg("-xzf").arg(archive).arg("-C").arg(dir.path()).status();
    assert!(tar.unwrap().success());
    let catalog = Catalog::open(&dir.path().join("state")).unwrap();
    TestCatalog { dir, catalog: Some(catalog) }
}

/// Every row of these trees; a value that is no JSON as text.
fn rows(catalog: &Catalog) -> Value {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let row = |(key, value): (sled::IVec, sled::IVec)| {
        let json = serde_json::from_slice(&packing::unpack(&value));
        (text(&key), json.unwrap_or_else(|_| text(&value).into()))
    };
    let of = |tree: TreeId| catalog.store().raw_rows(tree).map(|found| row(found.unwrap())).collect::<Map<_, _>>();
    KEPT.into_iter().map(|tree| (tree.name().to_owned(), of(tree).into())).collect::<Map<_, _>>().into()
}

#[test]
fn a_state_directory_of_the_release_before_keeps_every_row() {
    let mut home = opened();
    let found = rows(&home);
    if std::env::var_os("AFTERCAST_WRITE_EXPECTED").is_some() {
        std::fs::write(fixture("expected.json"), format!("{found:#}\n")).unwrap();
    }
    let expected: Value = serde_json::from_slice(&std::fs::read(fixture("expected.json")).unwrap()).unwrap();
    for tree in KEPT {
        let (found, expected) = (&found[tree.name()], &expected[tree.name()]);
        assert_eq!(found, expected, "{}", tree.name());
        assert!(!expected.as_object().unwrap().is_empty(), "the fixture has nothing in `{}`", tree.name());
    }
    home.restart();
    assert_eq!(rows(&home), found, "the second start changes nothing");
    assert!(home.check(false).unwrap().is_sound(), "{:?}", home.check(false));
}

#[test]
fn what_an_earlier_release_wrote_is_read_in_whole() {
    let home = opened();
    let kept = rows(&home);
    let of = |tree: TreeId| kept[tree.name()].as_object().unwrap().iter();
    for (id, stored) in of(TreeId::Vods) {
        assert_eq!(json!(home.shared().vod(id).unwrap().unwrap()), *stored);
    }
    for (id, stored) in of(TreeId::Deliveries) {
        assert_eq!(json!(home.delivery(id).unwrap().unwrap()), *stored);
    }
    for (key, stored) in of(TreeId::Journal) {
        assert_eq!(json!(home.entry(&key.parse().unwrap()).unwrap().unwrap()), *stored);
    }
    for (stream, stored) in of(TreeId::Codecs) {
        assert_eq!(home.codecs(stream).unwrap().unwrap(), *stored);
    }
    for (key, stored) in of(TreeId::Ledger) {
        assert_eq!(home.ledger(key).unwrap().unwrap(), *stored);
    }
}
