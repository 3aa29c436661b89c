//! A process that is killed in the middle of everything: what the next one finds.

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

use super::*;

const STATE_DIR: &str = "AFTERCAST_TEST_STATE_DIR";

/// Takes recordings into the catalogue until it is killed; says each on stdout once it is promised.
#[test]
#[ignore = "the victim of the test below"]
fn victim() {
    let Some(state_dir) = std::env::var_os(STATE_DIR) else { return };
    let catalog = Catalog::open(Path::new(&state_dir)).unwrap();
    let first = u64::try_from(catalog.entries(None, usize::MAX).unwrap().items.len()).unwrap();
    for n in first.. {
        let name = format!("room{n}");
        let vod = catalogue(&catalog, &name, n, i64::try_from(n).unwrap());
        let id = Delivery::id_of(&vod.vod_id, "primary");
        catalog.begin_delivery(&id, 0).unwrap();
        catalog.delivered(&id, &[object(&vod, "primary")], 9).unwrap();
        println!("promised {name}");
    }
}

#[test]
fn what_was_promised_is_there_after_a_kill_and_what_was_not_is_whole_or_absent() {
    let dir = tempfile::tempdir().unwrap();
    let state_dir = dir.path().join("state");
    let mut promised = Vec::new();
    for kill_after in [3, 40, 11] {
        let mut victim = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "catalog::tests::kill::victim", "--ignored", "--nocapture"])
            .env(STATE_DIR, &state_dir)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(victim.stdout.take().unwrap()).lines().map_while(std::result::Result::ok);
        let said = lines.filter_map(|line| line.split_once("promised ").map(|(_, name)| name.to_owned()));
        promised.extend(said.take(kill_after));
        victim.kill().unwrap();
        victim.wait().unwrap();

        let catalog = Catalog::open(&state_dir).unwrap();
        assert!(catalog.check(false).unwrap().is_sound());
        for name in &promised {
            let vod = catalog.shared().vod_at_path(Path::new(&format!("/srv/{name}.mp4"))).unwrap().unwrap();
            assert_eq!(vod.remote.len(), 1, "{name}");
        }
        for (_, entry) in catalog.entries(None, usize::MAX).unwrap().items {
            let vod = catalog
                .shared()
                .vod_at_path(Path::new(&format!("/srv/{}.mp4", entry.settled.candidate().facts.stem)))
                .unwrap();
            assert_eq!(vod.is_some(), matches!(entry.step, Step::Done { .. }), "{entry:?}");
            let Some(vod) = vod else { continue };
            let deliveries = catalog.deliveries_of(&vod.vod_id).unwrap();
            assert_eq!(deliveries.len(), 1);
            assert_eq!(vod.remote.is_empty(), deliveries[0].is_pending(), "{deliveries:?}");
        }
    }
    assert_eq!(promised.len(), 54);
}
