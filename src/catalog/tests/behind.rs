//! A database that opens as an earlier state of itself.

use super::*;

const VODS: u64 = 40;

/// A state directory with some VoDs, closed.
fn filled() -> TestCatalog {
    let mut home = TestCatalog::new();
    for n in 0..VODS {
        catalogue(&home, &format!("room{n}"), n, i64::try_from(n).unwrap());
    }
    home.close();
    home
}

fn count_is_whole(catalog: &Catalog) -> bool {
    catalog.shared().count().unwrap() as u64 == VODS
}

/// Every length at which the database still opens either has everything or is known to be behind.
#[test]
fn a_truncated_database_that_opens_is_known_to_be_behind() {
    let home = filled();
    let len = std::fs::metadata(home.state_dir().join("catalog/db")).unwrap().len();
    let mut behind = 0;
    for cut in 1..16 {
        let mut cut_home = copy_of(&home);
        let db = cut_home.state_dir().join("catalog/db");
        std::fs::File::options().write(true).open(&db).unwrap().set_len(len * cut / 16).unwrap();
        // Damage that the database itself sees is another matter.
        let Ok(catalog) = Catalog::open(&cut_home.state_dir()) else { continue };
        assert!(catalog.is_behind() || count_is_whole(&catalog), "{cut}/16: older, and not known");
        if !catalog.is_behind() {
            continue;
        }
        behind += 1;
        // Whatever is written meanwhile, it stands until a rebuild.
        for n in 0..VODS {
            catalogue(&catalog, &format!("later{n}"), 1_000 + n, 99);
        }
        drop(catalog);
        cut_home.restart();
        assert!(cut_home.is_behind(), "{cut}/16");
        cut_home.caught_up().unwrap();
        assert!(!cut_home.is_behind());
        cut_home.restart();
        assert!(!cut_home.is_behind(), "{cut}/16");
    }
    assert!(behind > 0, "no length opened as an older state");
}

#[test]
fn an_older_database_beside_a_newer_count_is_known_to_be_behind() {
    let mut home = filled();
    let earlier = copy_of(&home);
    home.restart();
    catalogue(&home, "last", 9_999, 1);
    home.close();
    std::fs::remove_dir_all(home.state_dir().join("catalog")).unwrap();
    copy_directory(&earlier.state_dir().join("catalog"), &home.state_dir().join("catalog"));
    home.restart();
    assert!(home.is_behind());
}

#[test]
fn a_sound_database_a_whole_backup_and_one_without_a_count_are_not_behind() {
    let mut home = filled();
    let mut backup = copy_of(&home);
    home.restart();
    assert!(!home.is_behind() && count_is_whole(&home));
    backup.restart();
    assert!(!backup.is_behind());
    backup.close();
    std::fs::remove_file(backup.state_dir().join("catalog.flushes")).unwrap();
    backup.restart();
    assert!(!backup.is_behind(), "as an older version left it");
    // Counted from here on.
    let earlier = copy_of(&backup);
    catalogue(&backup, "last", 9_999, 1);
    backup.close();
    std::fs::remove_dir_all(backup.state_dir().join("catalog")).unwrap();
    copy_directory(&earlier.state_dir().join("catalog"), &backup.state_dir().join("catalog"));
    backup.restart();
    assert!(backup.is_behind());
}

#[test]
fn a_killed_process_is_not_behind() {
    let home = TestCatalog::new();
    for n in 0..VODS {
        catalogue(&home, &format!("room{n}"), n, 1);
        if n % 10 == 0 {
            assert!(!home.as_left_by_a_kill().is_behind());
        }
    }
}

#[test]
fn a_count_that_is_damaged_says_that_what_is_beside_it_may_be_too() {
    let mut home = filled();
    let count = home.state_dir().join("catalog.flushes");
    std::fs::write(&count, b"0123456789abcdef").unwrap();
    home.restart();
    assert!(home.is_behind());
    home.caught_up().unwrap();
    home.restart();
    assert!(!home.is_behind());
}
