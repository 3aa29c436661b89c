//! Fragmented MP4 next to a server that reads its fragments again.

use std::fs;
use std::path::Path;

use crate::support::recordings::{made, packets};
use crate::support::{Sandbox, standard_config, tree};

fn sandbox(watch: &str) -> Sandbox {
    Sandbox::with_config(|dir| standard_config(dir, "").replace("[watch]\n", &format!("[watch]\n{watch}\n")))
}

/// As MediaMTX names its segments.
const SEGMENT: &str = "cam/2026-03-04_14-30-15-000000.mp4";

/// Whether the header that is in front leads to fragments.
fn has_fragments(path: &Path) -> bool {
    let bytes = fs::read(path).unwrap();
    let place = |fourcc: &[u8]| bytes.windows(4).position(|w| w == fourcc).unwrap_or(usize::MAX);
    place(b"mvex") < place(b"mdat")
}

#[test]
fn a_segment_of_mediamtx_stays_as_it_is_and_is_catalogued_and_delivered() {
    for (watch, doctor) in [("server = \"mediamtx\"", "kept"), ("fragmented = \"keep\"", "kept: set by")] {
        let sandbox = sandbox(watch);
        let segment = sandbox.put(&made("mp4-fragmented", 2), SEGMENT);
        let before = tree(&sandbox.root());
        sandbox.process().expect_code(0);
        assert_eq!(tree(&sandbox.root()), before, "{watch}: not a byte, not its time, not its inode");
        let vods = sandbox.vods();
        assert_eq!((vods.len(), &vods[0]["outcome"]), (1, &"kept".into()), "{vods:?}");
        assert_eq!(vods[0]["defects"], serde_json::json!([]));
        assert!((vods[0]["duration"].as_i64().unwrap() - 2000).abs() < 200);
        assert_eq!(fs::read(sandbox.store().join(SEGMENT)).unwrap(), fs::read(&segment).unwrap());
        let again = sandbox.process().expect_code(0);
        assert!(again.out.contains("already finished"), "{}", again.out);
        let said = sandbox.run(&["doctor"]).out;
        let line = said.lines().find(|line| line.contains("fragmented MP4")).unwrap();
        assert!(line.contains(doctor), "{line}");
        let inspected = sandbox.run(&["inspect", segment.to_str().unwrap()]).expect_code(0);
        assert!(inspected.out.contains("keep"), "{}", inspected.out);
    }
}

#[test]
fn fragments_become_progressive_where_that_is_asked_for_or_no_server_reads_them() {
    for watch in ["server = \"mediamtx\"\nfragmented = \"progressive\"", "server = \"srs\""] {
        let sandbox = sandbox(watch);
        let segment = sandbox.put(&made("mp4-fragmented", 2), SEGMENT);
        assert!(has_fragments(&segment));
        sandbox.process().expect_code(0);
        assert_eq!(sandbox.vods()[0]["outcome"], "spliced", "{watch}");
        assert!(!has_fragments(&segment), "{watch}");
        let said = sandbox.run(&["doctor"]).out;
        assert!(said.lines().any(|l| l.contains("fragmented MP4") && l.contains("made progressive")), "{said}");
    }
}

#[test]
fn each_root_has_its_own_setting() {
    let sandbox = Sandbox::with_config(|dir| {
        let config = standard_config(dir, "");
        let (kept, made) = (dir.join("root/kept"), dir.join("root/made"));
        let roots = format!(
            "[[watch.root]]\npath = \"{}\"\nfragmented = \"keep\"\n[[watch.root]]\npath = \"{}\"\n",
            kept.display(),
            made.display()
        );
        let roots_line = config.lines().find(|line| line.starts_with("roots")).unwrap().to_owned();
        config
            .replace(&format!("{roots_line}\n"), "")
            .replace("[[deliver.target]]", &format!("{roots}[[deliver.target]]"))
    });
    for root in ["kept", "made"] {
        // Of one name they were one VoD, whose record is that of the last.
        sandbox.put(&made("mp4-fragmented", 2), &format!("{root}/{root}.mp4"));
    }
    sandbox.process().expect_code(0);
    let outcomes: Vec<_> =
        sandbox.vods().iter().map(|v| (v["filePath"].to_string(), v["outcome"].to_string())).collect();
    assert_eq!(outcomes.len(), 2, "{outcomes:?}");
    for (path, outcome) in outcomes {
        assert_eq!(outcome, if path.contains("/kept/") { "\"kept\"" } else { "\"spliced\"" }, "{path}");
    }
}

#[test]
fn kept_fragments_are_uploaded_as_progressive_mp4_where_that_is_asked_for() {
    for retain in ["", "[retain]\ndelete_local = \"delivered\"\n"] {
        let sandbox = Sandbox::with_config(|dir| {
            let watch = "[watch]\nserver = \"mediamtx\"\nfragmented = \"keep\"\ndeliver_progressive = true\n";
            standard_config(dir, retain).replace("[watch]\n", watch)
        });
        let original = made("mp4-fragmented", 2);
        let segment = sandbox.put(&original, SEGMENT);
        let before = tree(&sandbox.root());
        sandbox.process().expect_code(0);
        let uploaded = sandbox.store().join(SEGMENT);
        assert!(!has_fragments(&uploaded));
        assert_eq!(packets(&uploaded), packets(&original));
        let vods = sandbox.vods();
        assert_eq!((vods.len(), &vods[0]["remote"][0]["isProgressiveCopy"]), (1, &true.into()), "{vods:?}");
        sandbox.run(&["vod", "verify", "--download"]).expect_code(0);
        if retain.is_empty() {
            assert_eq!(tree(&sandbox.root()), before, "the segment is as it was, and no copy of it is left");
            let sent = tree(&sandbox.store());
            sandbox.process().expect_code(0);
            assert_eq!(tree(&sandbox.store()), sent);
        } else {
            assert!(!segment.exists(), "proven, it is freed");
            assert_eq!(tree(&sandbox.root()).len(), 0);
        }
    }
}

#[test]
fn a_segment_without_fragments_is_uploaded_as_it_is() {
    let sandbox = sandbox("server = \"mediamtx\"\ndeliver_progressive = true");
    let original = made("mp4-faststart", 2);
    sandbox.put(&original, SEGMENT);
    sandbox.process().expect_code(0);
    assert_eq!(fs::read(sandbox.store().join(SEGMENT)).unwrap(), fs::read(original).unwrap());
    assert!(sandbox.vods()[0]["remote"][0].get("isProgressiveCopy").is_none());
}
