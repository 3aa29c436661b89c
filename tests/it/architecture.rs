//! Imports follow the order of the house: data flows down the list of rooms, imports point up it, outside crates stay
//! in the room that owns them.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// The rooms, top of the house first. A room may import from those before it.
const ORDER: [&str; 35] = [
    "printable",
    "human",
    "fault",
    "clock",
    "stop",
    "runtime",
    "threads",
    "cpu_permits",
    "progress",
    "memory",
    "open_files",
    "secret",
    "recording",
    "durable",
    "ingest",
    "isobmff",
    "discover",
    "media",
    "salvage",
    "finish",
    "catalog",
    "deliver",
    "clip",
    "archive",
    "retain",
    "announce",
    "control",
    "fleet",
    "pipeline",
    "config",
    "operations",
    "serve",
    "cli",
    "lib",
    "main",
];

/// Outside crates and the rooms in which their names may appear.
const OWNERS: [(&str, &[&str]); 25] = [
    ("notify", &["discover"]),
    ("ffmpeg_next", &["media"]),
    ("seccompiler", &["media"]),
    ("sled", &["catalog"]),
    ("hashbrown", &["catalog"]),
    ("memchr", &["catalog"]),
    ("object_store", &["deliver"]),
    ("base64", &["announce", "control", "deliver"]),
    ("quick_xml", &["deliver", "ingest"]),
    ("saphyr_parser", &["ingest"]),
    ("console", &["cli"]),
    ("comfy_table", &["cli"]),
    ("tokio", &["announce", "control", "fleet", "stop", "runtime", "deliver", "serve"]),
    ("tokio_postgres", &["fleet"]),
    ("deadpool_postgres", &["fleet"]),
    ("tokio_postgres_rustls", &["fleet"]),
    ("futures", &["announce", "deliver", "fleet", "serve"]),
    ("hyper", &["deliver", "serve"]),
    ("hyper_util", &["serve"]),
    ("axum", &["serve"]),
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
    words_after(code, "crate::")
}

/// Words that follow a path's beginning, also inside braces.
fn words_after(code: &str, beginning: &str) -> BTreeSet<String> {
    let word = |s: &str| s.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect::<String>();
    let mut rooms = BTreeSet::new();
    for (at, found) in code.match_indices(beginning) {
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

/// Rooms whose files import one another in no circle. A room that is free of circles belongs here.
const WITHOUT_CIRCLES: [&str; 1] = ["catalog"];

/// The files of a room without those of rooms in it, by name, with their code.
fn files_of(room: &Path) -> BTreeMap<String, String> {
    let paths = fs::read_dir(room).unwrap().map(|entry| entry.unwrap().path());
    let files = paths.filter(|path| path.extension().is_some_and(|e| e == "rs"));
    let read = |path: PathBuf| {
        let text = fs::read_to_string(&path).unwrap();
        // A room's own file names its tests first and goes on.
        let text = text.split("mod tests {").next().unwrap_or_default().to_owned();
        let code = text.lines().filter(|l| !l.trim_start().starts_with("//")).collect::<Vec<_>>().join("\n");
        (path.file_stem().unwrap().to_string_lossy().into_owned(), code)
    };
    files.map(read).collect()
}

/// Which file of a room each name that its `mod.rs` takes from a file comes from.
fn origins(files: &BTreeMap<String, String>) -> BTreeMap<String, String> {
    let face = files.get("mod").map_or("", String::as_str);
    let mut origins = BTreeMap::new();
    for file in files.keys().filter(|file| *file != "mod") {
        let names = words_after(face, &format!("use {file}::"));
        origins.extend(names.into_iter().map(|name| (name, file.clone())));
    }
    origins
}

/// What each file of a room imports from the others. What `mod.rs` defines itself is its own.
fn imports_between(files: &BTreeMap<String, String>) -> BTreeMap<String, BTreeSet<String>> {
    let origins = origins(files);
    let file_of = |name: String| {
        let is_file = files.contains_key(&name);
        if is_file { name } else { origins.get(&name).cloned().unwrap_or_else(|| "mod".to_owned()) }
    };
    let of_file = |(name, code): (&String, &String)| {
        let imported = words_after(code, "super::").into_iter().map(file_of);
        let imported =
            if name == "mod" { origins.values().cloned().collect() } else { imported.collect::<BTreeSet<_>>() };
        (name.clone(), imported.into_iter().filter(|other| other != name).collect())
    };
    files.iter().map(of_file).collect()
}

/// Files that nothing can be built before: each imports another of them.
fn circle_in(mut imports: BTreeMap<String, BTreeSet<String>>) -> Vec<String> {
    loop {
        let ready: Vec<_> = imports.iter().filter(|(_, of)| of.is_empty()).map(|(name, _)| name.clone()).collect();
        if ready.is_empty() {
            return imports.into_keys().collect();
        }
        imports.retain(|name, _| !ready.contains(name));
        for of in imports.values_mut() {
            of.retain(|other| !ready.contains(other));
        }
    }
}

#[test]
fn files_of_a_room_import_one_another_in_no_circle() {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    for room in WITHOUT_CIRCLES {
        let imports = imports_between(&files_of(&src.join(room)));
        assert!(imports.len() > 3, "only {} files found in {room}", imports.len());
        // The face of a room may take from every file; what is defined in it, no file may want.
        let wants_face: Vec<_> =
            imports.iter().filter(|(_, of)| of.contains("mod")).map(|(name, _)| name.clone()).collect();
        let circle = circle_in(imports);
        assert!(circle.is_empty(), "{room}: in or behind a circle: {circle:?}; wanted from mod.rs by {wants_face:?}");
    }
}

#[test]
fn the_search_for_circles_finds_one() {
    let files = [
        ("mod", "use low::Low;\npub use high::{High, other};"),
        ("low", "use super::High;"),
        ("high", "use super::{apart, low::Low};"),
        ("apart", "use crate::fault::Class;"),
    ];
    let files = |change: &dyn Fn(&str) -> String| {
        let file = |(name, code): &(&str, &str)| ((*name).to_owned(), change(code));
        files.iter().map(file).collect::<BTreeMap<_, _>>()
    };
    let circle = circle_in(imports_between(&files(&str::to_owned)));
    assert_eq!(circle, ["high", "low", "mod"]);
    let circle = circle_in(imports_between(&files(&|code| code.replace("use super::High", "use super::apart"))));
    assert!(circle.is_empty(), "{circle:?}");
    let circle = circle_in(imports_between(&files(&|code| code.replace("super::High", "super::Unheard"))));
    assert_eq!(circle, ["high", "low", "mod"], "what is defined in mod.rs");
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

/// Rooms that decide by a time: they are given it, or a clock.
const GIVEN_THE_TIME: [&str; 9] =
    ["discover", "finish", "catalog", "retain", "announce", "control", "pipeline", "operations", "serve"];

#[test]
fn what_decides_by_the_time_is_given_it() {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    for room in GIVEN_THE_TIME {
        sources(&src.join(room), &mut files);
    }
    let asks =
        |code: &str| ["Timestamp::now(", "SystemTime::now(", "Zoned::now("].iter().any(|call| code.contains(call));
    let asking: Vec<_> =
        files.iter().filter(|file| !file.iter().any(|part| part == "tests") && asks(&code(file))).collect();
    assert!(asking.is_empty(), "take a `Clock` or the time: {asking:?}");
}

/// Files of the pipeline whose work goes through several contexts. All others take the one that they need.
const TAKES_ALL_CONTEXTS: [&str; 14] = [
    "batch",
    "context",
    "courier",
    "engine",
    "freeing",
    "journey",
    "learning",
    "mod",
    "pictures",
    "publishing",
    "rebuilding",
    "resuming",
    "views",
    "watching",
];

#[test]
fn a_stage_takes_the_context_that_it_needs() {
    let room = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/pipeline");
    let takes_all = |(name, code): &(&String, &String)| {
        code.contains("PipelineContext") && !TAKES_ALL_CONTEXTS.contains(&name.as_str())
    };
    let files = files_of(&room);
    let taking: Vec<_> = files.iter().filter(takes_all).map(|(name, _)| name).collect();
    assert!(taking.is_empty(), "take `Discovering`, `Journaling`, `Delivering` or `Removing`: {taking:?}");
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
const OPENS_BY_PATH: &[(&str, &str)] = &[
    ("archive/scratch.rs", "scratch space of ours"),
    ("catalog/stale_mark.rs", "state directory"),
    ("catalog/compact.rs", "state directory"),
    ("catalog/counter.rs", "state directory"),
    ("catalog/ended.rs", "state directory"),
    ("catalog/identity.rs", "state directory"),
    ("catalog/lock.rs", "state directory"),
    ("catalog/notes.rs", "state directory"),
    ("catalog/state_dir.rs", "state directory"),
    ("catalog/store.rs", "state directory"),
    ("cli/commands/open.rs", "runtime directory of the user"),
    ("config/import/antmedia.rs", "the server's configuration, named on the command line"),
    ("config/load.rs", "configuration"),
    ("deliver/credentials.rs", "credentials"),
    ("deliver/doctor.rs", "a partial of our own in a `file://` target"),
    ("deliver/google.rs", "credentials"),
    ("deliver/profile.rs", "credentials"),
    ("discover/running.rs", "/proc"),
    ("discover/writers.rs", "/proc"),
    ("ingest/files.rs", "the server's configuration"),
    ("media/ffi/late/places.rs", "the configuration of the system's loader"),
    ("media/apart/limits.rs", "/proc"),
    ("memory.rs", "/proc and control groups"),
    ("operations/setup/accounts.rs", "/etc/passwd and /etc/group"),
    ("operations/share.rs", "state directory"),
    ("secret.rs", "secrets"),
    ("serve/listening.rs", "state directory"),
];

/// The same for a partial of our own, which is reached through its descriptor (`/proc/self/fd/N`).
const OPENS_A_PARTIAL: [&str; 1] = ["media/ffi/sink.rs"];

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
    const NOT_PROGRAM: [&str; 3] = ["media/ffi/late/build.rs", "serve/page/build.rs", "deliver/words.rs"];
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
