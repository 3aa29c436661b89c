//! Playlists and manifests that ask for more than they are given (`docs/limits.md`).

use super::*;

fn refusals(scan: &Scan) -> Vec<(&'static str, u64, bool)> {
    let refusal = |problem: &Problem| match problem {
        DiscoverError::PlaylistRefused { what, limit, others, .. } => (*what, *limit, *others),
        other => panic!("{other}"),
    };
    scan.problems.iter().map(refusal).collect()
}

fn waiting(tree: &TestTree, scan: &Scan) -> Vec<String> {
    let mut waiting: Vec<_> = scan.waiting.iter().map(|path| tree.relative(path)).collect();
    waiting.sort();
    waiting
}

/// Templates and representations that come to so many patterns.
fn multiplying(each: usize) -> String {
    let representations: Vec<_> = (0..each).map(|n| format!("<Representation id='{n}'/>")).collect();
    let templates: Vec<_> = (0..each).map(|n| format!("<SegmentTemplate media='{n}$Number$'/>")).collect();
    format!("<MPD type='static'>{}{}</MPD>", representations.concat(), templates.concat())
}

#[test]
fn what_a_refused_manifest_may_name_is_not_taken_beside_it_or_below_and_everything_else_is() {
    let manifest = multiplying(700);
    assert!(manifest.len() < 48 << 10, "as much as one that came to 3.3 GiB: {}", manifest.len());
    let tree = TestTree::new(&[
        ("vod/a.mpd", &manifest),
        ("vod/b.mpd", &manifest),
        ("vod/1.ts", ""),
        ("vod/below/2.ts", ""),
        ("vod/room1.mp4", ""),
        ("vod/c.m3u8", &media_playlist(&["c1.ts".into()], true)),
        ("vod/c1.ts", ""),
        ("elsewhere/3.ts", ""),
    ]);
    let scan = tree.search().scan();
    assert_eq!(refusals(&scan), [("file names generated from its templates", 4096, true)], "said once for a directory");
    let said = scan.problems[0].to_string();
    assert!(said.contains("vod/a.mpd` and others in its directory"), "{said}");
    assert_eq!(waiting(&tree, &scan), ["vod/1.ts", "vod/below/2.ts"]);
    assert_eq!(tree.names(&scan), ["elsewhere/3.ts", "vod/room1.mp4"]);
    assert_eq!(tree.files(&scan.units[0]), ["vod/c1.ts", "vod/c.m3u8"], "a sound one beside it is a unit");
    // Each way to look says the same.
    let below = tree.search().scan_below(&tree.path("vod/below"));
    assert_eq!((waiting(&tree, &below), below.candidates.len()), (vec!["vod/below/2.ts".to_owned()], 0));
    let one = tree.search().scan_directory(&tree.path("vod/below"));
    assert_eq!(waiting(&tree, &one), ["vod/below/2.ts"]);
    for (name, is_taken) in [("vod/1.ts", false), ("vod/below/2.ts", false), ("vod/room1.mp4", true)] {
        let look = tree.search().look_at(&tree.path(name)).unwrap();
        assert_eq!(matches!(look, PathClass::Candidate(_)), is_taken, "{name}");
    }
    // Once it is gone everything is as always.
    fs::remove_file(tree.path("vod/a.mpd")).unwrap();
    fs::remove_file(tree.path("vod/b.mpd")).unwrap();
    assert_eq!(tree.names(&tree.search().scan()), ["elsewhere/3.ts", "vod/1.ts", "vod/below/2.ts", "vod/room1.mp4"]);
}

#[test]
fn a_playlist_that_is_too_long_or_a_hole_is_refused_and_not_taken_for_none() {
    let tree = TestTree::new(&[("long.m3u8", ""), ("1.ts", "")]);
    let resize =
        |bytes: u64| fs::File::options().write(true).open(tree.path("long.m3u8")).unwrap().set_len(bytes).unwrap();
    for (bytes, expected) in [
        ((32 << 20) + 1, ("bytes", 32 << 20, false)),
        (32 << 20, ("bytes for each byte that is allocated on disk", 64, false)),
        ((1 << 20) + 1, ("bytes for each byte that is allocated on disk", 64, false)),
    ] {
        resize(bytes);
        let scan = tree.search().scan();
        assert_eq!((refusals(&scan), waiting(&tree, &scan)), (vec![expected], vec!["1.ts".to_owned()]));
    }
    resize(1 << 20);
    assert_eq!(refusals(&tree.search().scan()), []);
}

/// Every event in the directory asks for its playlists: one that was refused is not read again as long as it is the same file.
#[test]
fn a_manifest_that_was_refused_is_not_read_again_until_it_changes() {
    let manifest = multiplying(100);
    let tree = TestTree::new(&[("a.mpd", &manifest), ("1.ts", "")]);
    assert_eq!(refusals(&tree.search().scan()).len(), 1);
    let sound = format!("{:width$}", "<MPD type='static'></MPD>", width = manifest.len());
    let file = fs::File::options().write(true).open(tree.path("a.mpd")).unwrap();
    let changed = file.metadata().unwrap().modified().unwrap();
    io::Write::write_all(&mut &file, sound.as_bytes()).unwrap();
    file.set_modified(changed).unwrap();
    assert_eq!(refusals(&tree.search().scan()).len(), 1, "it looks as before");
    file.set_modified(changed + Duration::from_secs(1)).unwrap();
    let scan = tree.search().scan();
    assert_eq!((refusals(&scan), tree.names(&scan)), (vec![], vec!["1.ts".to_owned()]));
}

/// Each of a thousand names every other: a million files would be read.
#[test]
fn playlists_that_name_each_other_are_read_up_to_a_limit() {
    let names: Vec<_> = (0..300).map(|n| format!("{n:03}.m3u8")).collect();
    let all = format!("{}\n#{}\n", names.join("\n"), " ".repeat(32 << 10));
    let files: Vec<_> = names.iter().map(|name| (name.as_str(), all.as_str())).chain([("1.ts", "")]).collect();
    let tree = TestTree::new(&files);
    let scan = tree.search().scan();
    let [(what, limit, others)] = refusals(&scan)[..] else { panic!("{:?}", scan.problems) };
    assert!(what.starts_with("mentions of files in") && limit == 4096 + 8 * 301 && others, "{what} {limit}");
    assert_eq!(waiting(&tree, &scan), ["1.ts"]);
}

#[test]
fn names_without_a_file_are_looked_for_up_to_a_limit() {
    let gone: Vec<_> = (0..200_000).map(|n| n.to_string()).collect();
    let playlist = media_playlist(&gone, true);
    let names: Vec<_> = (0..7).map(|n| format!("{n}.m3u8")).collect();
    let mut files: Vec<_> = names.iter().map(|name| (name.as_str(), playlist.as_str())).collect();
    let tree = TestTree::new(&files);
    let expected = ("missing files listed in the playlists of its directory", 1 << 20, true);
    assert_eq!(refusals(&tree.search().scan()), [expected]);
    files.truncate(5);
    let scan = TestTree::new(&files).search().scan();
    assert_eq!(
        (refusals(&scan).len(), scan.units.iter().map(|u| u.missing).collect::<Vec<_>>()),
        (0, vec![200_000; 5])
    );
}

#[test]
fn directories_below_are_read_once_each_and_up_to_a_limit() {
    let names: Vec<_> = (0..1025).map(|n| format!("{n}/x.ts")).collect();
    let tree = TestTree::new(&[("a.m3u8", &media_playlist(&names, true))]);
    assert_eq!(refusals(&tree.search().scan()), [("directories below", 1024, false)]);
    tree.write("a.m3u8", &media_playlist(&names[..1024], true));
    assert_eq!(refusals(&tree.search().scan()), []);
}

/// Eight names for each file of the directory, and some thousand more.
#[test]
fn a_file_is_named_so_often_and_no_more() {
    let names: Vec<_> = (0..2000).map(|n| format!("{n}.ts")).collect();
    let playlist = media_playlist(&names, true);
    let tree = TestTree::new(&[]);
    for name in &names {
        fs::write(tree.path(name), "").unwrap();
    }
    let scan = |playlists: usize| {
        (0..playlists).for_each(|n| fs::write(tree.path(&format!("p{n:02}.m3u8")), &playlist).unwrap());
        let scan = tree.search().scan();
        let kept: usize = scan.units.iter().map(|unit| unit.files.len()).sum();
        (refusals(&scan).len(), kept)
    };
    assert_eq!(scan(10), (0, 10 * 2001));
    let (refused, kept) = scan(40);
    assert!(refused == 1 && kept <= 4096 + 8 * 2040 + 40, "{refused} {kept}");
}
