//! Imports follow the order of the house: data flows down the list of rooms, imports point up it, outside crates stay
//! in the room that owns them.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// The rooms, top of the house first. A room may import from those before it.
const ORDER: [&str; 23] = [
    "printable",
    "fault",
    "stop",
    "runtime",
    "threads",
    "memory",
    "recording",
    "durable",
    "isobmff",
    "discover",
    "media",
    "salvage",
    "finish",
    "catalog",
    "deliver",
    "retain",
    "announce",
    "pipeline",
    "serve",
    "config",
    "cli",
    "lib",
    "main",
];

/// Outside crates and the rooms in which their names may appear.
const OWNERS: [(&str, &[&str]); 14] = [
    ("notify", &["discover"]),
    ("ffmpeg_next", &["media"]),
    ("sled", &["catalog"]),
    ("object_store", &["deliver"]),
    ("base64", &["deliver"]),
    ("quick_xml", &["deliver"]),
    ("comfy_table", &["cli"]),
    ("tokio", &["stop", "runtime", "deliver"]),
    ("futures", &["deliver"]),
    ("toml", &["config"]),
    ("rayon", &["pipeline"]),
    ("signal_hook", &["cli"]),
    ("clap", &["cli"]),
    ("indicatif", &["cli"]),
];

fn sources(dir: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|e| e == "rs") {
            found.push(path);
        }
    }
}

fn room_of(path: &Path, src: &Path) -> String {
    let first = path.strip_prefix(src).unwrap().components().next().unwrap();
    first.as_os_str().to_string_lossy().trim_end_matches(".rs").to_owned()
}

/// Code without comments, doc text and its test modules.
fn code(path: &Path) -> String {
    if path.file_name().is_some_and(|n| n == "tests.rs") {
        return String::new();
    }
    let text = fs::read_to_string(path).unwrap();
    let text = text.split("#[cfg(test)]\nmod ").next().unwrap_or_default().to_owned();
    text.lines().filter(|l| !l.trim_start().starts_with("//")).collect::<Vec<_>>().join("\n")
}

/// Words that follow `crate::`, also inside `use crate::{a, b::c}`.
fn imported_rooms(code: &str) -> BTreeSet<String> {
    let word = |s: &str| s.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect::<String>();
    let mut rooms = BTreeSet::new();
    for (at, found) in code.match_indices("crate::") {
        let is_own_name = at > 0 && code[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_' || c == ':');
        let rest = &code[at + found.len()..];
        if is_own_name {
            continue;
        }
        if let Some(list) = rest.strip_prefix('{') {
            let mut depth = 0;
            let mut item = String::new();
            for c in list.chars() {
                match c {
                    '{' => depth += 1,
                    '}' if depth == 0 => break,
                    '}' => depth -= 1,
                    ',' if depth == 0 => rooms.extend([word(item.trim())].into_iter().inspect(|_| item.clear())),
                    _ if depth == 0 => item.push(c),
                    _ => {}
                }
            }
            rooms.insert(word(item.trim()));
        } else {
            rooms.insert(word(rest));
        }
    }
    rooms.remove("");
    rooms
}

#[test]
fn imports_point_up_the_house() {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    sources(&src, &mut files);
    assert!(files.len() > 40, "only {} files found", files.len());
    let rank = |room: &str| ORDER.iter().position(|r| *r == room);
    let mut broken = Vec::new();
    for file in &files {
        let room = room_of(file, &src);
        let Some(own) = rank(&room) else {
            broken.push(format!("{}: room `{room}` has no place in the order", file.display()));
            continue;
        };
        for other in imported_rooms(&code(file)) {
            if let Some(theirs) = rank(&other)
                && theirs > own
            {
                broken.push(format!("{}: `{room}` imports `{other}`, which lies below it", file.display()));
            }
        }
    }
    assert!(broken.is_empty(), "{}", broken.join("\n"));
}

#[test]
fn outside_crates_stay_with_their_owner() {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    sources(&src, &mut files);
    let mut broken = Vec::new();
    for file in &files {
        let (room, code) = (room_of(file, &src), code(file));
        for (outside, owners) in OWNERS {
            let is_used = code.match_indices(&format!("{outside}::")).any(|(at, _)| {
                let before = code[..at].chars().next_back().unwrap_or(' ');
                !before.is_alphanumeric() && before != '_' && before != ':'
            });
            if is_used && !owners.contains(&room.as_str()) {
                broken.push(format!("{}: `{outside}` belongs to {owners:?}", file.display()));
            }
        }
    }
    assert!(broken.is_empty(), "{}", broken.join("\n"));
}

#[test]
fn the_reader_of_imports_sees_every_form() {
    let code = "use crate::catalog::X; use crate::{deliver, retain::{A, B}, cli}; fn f() { crate::fault::chain(); }";
    let expected = ["catalog", "cli", "deliver", "fault", "retain"].map(String::from);
    assert_eq!(imported_rooms(code), BTreeSet::from(expected));
}

#[test]
fn every_file_says_what_it_is_for_and_keeps_to_one_idea() {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    sources(&src, &mut files);
    for file in files {
        let text = fs::read_to_string(&file).unwrap();
        assert!(text.starts_with("//!"), "{} does not open with what it is for", file.display());
        let is_test = file.file_name().is_some_and(|n| n == "tests.rs");
        let lines = text.split("#[cfg(test)]").next().unwrap_or_default().lines().count() * usize::from(!is_test);
        assert!(lines <= 500, "{} has {lines} lines without its tests", file.display());
    }
}

/// Where files are opened or changed by their path outside of `durable`, and what they are. Below a root the owner of the
/// recordings can put a link in the place of any name, which `durable` does not follow: nothing of a root may be listed here.
const OPENS_BY_PATH: [(&str, &str); 17] = [
    ("catalog/behind.rs", "state directory"),
    ("catalog/compact.rs", "state directory"),
    ("catalog/counter.rs", "state directory"),
    ("catalog/ended.rs", "state directory"),
    ("catalog/lock.rs", "state directory"),
    ("catalog/state_dir.rs", "state directory"),
    ("catalog/store.rs", "state directory"),
    ("cli/socket.rs", "state directory"),
    ("config/import_antmedia.rs", "the server's configuration, named on the command line"),
    ("config/load.rs", "configuration"),
    ("deliver/credentials.rs", "credentials"),
    ("deliver/doctor.rs", "a partial of our own in a `file://` target"),
    ("deliver/google.rs", "credentials"),
    ("deliver/profile.rs", "credentials"),
    ("discover/mediamtx_playback.rs", "/proc, and the server's configuration"),
    ("discover/writers.rs", "/proc"),
    ("memory.rs", "/proc and control groups"),
];

/// The same for a partial of our own, which is reached through its descriptor (`/proc/self/fd/N`).
const OPENS_A_PARTIAL: [&str; 2] = ["media/ffi/sink.rs", "media/poster.rs"];

#[test]
fn below_a_root_files_are_opened_through_durable() {
    const OPENING: [&str; 12] = [
        "File::open(",
        "File::create(",
        "OpenOptions::new(",
        "fs::read(",
        "fs::read_to_string(",
        "fs::write(",
        "fs::copy(",
        "fs::rename(",
        "fs::hard_link(",
        "fs::remove_file(",
        "fs::set_permissions(",
        "fs::remove_dir_all(",
    ];
    // The build script, and a module that is a test as a whole.
    const NOT_PROGRAM: [&str; 2] = ["media/ffi/late/build.rs", "deliver/words.rs"];
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    sources(&src, &mut files);
    let opens: BTreeSet<String> = files
        .iter()
        .filter(|file| OPENING.iter().any(|word| code(file).contains(word)))
        .map(|file| file.strip_prefix(&src).unwrap().to_string_lossy().into_owned())
        .filter(|file| {
            !file.starts_with("durable") && !file.contains("/tests/") && !NOT_PROGRAM.contains(&file.as_str())
        })
        .collect();
    let listed = OPENS_BY_PATH.iter().map(|(file, _)| *file).chain(OPENS_A_PARTIAL);
    let listed: BTreeSet<String> = listed.map(str::to_owned).collect();
    let unlisted: Vec<_> = opens.difference(&listed).collect();
    assert!(unlisted.is_empty(), "opened by path; use `durable::open_to_read` or say here what it is: {unlisted:?}");
    let gone: Vec<_> = listed.difference(&opens).collect();
    assert!(gone.is_empty(), "listed, but opens nothing any more: {gone:?}");
}
