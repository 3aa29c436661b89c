//! Writers that come back at every moment, where leases can be had and where they cannot.

use std::fs;
use std::io::Write;
use std::process::Command;

use super::*;
use crate::durable::RenameOutcome;
use crate::durable::recorder::listen;

/// A recording, and what it was when it was proven.
fn recording(dir: &Path) -> (PathBuf, FileVersion) {
    let path = dir.join("x.ts");
    fs::write(&path, "recorded").unwrap();
    (path.clone(), seen(&path).unwrap())
}

/// A directory where leases count, or `None` on machines that have none.
fn with_leases() -> Option<tempfile::TempDir> {
    let dir = tempfile::tempdir().unwrap();
    let magic = crate::durable::file_system(dir.path()).unwrap();
    crate::durable::leases_count_on(magic).then_some(dir)
}

/// A file system without leases, unmounted when dropped; needs root.
struct WithoutLeases(tempfile::TempDir);

impl WithoutLeases {
    fn mount() -> Option<Self> {
        let dir = tempfile::tempdir().unwrap();
        let mounted = Command::new("mount").args(["-t", "ramfs", "none"]).arg(dir.path()).output();
        if mounted.is_ok_and(|run| run.status.success()) {
            return Some(Self(dir));
        }
        let _ = writeln!(io::stdout(), "skipped: no ramfs can be mounted here");
        None
    }
}

impl Drop for WithoutLeases {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(self.0.path()).status();
    }
}

fn names(dir: &Path) -> Vec<String> {
    let mut names: Vec<_> = fs::read_dir(dir).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

fn append(path: &Path) {
    File::options().append(true).open(path).unwrap().write_all(b" more").unwrap();
}

/// The file while a process that this test started has, for an instant, what is open here.
fn until_settled(path: &Path, proven: &FileVersion) -> RemovalOutcome {
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(20);
    loop {
        match give_up(path, proven).unwrap() {
            RemovalOutcome::Kept { why: KeptBecause::InUse, .. } if std::time::Instant::now() < deadline => {
                std::thread::yield_now();
            }
            other => return other,
        }
    }
}

#[test]
fn what_is_as_proven_goes_and_what_is_not_there_is_missing() {
    let Some(dir) = with_leases() else { return };
    let (path, proven) = recording(dir.path());
    assert_eq!(until_settled(&path, &proven), RemovalOutcome::Removed);
    assert_eq!(names(dir.path()), [""; 0]);
    assert_eq!(give_up(&path, &proven).unwrap(), RemovalOutcome::Missing);
}

#[test]
fn whatever_changed_since_stays_under_its_name_however_well_it_is_hidden() {
    let rewrite: fn(&Path) = |path| {
        let modified = fs::metadata(path).unwrap().modified().unwrap();
        // As `touch` and `rsync` do.
        let mut file = File::options().write(true).open(path).unwrap();
        file.write_all(b"REWRITES").unwrap();
        file.set_modified(modified).unwrap();
    };
    let replace: fn(&Path) = |path| {
        let modified = fs::metadata(path).unwrap().modified().unwrap();
        let other = path.with_extension("other");
        fs::write(&other, "replaced").unwrap();
        File::options().write(true).open(&other).unwrap().set_modified(modified).unwrap();
        fs::rename(other, path).unwrap();
    };
    for change in [append as fn(&Path), rewrite, replace] {
        let dir = tempfile::tempdir().unwrap();
        let (path, proven) = recording(dir.path());
        // The kernel's clock for change times ticks every few milliseconds.
        std::thread::sleep(std::time::Duration::from_millis(20));
        change(&path);
        let left = fs::read(&path).unwrap();
        assert_eq!(
            until_settled(&path, &proven),
            RemovalOutcome::Kept { why: KeptBecause::Changed, path: path.clone() }
        );
        assert_eq!((names(dir.path()), fs::read(&path).unwrap()), (vec!["x.ts".to_owned()], left));
    }
}

#[test]
fn what_is_open_for_writing_is_not_even_renamed() {
    let Some(dir) = with_leases() else { return };
    let (path, proven) = recording(dir.path());
    let mut writer = File::options().append(true).open(&path).unwrap();
    assert_eq!(give_up(&path, &proven).unwrap(), RemovalOutcome::Kept { why: KeptBecause::InUse, path: path.clone() });
    writer.write_all(b" more").unwrap();
    drop(writer);
    assert_eq!(fs::read_to_string(&path).unwrap(), "recorded more");
    let closed = seen(&path).unwrap();
    assert_eq!(until_settled(&path, &closed), RemovalOutcome::Removed);
}

/// Begins to open the file for writing as one that found its name in time: the kernel asks for the lease back.
fn begin_to_open(link: &Path) {
    let opened = rustix::fs::open(link, OFlags::WRONLY | OFlags::NONBLOCK, Mode::empty());
    assert_eq!(opened.unwrap_err(), Errno::WOULDBLOCK);
}

#[test]
fn a_writer_that_opens_between_the_last_look_and_the_end_gets_the_file_with_its_name() {
    let Some(dir) = with_leases() else { return };
    for takes_name in [false, true] {
        let (path, link) = (dir.path().join("x.ts"), dir.path().join("link"));
        fs::write(&path, "recorded").unwrap();
        fs::hard_link(&path, &link).unwrap();
        let proven = seen(&path).unwrap();
        let back = if takes_name { path.with_file_name("x_1.ts") } else { path.clone() };
        let kept = loop {
            let (own, link) = (path.clone(), link.clone());
            let comes = move |event: &FileEvent<'_>| {
                if matches!(event, FileEvent::Renamed(from, _) if *from == own) {
                    begin_to_open(&link);
                    if takes_name {
                        fs::write(&own, "another").unwrap();
                    }
                }
            };
            let given_up = listen(Box::new(move |event, _| comes(event)), || give_up(&path, &proven).unwrap());
            // A process that is being started may have had it for an instant; nothing has happened then.
            if given_up != (RemovalOutcome::Kept { why: KeptBecause::InUse, path: path.clone() }) || !takes_name {
                break given_up;
            }
        };
        assert_eq!(kept, RemovalOutcome::Kept { why: KeptBecause::InUse, path: back.clone() });
        append(&link);
        assert_eq!(fs::read_to_string(&back).unwrap(), "recorded more");
        if takes_name {
            assert_eq!(fs::read_to_string(&path).unwrap(), "another");
        }
        fs::remove_file(back).unwrap();
        fs::remove_file(link).unwrap();
        let _ = fs::remove_file(path);
    }
}

#[test]
fn without_leases_it_waits_aside_and_goes_only_if_nothing_was_written_meanwhile() {
    let Some(mount) = WithoutLeases::mount() else { return };
    let dir = mount.0.path();
    for is_written in [false, true] {
        let (path, proven) = recording(dir);
        let mut writer = File::options().append(true).open(&path).unwrap();
        let RemovalOutcome::Aside { path: aside, seen } = give_up(&path, &proven).unwrap() else {
            panic!("no lease here")
        };
        assert_eq!(names(dir), [".aftercast-x.ts.aside"]);
        if is_written {
            std::thread::sleep(std::time::Duration::from_millis(20));
            writer.write_all(b" more").unwrap();
        }
        let given_up = remove_aside(&aside, &path, ExpectedFile::All(seen)).unwrap();
        if is_written {
            assert_eq!(given_up, RemovalOutcome::Kept { why: KeptBecause::Changed, path: path.clone() });
            assert_eq!(fs::read_to_string(&path).unwrap(), "recorded more");
        } else {
            assert_eq!((given_up, names(dir)), (RemovalOutcome::Removed, Vec::new()));
        }
        drop(writer);
    }
}

#[test]
fn what_a_cut_left_aside_gets_its_name_back_or_goes_by_its_content() {
    let dir = tempfile::tempdir().unwrap();
    let (path, proven) = recording(dir.path());
    let aside = aside_path(&path);
    assert!(is_aside(aside.file_name().unwrap()) && !crate::durable::is_partial(aside.file_name().unwrap()));
    fs::rename(&path, &aside).unwrap();
    assert_eq!(put_back(&aside).unwrap(), Some(path.clone()));
    assert_eq!(put_back(&aside).unwrap(), None);
    fs::rename(&path, &aside).unwrap();
    fs::write(&path, "another").unwrap();
    assert_eq!(put_back(&aside).unwrap(), Some(dir.path().join("x_1.ts")), "nothing is replaced");

    fs::rename(dir.path().join("x_1.ts"), &aside).unwrap();
    fs::remove_file(&path).unwrap();
    append(&aside);
    let wanted = ExpectedFile::Content(proven.fingerprint);
    assert_eq!(
        remove_aside(&aside, &path, wanted).unwrap(),
        RemovalOutcome::Kept { why: KeptBecause::Changed, path: path.clone() }
    );
    let now = seen(&path).unwrap();
    fs::rename(&path, &aside).unwrap();
    let ended = remove_aside(&aside, &path, ExpectedFile::Content(now.fingerprint)).unwrap();
    assert!(matches!(ended, RemovalOutcome::Removed | RemovalOutcome::Aside { .. }), "{ended:?}");
}

#[test]
fn a_name_that_is_too_long_for_ours_has_a_short_one_aside() {
    let long = PathBuf::from("/r").join("x".repeat(NAME_MAX_BYTES));
    let aside = aside_path(&long);
    assert!(aside.file_name().unwrap().len() <= NAME_MAX_BYTES);
    assert_ne!(aside, aside_path(&long.with_file_name("y".repeat(NAME_MAX_BYTES))));
}

/// A source, what it was when it was read, and the finished file that is to take its place.
fn to_replace(dir: &Path) -> (PathBuf, FileVersion, PathBuf, Fingerprint) {
    let (source, read) = recording(dir);
    let from = dir.join(".aftercast-x.partial");
    fs::write(&from, "finished").unwrap();
    let written = seen(&from).unwrap().fingerprint;
    (source, read, from, written)
}

/// As [`replace_source`], while a process that this test started has, for an instant, what is open here.
fn until_replaced((from, written): (&Path, &Fingerprint), source: &Path, read: &FileVersion) -> ReplaceOutcome {
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(20);
    loop {
        let proven = (&read.fingerprint, Some(read.changed_ns));
        match replace_source((from, written), source, proven, SecondName::Given).unwrap() {
            ReplaceOutcome::Kept(KeptBecause::InUse) if std::time::Instant::now() < deadline => {
                std::thread::yield_now();
            }
            other => return other,
        }
    }
}

#[test]
fn a_finished_file_takes_the_place_of_its_source_as_it_was_read_and_of_no_other() {
    let Some(dir) = with_leases() else { return };
    let (source, read, from, written) = to_replace(dir.path());
    // As a writer that comes back and puts the time back; the kernel's clock for change times ticks every few milliseconds.
    std::thread::sleep(std::time::Duration::from_millis(20));
    let modified = fs::metadata(&source).unwrap().modified().unwrap();
    let mut writer = File::options().write(true).open(&source).unwrap();
    writer.write_all(b"REWRITES").unwrap();
    writer.set_modified(modified).unwrap();
    let proven = (&read.fingerprint, Some(read.changed_ns));
    let in_use = replace_source((&from, &written), &source, proven, SecondName::Given).unwrap();
    assert!(matches!(in_use, ReplaceOutcome::Kept(KeptBecause::InUse)), "{in_use:?}");
    drop(writer);
    let changed = until_replaced((&from, &written), &source, &read);
    assert!(matches!(changed, ReplaceOutcome::Kept(KeptBecause::Changed)), "{changed:?}");
    assert_eq!(names(dir.path()), [".aftercast-x.partial", "x.ts"]);
    assert_eq!(fs::read_to_string(&source).unwrap(), "REWRITES");
    let replaced = until_replaced((&from, &written), &source, &seen(&source).unwrap());
    assert!(matches!(replaced, ReplaceOutcome::Replaced(RenameOutcome::Durably)), "{replaced:?}");
    assert_eq!(
        (names(dir.path()), fs::read_to_string(&source).unwrap()),
        (vec!["x.ts".to_owned()], "finished".to_owned())
    );
}

#[test]
fn a_writer_that_opens_the_source_while_it_is_replaced_gets_it_with_its_name() {
    let Some(dir) = with_leases() else { return };
    let (source, _, from, written) = to_replace(dir.path());
    let link = dir.path().join("link");
    fs::hard_link(&source, &link).unwrap();
    let read = seen(&source).unwrap();
    let (own, found) = (source.clone(), link.clone());
    let has_come = std::rc::Rc::new(std::cell::Cell::new(false));
    let comes = std::rc::Rc::clone(&has_come);
    let hears = move |event: &FileEvent<'_>| {
        if matches!(event, FileEvent::Renamed(_, to) if *to == own) && !comes.replace(true) {
            begin_to_open(&found);
        }
    };
    let kept = listen(Box::new(move |event, _| hears(event)), || {
        loop {
            let proven = (&read.fingerprint, Some(read.changed_ns));
            let kept = replace_source((&from, &written), &source, proven, SecondName::Given).unwrap();
            // A process that is being started may have had it for an instant; nothing has happened then.
            if has_come.get() {
                break kept;
            }
        }
    });
    assert!(matches!(kept, ReplaceOutcome::Kept(KeptBecause::InUse)), "{kept:?}");
    append(&link);
    assert_eq!(fs::read_to_string(&source).unwrap(), "recorded more");
    assert_eq!(names(dir.path()), ["link", "x.ts"]);
}

#[test]
fn without_leases_a_replaced_source_waits_aside() {
    let Some(mount) = WithoutLeases::mount() else { return };
    let dir = mount.0.path();
    let (source, read, from, written) = to_replace(dir);
    let ReplaceOutcome::Aside { path: aside, seen, named } = until_replaced((&from, &written), &source, &read) else {
        panic!("no lease here")
    };
    named.durably().unwrap();
    assert_eq!(names(dir), [".aftercast-x.ts.aside", "x.ts"]);
    assert_eq!(fs::read_to_string(&source).unwrap(), "finished");
    let gone = remove_aside(&aside, &source, ExpectedFile::All(seen)).unwrap();
    assert_eq!((gone, names(dir)), (RemovalOutcome::Removed, vec!["x.ts".to_owned()]));
}

#[test]
fn a_source_that_a_cut_left_under_both_names_keeps_its_own() {
    let dir = tempfile::tempdir().unwrap();
    let (source, ..) = recording(dir.path());
    let aside = aside_path(&source);
    fs::hard_link(&source, &aside).unwrap();
    assert_eq!(put_back(&aside).unwrap(), None);
    assert_eq!(names(dir.path()), ["x.ts"]);
}
