//! Text from outside reaches no terminal and no log as it is: names of files, and what a store says.

use std::fs;
use std::path::{Path, PathBuf};

use aftercast::deliver::TargetOptions;

use crate::support::daemon::Daemon;
use crate::support::http::{Response, read_request, reply, serve};
use crate::support::recordings::made;
use crate::support::{Sandbox, config_with_targets};

/// Repaints the terminal, begins a line of its own, writes from right to left, and ends what it began.
const EVIL: &str = "room\u{1b}[2J\u{1b}]0;owned\u{7}\nINFO forged \u{202e}4pm\u{2066}\u{200b}\u{9b}31m";

#[track_caller]
fn assert_harmless(what: &str, text: &str) {
    let raw = |c: char| c != '\n' && aftercast::printable::is_misleading(c, Some('ü'));
    let found = text.lines().find(|line| line.contains(raw) || line.starts_with("INFO forged"));
    assert!(found.is_none(), "{what}: {found:?}");
}

#[test]
fn the_name_of_a_recording_cannot_paint_the_terminal_or_forge_a_line() {
    let sandbox = Sandbox::new();
    sandbox.put(&made("mp4", 2), &format!("{EVIL}.mp4"));
    sandbox.put(&made("ts", 2), &format!("deep{EVIL}/{EVIL}.ts"));
    fs::write(sandbox.root().join(format!("broken{EVIL}.mp4")), b"\0\0\0\x18ftypmp42 and nothing more").unwrap();
    let root = sandbox.root();
    let root = root.to_str().unwrap();
    let typed: [&[&str]; 13] = [
        &["process", "--dry-run", root],
        &["--json", "process", "--dry-run", root],
        &["-vvv", "process", root],
        &["--json", "process", root],
        &["vod", "list"],
        &["--json", "vod", "list"],
        &["vod", "export", "--format", "csv"],
        &["vod", "verify"],
        &["queue", "list"],
        &["--json", "queue", "list"],
        &["retain", "--dry-run"],
        &["catalog", "check"],
        &["process", EVIL],
    ];
    for args in typed {
        let run = sandbox.run(args);
        assert!(!run.out.is_empty() || !run.err.is_empty(), "{args:?}");
        assert_harmless(&format!("{args:?}"), &run.out);
        assert_harmless(&format!("{args:?}, errors"), &run.err);
    }
    for vod in sandbox.vods() {
        let shown = sandbox.run(&["vod", "show", vod["vodId"].as_str().unwrap()]).expect_code(0);
        assert_harmless("vod show", &shown.out);
    }
    assert_eq!(sandbox.vods().len(), 2);
    let unknown = sandbox.run(&[&format!("--{EVIL}")]).expect_code(2);
    assert_harmless("an argument", &unknown.err);
    for entry in fs::read_dir(sandbox.root()).unwrap() {
        let path = entry.unwrap().path();
        let inspected = sandbox.run(&["inspect", path.to_str().unwrap()]);
        assert_harmless("inspect", &inspected.out);
        assert_harmless("inspect, errors", &inspected.err);
    }
}

/// A store that refuses everything with words of its own.
fn rude() -> TargetOptions {
    let answer = || {
        let words =
            format!("<Error><Code>Odd{EVIL}</Code><Message>{EVIL}</Message><RequestId>{EVIL}</RequestId></Error>");
        Response::new(418).with("content-type", "application/xml").saying(words)
    };
    let address = serve(move |client| {
        let Some(request) = read_request(&client, |_, length| length) else { return };
        reply(&client, &answer().bytes(request.method == "HEAD"));
    });
    let secrets = std::env::temp_dir().join(format!("aftercast-rude-{}", std::process::id()));
    fs::write(&secrets, "secret").unwrap();
    let mut options = TargetOptions::new("rude", "s3://bucket/prefix");
    options.endpoint = Some(format!("http://{address}"));
    options.path_style = Some(true);
    for name in ["access_key_id", "secret_access_key"] {
        options.credential_files.insert(name.into(), secrets.clone());
    }
    options
}

#[test]
fn what_a_store_says_cannot_paint_the_log_or_forge_a_line() {
    let sandbox = Sandbox::with_config(|dir| config_with_targets(dir, &[&rude()], ""));
    sandbox.put(&made("mp4-faststart", 2), &format!("{EVIL}.mp4"));
    let daemon = Daemon::start_with(&sandbox, |command| {
        command.env("AFTERCAST_LOG", "aftercast=trace,error");
    });
    daemon.until_said("forged");
    for args in [&["queue", "list"][..], &["--json", "queue", "list"], &["doctor"]] {
        let run = sandbox.run(args);
        assert_harmless(&format!("{args:?}"), &run.out);
        assert_harmless(&format!("{args:?}, errors"), &run.err);
    }
    assert_harmless("the log", &daemon.log());
}

fn sources(dir: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() && path.file_name().is_some_and(|n| n != "tests") {
            sources(&path, found);
        } else if path.extension().is_some_and(|e| e == "rs") && path.file_name().is_some_and(|n| n != "tests.rs") {
            found.push(path);
        }
    }
}

/// What goes past the escapes, and the files that may have it.
const PAST: [(&str, &[&str]); 7] = [
    // A build script writes paths of the build.
    (".display()", &["printable.rs", "discover/lease.rs", "serve/page/build.rs"]),
    ("%error", &[]),
    ("{error}", &[]),
    (
        ".as_it_is()",
        &[
            "cli/output.rs",
            "cli/run.rs",
            "cli/commands/help.rs",
            "cli/commands/config.rs",
            // A configuration, in which `quote` and `comment` escape.
            "cli/commands/setup.rs",
            // Only to flush.
            "cli/asking.rs",
            "cli/commands/events.rs",
            "cli/commands/vod.rs",
        ],
    ),
    ("io::stdout()", &["cli/run.rs", "cli/table.rs", "durable/image.rs"]),
    (
        "io::stderr()",
        &[
            "cli/run.rs",
            "cli/report.rs",
            "cli/progress.rs",
            "cli/bars.rs",
            "cli/logging.rs",
            // Only to ask whether it is a terminal.
            "cli/commands/watch.rs",
            // A text of its own, for who starts it by hand.
            "media/apart/child.rs",
        ],
    ),
    ("println!(", &["media/ffi/late/build.rs"]),
];

#[test]
fn nothing_in_the_sources_prints_past_the_escapes() {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    sources(&src, &mut files);
    assert!(files.len() > 40, "only {} files found", files.len());
    let mut broken = Vec::new();
    for file in &files {
        let text = fs::read_to_string(file).unwrap();
        let code = text.split("#[cfg(test)]\nmod ").next().unwrap_or_default();
        let name = file.strip_prefix(&src).unwrap().to_str().unwrap();
        for (number, line) in code.lines().enumerate().filter(|(_, l)| !l.trim_start().starts_with("//")) {
            for (past, allowed) in PAST {
                if line.contains(past) && !allowed.contains(&name) {
                    broken.push(format!("{name}:{}: `{past}`", number + 1));
                }
            }
        }
    }
    assert!(broken.is_empty(), "{}", broken.join("\n"));
}
