//! What a scan takes and what it leaves.

mod hostile;

use super::*;
use crate::discover::hls::Readiness;
use crate::discover::newest_first;
use crate::discover::options::{FragmentedPolicy, Server};
use jiff::tz::TimeZone;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{PermissionsExt, symlink};

struct TestTree {
    _dir: tempfile::TempDir,
    root: RootOptions,
    namer: Namer,
    excluded: Vec<PathBuf>,
}

impl TestTree {
    fn new(files: &[(&str, &str)]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().canonicalize().unwrap().join("root");
        fs::create_dir(&path).unwrap();
        let root = RootOptions {
            path,
            server: Server::AntMedia,
            template: None,
            stream: None,
            fragmented: FragmentedPolicy::Auto,
            deliver_progressive: false,
            shared: false,
            first_right: false,
            app: None,
            control: crate::discover::ControlOptions::default(),
        };
        let namer = Namer::new(&root, &[], TimeZone::UTC).unwrap();
        let tree = Self { _dir: dir, root, namer, excluded: Vec::new() };
        for (name, text) in files {
            tree.write(name, text);
        }
        tree
    }

    fn path(&self, name: &str) -> PathBuf {
        self.root.path.join(name)
    }

    fn write(&self, name: &str, text: &str) {
        fs::create_dir_all(self.path(name).parent().unwrap()).unwrap();
        fs::write(self.path(name), text).unwrap();
        lease::until_free(&self.path(name));
    }

    /// A search at a time when every temporary that is there is fresh.
    fn search(&self) -> Search<'_> {
        self.search_after(0)
    }

    fn search_after(&self, later_ms: i64) -> Search<'_> {
        let now_ms = jiff::Timestamp::now().as_millisecond() + later_ms;
        let orphan_after = Duration::from_secs(600);
        Search { root: &self.root, namer: &self.namer, excluded: &self.excluded, orphan_after, now_ms }
    }

    fn relative(&self, path: &Path) -> String {
        path.strip_prefix(&self.root.path).unwrap().to_string_lossy().into_owned()
    }

    fn names(&self, scan: &Scan) -> Vec<String> {
        let mut names: Vec<_> = scan.candidates.iter().map(|c| self.relative(&c.path)).collect();
        names.sort();
        names
    }

    fn files(&self, unit: &Unit) -> Vec<String> {
        unit.files.iter().map(|f| self.relative(f)).collect()
    }
}

const ENDED: &str = "#EXTM3U\n#EXT-X-TARGETDURATION:2\n#EXTINF:2,\n";

fn media_playlist(names: &[String], has_ended: bool) -> String {
    let end = if has_ended { "#EXT-X-ENDLIST\n" } else { "" };
    format!("{ENDED}{}\n{end}", names.join("\n#EXTINF:2,\n"))
}

#[test]
fn recordings_are_found_at_any_depth_with_what_their_names_say() {
    let tree = TestTree::new(&[
        ("room1.mp4", "abc"),
        ("sub/vod/room2-2024-01-02_15-04-05.678_240p500kbps.webm", ""),
        ("sub/room3.mp4.tmp_extension", ""),
        ("notes.txt", ""),
        (".hidden/room4.mp4", ""),
        ("lost+found/room5.mp4", ""),
        ("sub/chunk.m4s", ""),
    ]);
    let scan = tree.search().scan();
    assert_eq!(
        tree.names(&scan),
        ["room1.mp4", "sub/room3.mp4.tmp_extension", "sub/vod/room2-2024-01-02_15-04-05.678_240p500kbps.webm"]
    );
    assert!(scan.problems.is_empty() && scan.units.is_empty());
    assert_eq!(scan.files_seen, 5);
    let room1 = scan.candidates.iter().find(|c| c.path == tree.path("room1.mp4")).unwrap();
    assert_eq!((room1.fingerprint.size_bytes, room1.is_temporary), (3, false));
    assert_eq!((room1.facts.stream_id.as_str(), room1.server.as_str()), ("room1", "antmedia"));
    assert_eq!(room1.relative_path(), Path::new("room1.mp4"));
}

#[test]
fn an_hls_unit_is_no_recording_and_a_recording_beside_it_is_one() {
    let names: Vec<String> = (1..=20).map(|n| format!("room1{n:09}.ts")).collect();
    let tree = TestTree::new(&[
        ("room1.m3u8", &media_playlist(&names[5..], true)),
        ("room1_1700000000000_init.mp4", ""),
        ("room1.mp4", ""),
        ("room10.ts", ""),
        ("room10000000001x.ts", ""),
    ]);
    for name in &names {
        tree.write(name, "");
    }
    let scan = tree.search().scan();
    assert_eq!(tree.names(&scan), ["room1.mp4", "room10.ts", "room10000000001x.ts"]);
    let [unit] = scan.units.as_slice() else { panic!("{:?}", scan.units) };
    assert_eq!((unit.kind, unit.ready, unit.missing), (UnitKind::Hls, Readiness::Ended, 0));
    let expected: Vec<_> = names[5..].iter().cloned().chain(["room1.m3u8".to_owned()]).collect();
    assert_eq!(tree.files(unit), expected, "exactly what it names, the playlist last");
}

/// Without a playlist no name is held; with one all are.
#[test]
fn a_directory_with_more_names_than_are_held_is_judged_like_any_other() {
    let tree = TestTree::new(&[("below/room1.mp4", ""), ("room2.mp4.tmp", ""), ("room3000000001.ts", "")]);
    for n in 0..MOST_HELD {
        fs::File::create(tree.path(&format!("asset{n}.jpg"))).unwrap();
    }
    symlink("/etc/passwd", tree.path("link.mp4")).unwrap();
    let scan = tree.search().scan();
    assert_eq!(tree.names(&scan), ["below/room1.mp4", "room2.mp4.tmp", "room3000000001.ts"]);
    assert_eq!(scan.files_seen, MOST_HELD as u64 + 4);
    assert_eq!((scan.problems.len(), scan.units.len()), (1, 0), "the link is refused once");

    tree.write("room3.m3u8", &media_playlist(&["room3000000001.ts".into()], true));
    let scan = tree.search().scan();
    assert_eq!(tree.names(&scan), ["below/room1.mp4", "room2.mp4.tmp"]);
    assert_eq!((scan.problems.len(), tree.files(&scan.units[0]).len()), (1, 2));
    assert_eq!(scan.files_seen, MOST_HELD as u64 + 5);
}

#[test]
fn a_playlist_never_touches_a_room_whose_name_begins_alike() {
    let tree = TestTree::new(&[
        ("room1.m3u8", &media_playlist(&["room1000000001.ts".into()], true)),
        ("room1000000001.ts", ""),
        // Belongs to `room10`, which has no playlist: a recording of its own.
        ("room10000000001.ts", ""),
    ]);
    let scan = tree.search().scan();
    assert_eq!(tree.names(&scan), ["room10000000001.ts"]);
    assert_eq!(tree.files(&scan.units[0]), ["room1000000001.ts", "room1.m3u8"]);
}

#[test]
fn a_ts_that_no_playlist_names_is_a_recording() {
    let tree = TestTree::new(&[("a.m3u8", &media_playlist(&["a1.ts".into()], true)), ("a1.ts", ""), ("a2.ts", "")]);
    assert_eq!(tree.names(&tree.search().scan()), ["a2.ts"]);
}

#[test]
fn names_that_lead_out_of_the_directory_claim_nothing() {
    let names = ["../outside.ts", "https://cdn/x.ts", "/etc/passwd", "below/in.ts", "gone.ts", "link.ts", "etc/passwd"]
        .map(str::to_owned);
    let tree =
        TestTree::new(&[("hls/a.m3u8", &media_playlist(&names, true)), ("outside.ts", ""), ("hls/below/in.ts", "")]);
    symlink("/etc/passwd", tree.path("hls/link.ts")).unwrap();
    symlink("/etc", tree.path("hls/etc")).unwrap();
    let scan = tree.search().scan();
    assert_eq!(tree.names(&scan), ["outside.ts"]);
    assert_eq!(tree.files(&scan.units[0]), ["hls/below/in.ts", "hls/a.m3u8"]);
    assert_eq!(scan.units[0].missing, 3, "what is not there, or only through a link");
}

#[test]
fn a_master_playlist_comes_after_its_variants_and_they_are_no_units_of_their_own() {
    let master =
        "#EXTM3U\n#EXT-X-STREAM-INF:BANDWIDTH=1\nroom1_240p.m3u8\n#EXT-X-STREAM-INF:BANDWIDTH=2\n720p/index.m3u8\n";
    let tree = TestTree::new(&[
        ("room1_adaptive.m3u8", master),
        ("room1_240p.m3u8", &media_playlist(&["room1_240p000000001.ts".into()], true)),
        ("room1_240p000000001.ts", ""),
        ("720p/index.m3u8", &media_playlist(&["1.ts".into()], true)),
        ("720p/1.ts", ""),
    ]);
    let scan = tree.search().scan();
    assert!(scan.candidates.is_empty(), "{:?}", tree.names(&scan));
    let [unit] = scan.units.as_slice() else { panic!("{:?}", scan.units) };
    assert_eq!(
        tree.files(unit),
        ["room1_240p000000001.ts", "720p/1.ts", "room1_240p.m3u8", "720p/index.m3u8", "room1_adaptive.m3u8"]
    );
    assert_eq!(unit.ready, Readiness::Ended);

    tree.write("720p/index.m3u8", &media_playlist(&["1.ts".into()], false));
    assert!(!tree.search().scan().units[0].ready.is_ready(), "one variant is still live");
}

#[test]
fn a_variant_below_its_master_is_found_as_the_masters_unit_wherever_the_search_begins() {
    let master = "#EXTM3U\n#EXT-X-STREAM-INF:BANDWIDTH=2\n720p/index.m3u8\n";
    let tree = TestTree::new(&[
        ("master.m3u8", master),
        ("720p/index.m3u8", &media_playlist(&["1.ts".into()], true)),
        ("720p/1.ts", ""),
    ]);
    for scan in [tree.search().scan_directory(&tree.path("720p")), tree.search().scan_below(&tree.path("720p"))] {
        assert!(scan.candidates.is_empty());
        assert_eq!(scan.units.iter().map(|u| tree.relative(&u.playlist)).collect::<Vec<_>>(), ["master.m3u8"]);
    }
    assert!(matches!(tree.search().look_at(&tree.path("720p/1.ts")), Ok(PathClass::Unit)));
}

#[test]
fn segments_that_a_sliding_playlist_dropped_or_has_not_named_yet_are_no_recordings() {
    let live =
        "#EXTM3U\n#EXT-X-TARGETDURATION:2\n#EXT-X-MEDIA-SEQUENCE:12\n#EXTINF:2,\nlive-12.ts\n#EXTINF:2,\nlive-13.ts\n";
    let tree = TestTree::new(&[("live.m3u8", live)]);
    for name in ["live-1.ts", "live-11.ts", "live-12.ts", "live-13.ts", "live-14.ts", "live1-1.ts"] {
        tree.write(name, "");
    }
    let scan = tree.search().scan();
    assert_eq!(tree.names(&scan), ["live1-1.ts"]);
    assert_eq!(tree.files(&scan.units[0]), ["live-12.ts", "live-13.ts", "live.m3u8"], "only what it names");
    let ended = tree.search_after(60_000).scan();
    assert_eq!(tree.names(&ended), ["live-14.ts", "live1-1.ts"], "what was never named is a recording in the end");
}

#[test]
fn a_live_unit_is_ready_after_three_target_durations() {
    let tree = TestTree::new(&[("a.m3u8", &media_playlist(&["a1.ts".into()], false)), ("a1.ts", "")]);
    assert!(!tree.search().scan().units[0].ready.is_ready());
    assert!(matches!(tree.search_after(6000).scan().units[0].ready, Readiness::Unchanged { .. }));
    let _writer = fs::File::options().append(true).open(tree.path("a1.ts")).unwrap();
    if lease::probe(&tree.path("a1.ts")) == LeaseState::Held {
        assert!(!tree.search_after(60_000).scan().units[0].ready.is_ready());
    }
}

#[test]
fn a_dash_unit_holds_what_its_manifest_names() {
    let mpd = r#"<MPD type="static"><Representation id="0"><SegmentTemplate initialization="init-$RepresentationID$.m4s"
        media="chunk-$RepresentationID$-$Number%05d$.m4s"/></Representation></MPD>"#;
    let tree = TestTree::new(&[
        ("room1/room1.mpd", mpd),
        ("room1/init-0.m4s", ""),
        ("room1/chunk-0-00002.m4s", ""),
        ("room1/chunk-0-00001.m4s", ""),
        ("room1/chunk-0-00003.m4s.tmp", ""),
        ("room1/chunk-10-00001.m4s", ""),
    ]);
    let scan = tree.search().scan();
    let expected = ["init-0.m4s", "chunk-0-00001.m4s", "chunk-0-00002.m4s", "room1.mpd"].map(|n| format!("room1/{n}"));
    assert_eq!(tree.files(&scan.units[0]), expected);
    assert_eq!((scan.units[0].kind, scan.candidates.len()), (UnitKind::Dash, 0));
}

#[test]
fn a_final_name_beside_a_live_temporary_is_being_written_by_the_server() {
    let tree = TestTree::new(&[("x.mp4", ""), ("x.mp4.tmp_extension", ""), ("y.mp4", "")]);
    let scan = tree.search().scan();
    assert_eq!(tree.names(&scan), ["x.mp4.tmp_extension", "y.mp4"]);
    assert_eq!(scan.waiting, [tree.path("x.mp4")]);
    assert!(matches!(tree.search().look_at(&tree.path("x.mp4")), Ok(PathClass::Beside(_))));
    assert_eq!(tree.search_after(600_000).scan().candidates.len(), 3, "an old orphan holds nothing up");
}

#[test]
fn excluded_directories_are_not_entered() {
    let mut tree = TestTree::new(&[("target/a.mp4", ""), ("targets/b.mp4", "")]);
    tree.excluded = vec![tree.path("target")];
    assert_eq!(tree.names(&tree.search().scan()), ["targets/b.mp4"]);
    assert!(matches!(tree.search().look_at(&tree.path("target/a.mp4")), Ok(PathClass::Nothing)));
}

#[test]
fn links_are_not_followed_and_those_that_lead_out_are_said() {
    let tree = TestTree::new(&[("a.mp4", "")]);
    let outside = tree.root.path.parent().unwrap().join("outside");
    fs::create_dir(&outside).unwrap();
    fs::write(outside.join("o.mp4"), "").unwrap();
    symlink(tree.path("a.mp4"), tree.path("inside.mp4")).unwrap();
    symlink(&tree.root.path, tree.path("loop")).unwrap();
    symlink(outside.join("o.mp4"), tree.path("out.mp4")).unwrap();
    symlink(&outside, tree.path("imported")).unwrap();
    let scan = tree.search().scan();
    assert_eq!(tree.names(&scan), ["a.mp4"]);
    let mut said: Vec<_> = scan.problems.iter().map(ToString::to_string).collect();
    said.sort();
    assert_eq!(said.len(), 2, "{said:?}");
    assert!(said[0].contains("imported") && said[1].contains("out.mp4"), "{said:?}");
    assert!(tree.search().look_at(&tree.path("out.mp4")).is_err());
}

#[test]
fn a_directory_named_like_a_recording_is_none_and_is_entered() {
    let tree = TestTree::new(&[("x.mp4/y.mp4", "")]);
    assert_eq!(tree.names(&tree.search().scan()), ["x.mp4/y.mp4"]);
    assert!(matches!(tree.search().look_at(&tree.path("x.mp4")), Ok(PathClass::Nothing)));
}

#[test]
fn a_name_that_is_not_utf8_is_a_problem_and_one_with_a_newline_is_not() {
    let tree = TestTree::new(&[("new\nline\u{1b}[31m.mp4", "")]);
    fs::write(tree.root.path.join(OsStr::from_bytes(b"\xFF\xFE.mp4")), "").unwrap();
    fs::create_dir(tree.root.path.join(OsStr::from_bytes(b"\xFFdir"))).unwrap();
    fs::write(tree.root.path.join(OsStr::from_bytes(b"\xFFdir/a.mp4")), "").unwrap();
    let scan = tree.search().scan();
    assert_eq!(tree.names(&scan), ["new\nline\u{1b}[31m.mp4"]);
    assert_eq!(scan.problems.len(), 2);
    assert!(scan.problems.iter().all(|p| matches!(p, DiscoverError::NotUtf8 { .. })));
}

#[test]
fn an_unreadable_directory_is_a_problem_and_the_scan_goes_on() {
    let tree = TestTree::new(&[("a/x.mp4", ""), ("b/y.mp4", "")]);
    let missing = RootOptions { path: tree.path("none"), ..tree.root.clone() };
    let scan = Search { root: &missing, ..tree.search() }.scan();
    assert!(matches!(scan.problems.as_slice(), [DiscoverError::Unreadable { .. }]));

    fs::set_permissions(tree.path("a"), fs::Permissions::from_mode(0o000)).unwrap();
    let scan = tree.search().scan();
    fs::set_permissions(tree.path("a"), fs::Permissions::from_mode(0o755)).unwrap();
    assert!(tree.names(&scan).contains(&"b/y.mp4".to_owned()));
    if !rustix::process::geteuid().is_root() {
        use crate::fault::Fault;
        assert!(scan.problems[0].hint().unwrap().contains("setfacl"));
    }
}

#[test]
fn an_event_is_looked_at_as_the_scan_would() {
    let tree = TestTree::new(&[
        ("room1.m3u8", &media_playlist(&["odd.ts".into()], true)),
        ("odd.ts", ""),
        ("room1000000007.ts", ""),
        ("free.ts", ""),
        ("sub/x.flv", ""),
    ]);
    let look = |name: &str| tree.search().look_at(&tree.path(name)).unwrap();
    assert!(matches!(look("odd.ts"), PathClass::Unit));
    assert!(matches!(look("room1000000007.ts"), PathClass::Unit));
    assert!(matches!(look("room1.m3u8"), PathClass::Unit));
    assert!(matches!(look("none.mp4"), PathClass::Nothing));
    assert!(matches!(look(".hidden/x.mp4"), PathClass::Nothing));
    let PathClass::Candidate(found) = look("sub/x.flv") else { panic!("a recording") };
    assert_eq!(Some(*found), tree.search().scan().candidates.into_iter().find(|c| c.path.ends_with("x.flv")));
    assert!(matches!(look("free.ts"), PathClass::Candidate(_)));
}

#[test]
fn the_newest_comes_first() {
    let tree = TestTree::new(&[("old.mp4", ""), ("new.mp4", ""), ("older.mp4", "")]);
    for (name, at_s) in [("old.mp4", 2000), ("new.mp4", 3000), ("older.mp4", 1000)] {
        let at = std::time::UNIX_EPOCH + Duration::from_secs(at_s);
        fs::File::options().write(true).open(tree.path(name)).unwrap().set_modified(at).unwrap();
    }
    let mut candidates = tree.search().scan().candidates;
    newest_first(&mut candidates);
    let names: Vec<_> = candidates.iter().map(|c| tree.relative(&c.path)).collect();
    assert_eq!(names, ["new.mp4", "old.mp4", "older.mp4"]);
}
