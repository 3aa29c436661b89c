//! The commands that the documentation shows are run, what they print is compared with what it shows, and its links are followed.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

fn check(args: &[&str]) -> Output {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/check-docs");
    Command::new(script).args(["--aftercast", env!("CARGO_BIN_EXE_aftercast")]).args(args).output().unwrap()
}

fn said(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

#[test]
fn every_command_of_the_documentation_prints_what_the_page_shows_and_every_link_leads_somewhere() {
    let checked = check(&[]);
    // Blocks that are not run, with their reasons, and the counts.
    println!("{}", said(&checked));
    assert!(checked.status.success(), "{}", said(&checked));
}

/// A check that finds nothing wrong with a wrong page would prove nothing.
#[test]
fn what_is_wrong_with_a_page_is_found() {
    let dir = tempfile::tempdir().unwrap();
    for (page, expected) in [
        ("```console\n$ aftercast --version\naftercast of another kind\n```\n", "does not print what the page shows"),
        ("```console\n$ aftercast --nonsense\n…\n```\n", "exit status 2, not 0"),
        ("```sh\naftercast config check --config missing.toml\n```\n", "exit status 3, not 0"),
        ("<!-- not run: -->\n```sh\naftercast watch\n```\n", "`not run` without a reason"),
        ("<!-- background -->\n```console\n$ echo one\nnever printed\n```\n", "does not print what the page shows"),
        ("```\naftercast vod list\n```\n", "not labelled sh or console"),
        ("Read [this](missing.md).\n", "missing.md: no such file"),
        ("Read [that](http://example.org).\n", "links to other sites begin with https://"),
        ("```sh\ntrue\n", "a block without its end"),
    ] {
        let path = dir.path().join("page.md");
        fs::write(&path, page).unwrap();
        let checked = check(&[path.to_str().unwrap()]);
        assert!(!checked.status.success() && said(&checked).contains(expected), "{page}: {}", said(&checked));
    }
    for page in [
        "```console\n$ aftercast --version\naftercast …\n```\n",
        "<!-- service: while :; do date >alive; sleep 0.1; done -->\n<!-- until -->\n```console\n$ grep -o : alive | head -n 1\n:\n```\n",
    ] {
        let path = dir.path().join("page.md");
        fs::write(&path, page).unwrap();
        let checked = check(&[path.to_str().unwrap()]);
        assert!(checked.status.success(), "{page}: {}", said(&checked));
    }
}
