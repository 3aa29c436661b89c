//! Webhooks and hook commands of the real daemon: every event arrives, in order, signed, whatever the receiver and whoever kills the
//! daemon; a local file stays for those who are to see it.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::support::daemon::{Daemon, until};
use crate::support::receiver::{Reaction, ReceivedRequest, Receiver};
use crate::support::recordings::made;
use crate::support::stores::free_port;
use crate::support::{Sandbox, standard_config};

/// A house whose configuration has endpoints.
fn sandbox(more: &str) -> Sandbox {
    Sandbox::with_config(|dir| standard_config(dir, more).replace("[watch]\n", "[watch]\nrescan = \"1s\"\n"))
}

fn webhook(name: &str, url: &str, more: &str) -> String {
    format!("[[announce.webhook]]\nname = \"{name}\"\nurl = \"{url}\"\n{more}\n")
}

/// A script in a house that is there before its configuration is read.
fn script(dir: &Path, text: &str) -> PathBuf {
    let path = dir.join("hook.sh");
    fs::write(&path, format!("#!/bin/sh\n{text}\n")).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    path
}

/// The log of a house, of these types.
fn logged(sandbox: &Sandbox, types: &[&str]) -> BTreeMap<u64, Value> {
    let mut args = vec!["--json", "events", "list", "--limit", "100000"];
    args.extend(types.iter().flat_map(|name| ["--type", name]));
    let events = sandbox.run(&args).expect_code(0).json_lines();
    events.into_iter().map(|event| (event["sequence"].as_u64().unwrap(), event)).collect()
}

const SENT: [&str; 8] = [
    "recording.finished",
    "recording.salvaged",
    "recording.quarantined",
    "vod.available",
    "vod.deleted",
    "delivery.failed",
    "target.paused",
    "local.freed",
];

/// Waits until everything that was to be sent was taken; returns it.
#[track_caller]
fn until_all_taken(sandbox: &Sandbox, receiver: &Receiver, at_least: usize) -> BTreeMap<u64, Value> {
    until("every event was taken", || {
        let events = logged(sandbox, &SENT);
        let is_whole = events.len() >= at_least && events.keys().all(|n| receiver.taken().contains(n));
        is_whole.then_some(events)
    })
}

/// No event was sent before all earlier ones of its VoD had been taken.
#[track_caller]
fn assert_in_order(receiver: &Receiver, events: &BTreeMap<u64, Value>) {
    let mut taken = BTreeSet::new();
    for got in receiver.got() {
        let json = got.json();
        let sequence = json["sequence"].as_u64().unwrap();
        let of_vod = events.range(..sequence).filter(|(_, event)| event["vod"]["vodId"] == json["vod"]["vodId"]);
        for (before, _) in of_vod {
            assert!(taken.contains(before), "{sequence} was sent before {before} was taken");
        }
        if got.was_taken {
            taken.insert(sequence);
        }
    }
}

#[test]
fn a_receiver_that_fails_hangs_and_restarts_gets_every_event_in_order_and_signed() {
    let count = AtomicUsize::new(0);
    let unruly = move |_: &_| match count.fetch_add(1, Ordering::SeqCst) % 7 {
        0 => Reaction::Answers(500),
        2 => Reaction::Hangs,
        4 => Reaction::Closes,
        5 => Reaction::Answers(302),
        _ => Reaction::Answers(204),
    };
    let mut receiver = Receiver::start(unruly);
    let sandbox = sandbox(&webhook("site", &receiver.url(), "timeout = \"300ms\"\nsecret_file = \"env:HOOK_SECRET\""));
    let daemon = Daemon::start_with(&sandbox, |command| {
        command.env("HOOK_SECRET", "whsec_aHVudGVyMg==");
    });
    for n in 0..4 {
        sandbox.put(&made("flv", 2), &format!("room{n}.flv"));
    }
    until_all_taken(&sandbox, &receiver, 8);
    receiver.restart(Duration::from_millis(1_500), |_| Reaction::Answers(200));
    for n in 4..6 {
        sandbox.put(&made("mp4", 2), &format!("room{n}.mp4"));
    }
    let events = until_all_taken(&sandbox, &receiver, 12);
    receiver.ids();
    assert_in_order(&receiver, &events);
    for got in receiver.got() {
        let json = got.json();
        assert_eq!(json, events[&json["sequence"].as_u64().unwrap()], "it is sent as it is listed");
        let header = |name| got.request.header(name).unwrap_or_else(|| panic!("no {name}"));
        let signed =
            [got.id().as_bytes(), b".", header("webhook-timestamp").as_bytes(), b".", &got.request.body].concat();
        assert_eq!(header("webhook-signature"), format!("v1,{}", openssl_hmac("hunter2", &signed)));
    }
    let available = events.values().find(|event| event["type"] == "vod.available").unwrap();
    for field in ["target", "key", "url", "sizeBytes", "checksum"] {
        assert!(!available["object"][field].is_null(), "{field}: {available}");
    }
    assert_eq!(available["codecs"], serde_json::json!(["h264", "aac"]));
    assert!(!daemon.log().contains("hunter2") && !daemon.log().contains("aHVudGVyMg"), "a secret is in the log");
    daemon.stop();
}

/// HMAC-SHA256 in base64 by another program than ours.
fn openssl_hmac(secret: &str, text: &[u8]) -> String {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("text"), text).unwrap();
    let program = "import sys,hmac,hashlib,base64;\
                   print(base64.b64encode(hmac.new(sys.argv[1].encode(),open(sys.argv[2],'rb').read(),hashlib.sha256).digest()).decode())";
    let run = Command::new("python3").args(["-c", program, secret]).arg(dir.path().join("text")).output().unwrap();
    assert!(run.status.success(), "{}", String::from_utf8_lossy(&run.stderr));
    String::from_utf8(run.stdout).unwrap().trim().to_owned()
}

#[test]
fn kills_at_any_moment_lose_no_event() {
    let count = AtomicUsize::new(0);
    let slow = move |_: &_| {
        std::thread::sleep(Duration::from_millis(20));
        if count.fetch_add(1, Ordering::SeqCst).is_multiple_of(5) { Reaction::Closes } else { Reaction::Answers(200) }
    };
    let receiver = Receiver::start(slow);
    let sandbox = sandbox(&webhook("site", &receiver.url(), ""));
    // `scripts/kill-webhooks` does it more often.
    let rounds = std::env::var("AFTERCAST_TEST_KILLS").map_or(12, |rounds| rounds.parse().unwrap());
    let mut seed = 0x2545_f491_4f6c_dd1d_u64;
    for round in 0..rounds {
        let daemon = Daemon::start(&sandbox);
        for n in 0..2 {
            sandbox.put(&made("flv", 2), &format!("room{round}-{n}.flv"));
        }
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        std::thread::sleep(Duration::from_millis(seed >> 54));
        // SIGKILL.
        drop(daemon);
    }
    let daemon = Daemon::start(&sandbox);
    until("every recording is at its end", || {
        let count = |name| logged(&sandbox, &[name]).len();
        // One that two kills in a row met is quarantined, which is told as well.
        let is_ended = count("recording.finished") + count("recording.quarantined") == 2 * rounds;
        (is_ended && count("recording.finished") == count("vod.available")).then_some(())
    });
    let events = until_all_taken(&sandbox, &receiver, 2 * rounds);
    receiver.ids();
    assert_in_order(&receiver, &events);
    let (sent, once) = (receiver.got().iter().filter(|got| got.was_taken).count(), events.len());
    println!("{rounds} kills: {once} events, {} taken more than once", sent - once);
    daemon.stop();
}

#[test]
fn an_endpoint_that_hangs_delays_no_other_and_others_get_events_at_once() {
    let (hangs, quick) = (Receiver::start(|_| Reaction::Hangs), Receiver::start(|_| Reaction::Answers(200)));
    let more = webhook("hangs", &hangs.url(), "timeout = \"60s\"") + &webhook("quick", &quick.url(), "");
    let sandbox = sandbox(&more);
    let daemon = Daemon::start(&sandbox);
    let mut delays = Vec::new();
    for n in 0..10 {
        sandbox.put(&made("mp4-faststart", 2), &format!("room{n}.mp4"));
        let before = quick.got().len();
        until("both events are there", || (quick.got().len() >= before.max(2 * n) + 2).then_some(()));
        delays.extend(quick.got().iter().skip(2 * n).map(|got| got.at_ms - got.json()["atMs"].as_i64().unwrap()));
    }
    delays.sort_unstable();
    println!(
        "from the event to its request: median {} ms, longest {} ms",
        delays[delays.len() / 2],
        delays[delays.len() - 1]
    );
    assert!(delays[delays.len() / 2] < 1_000, "{delays:?}");
    assert!(!hangs.got().is_empty() && hangs.taken().is_empty());
    daemon.stop();
}

#[test]
fn a_file_is_freed_after_vod_ready_and_the_command_and_not_before() {
    let count = AtomicUsize::new(0);
    let receiver = Receiver::start(move |_| match count.fetch_add(1, Ordering::SeqCst) {
        0 | 1 => Reaction::Answers(503),
        _ => Reaction::Answers(200),
    });
    let sandbox = Sandbox::with_config(|dir| {
        let hook = script(dir, "test -e \"$AFTERCAST_PATH\" || exit 1\necho \"$AFTERCAST_EVENT $1\" >> hooked.log");
        let hook = hook.display();
        fs::write(
            dir.join("hook.sh"),
            format!("#!/bin/sh\ncd '{}'\n{}", dir.display(), fs::read_to_string(dir.join("hook.sh")).unwrap()),
        )
        .unwrap();
        let command = format!("[[announce.command]]\nname = \"index\"\ncommand = [\"{hook}\", \"{{stream}}\"]\n");
        let more = webhook("panel", &receiver.url(), "format = \"antmedia\"")
            + &command
            + "[retain]\ndelete_local = \"delivered\"\n";
        standard_config(dir, &more).replace("[watch]\n", "[watch]\nrescan = \"1s\"\n")
    });
    let daemon = Daemon::start(&sandbox);
    let name = "we<b>ird $(touch pwned)";
    sandbox.put(&made("flv", 2), &format!("{name}.flv"));
    let finished = sandbox.root().join(format!("{name}.mp4"));
    until("the file is freed", || (!logged(&sandbox, &["local.freed"]).is_empty()).then_some(()));
    assert!(!finished.exists());
    let got = receiver.got();
    assert!(got.len() >= 3 && got[2].was_taken, "{got:?}");
    assert!(got.windows(2).all(|pair| pair[0].id() == pair[1].id()));
    let ready = got[2].json();
    let keys: Vec<_> = ready.as_object().unwrap().keys().map(String::as_str).collect();
    assert_eq!(keys, ["id", "action", "vodName", "vodId", "app", "duration", "timestamp"]);
    assert_eq!((&ready["id"], &ready["vodName"], &ready["action"]), (&name.into(), &name.into(), &"vodReady".into()));
    assert_eq!(ready["vodId"], sandbox.vods()[0]["vodId"]);
    let hooked = || fs::read_to_string(sandbox.path().join("hooked.log")).unwrap_or_default();
    // When the file is gone, the command fails by its own test.
    assert_eq!(hooked(), format!("recording.finished {name}\nvod.available {name}\n"));
    assert!(!sandbox.path().join("pwned").exists());
    daemon.stop();
}

#[test]
fn a_file_waits_for_an_endpoint_no_longer_than_hold() {
    let receiver = Receiver::start(|_| Reaction::Answers(500));
    let endpoint = webhook("panel", &receiver.url(), "format = \"antmedia\"");
    let sandbox = sandbox(&format!("[announce]\nhold = \"4s\"\n{endpoint}[retain]\ndelete_local = \"delivered\"\n"));
    let daemon = Daemon::start(&sandbox);
    let begun = Instant::now();
    sandbox.put(&made("mp4", 2), "room1.mp4");
    until("it waits", || {
        let plan = sandbox.run(&["retain", "--dry-run"]).expect_code(0);
        (plan.out + &plan.err).contains("webhook/panel").then_some(())
    });
    daemon.until_said("freed before this endpoint was told of it");
    assert!(begun.elapsed() >= Duration::from_secs(4));
    until("it is freed", || (!logged(&sandbox, &["local.freed"]).is_empty()).then_some(()));
    daemon.stop();
}

#[test]
fn process_serves_endpoints_and_frees_what_they_have_seen() {
    let receiver = Receiver::start(|_| Reaction::Answers(200));
    let endpoint = webhook("panel", &receiver.url(), "format = \"antmedia\"") + &webhook("site", &receiver.url(), "");
    let sandbox = sandbox(&format!("{endpoint}[retain]\ndelete_local = \"delivered\"\n"));
    sandbox.put(&made("flv", 2), "room1.flv");
    sandbox.process().expect_code(0);
    assert!(sandbox.vods()[0]["freedAt"].is_number(), "{}", sandbox.vods()[0]);
    let types: Vec<_> = receiver.got().iter().map(ReceivedRequest::json).collect();
    assert_eq!(types.iter().filter(|json| json["action"] == "vodReady").count(), 1);
    let of_type = |name: &str| types.iter().filter(|json| json["type"] == name).count();
    assert_eq!(["recording.finished", "vod.available", "local.freed"].map(of_type), [1, 1, 1]);
}

#[test]
fn a_reload_changes_endpoints_and_replay_sends_events_again_with_the_same_ids() {
    let (first, second) = (Receiver::start(|_| Reaction::Answers(500)), Receiver::start(|_| Reaction::Answers(200)));
    let sandbox = sandbox("");
    let daemon = Daemon::start(&sandbox);
    sandbox.put(&made("flv", 2), "before.flv");
    until("the first is delivered", || (logged(&sandbox, &["vod.available"]).len() == 1).then_some(()));
    let plain = fs::read_to_string(sandbox.path().join("config.toml")).unwrap();
    let reload = |endpoint: &str| {
        fs::write(sandbox.path().join("config.toml"), format!("{plain}{endpoint}")).unwrap();
        let said = daemon.log().matches("configuration reloaded").count();
        daemon.signal("HUP");
        until("the reload", || (daemon.log().matches("configuration reloaded").count() > said).then_some(()));
    };
    reload(&webhook("site", &first.url(), ""));
    sandbox.put(&made("flv", 2), "after.flv");
    until("it is tried in vain", || (first.got().len() >= 2).then_some(()));
    reload(&webhook("site", &second.url(), ""));
    let all = until("both are delivered", || {
        let all = logged(&sandbox, &SENT);
        (all.values().filter(|event| event["type"] == "vod.available").count() == 2).then_some(all)
    });
    let later: BTreeSet<_> = all.keys().copied().filter(|n| *n > *all.keys().nth(1).unwrap()).collect();
    until("the other one has it", || (second.taken().is_superset(&later)).then_some(()));
    assert_eq!(second.taken(), later, "it begins with what happened since it was there");
    assert_eq!(second.ids()[&first.got()[0].json()["sequence"].as_u64().unwrap()], first.got()[0].id());

    let oldest = all.keys().next().unwrap().to_string();
    let said = sandbox.run(&["--json", "events", "replay", "site", "--from", &oldest]).expect_code(0);
    assert_eq!(said.json_lines()[0]["endpoint"], "webhook/site", "{}", said.out);
    until("everything was sent again", || all.keys().all(|n| second.taken().contains(n)).then_some(()));
    until("some twice", || (second.got().len() >= later.len() + all.len()).then_some(()));
    second.ids();
    let unknown = sandbox.run(&["events", "replay", "nobody", "--from", "1"]);
    assert!(unknown.code() != 0 && unknown.err.contains("no endpoint is called"), "{}", unknown.err);
    reload("");
    until("its place is forgotten", || daemon.log().contains("no longer configured").then_some(()));
    daemon.stop();
}

#[test]
fn tail_prints_events_as_they_come_until_it_is_interrupted() {
    let sandbox = sandbox("");
    let daemon = Daemon::start(&sandbox);
    let file = sandbox.path().join("tail");
    let mut command =
        sandbox.command(&["--json", "events", "tail", "--type", "recording.*", "--type", "vod.available"]);
    let mut tail = command.stdout(fs::File::create(&file).unwrap()).spawn().unwrap();
    // Without an event nothing tells that it listens: recordings come until one is seen.
    let mut n = 0;
    let seen = || fs::read_to_string(&file).unwrap_or_default();
    until("an event is printed", || {
        sandbox.put(&made("flv", 2), &format!("room{n}.flv"));
        n += 1;
        std::thread::sleep(Duration::from_millis(200));
        seen().contains("vod.available").then_some(())
    });
    for line in seen().lines().filter(|line| line.ends_with('}')) {
        let event: Value = serde_json::from_str(line).unwrap();
        assert!(event["type"].as_str().is_some_and(|name| name.starts_with("recording.") || name == "vod.available"));
    }
    assert!(Command::new("kill").args(["-s", "INT", &tail.id().to_string()]).status().unwrap().success());
    assert_eq!(until("it ends", || tail.try_wait().unwrap()).code(), Some(130));
    daemon.stop();
}

/// The Python receiver of the documentation, run as it is printed there.
#[test]
fn the_receiver_of_the_documentation_takes_signed_events_and_no_others() {
    let text = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/webhooks.md")).unwrap();
    let program = text.split("```python\n").nth(1).and_then(|rest| rest.split("```").next()).unwrap();
    assert!(program.lines().filter(|line| !line.trim().is_empty()).count() <= 20, "it is called short");
    let port = free_port();
    let secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
    let mut more = webhook("good", &format!("http://127.0.0.1:{port}/"), "secret_file = \"env:HOOK_SECRET\"");
    let _ = write!(more, "{}", webhook("bad", &format!("http://127.0.0.1:{port}/"), "secret_file = \"env:OTHER\""));
    let sandbox = sandbox(&more);
    let said = sandbox.path().join("python");
    let mut python = Command::new("python3")
        .args(["-c", program])
        .env("HOOK_SECRET", secret)
        .env("PORT", port.to_string())
        .stdout(fs::File::create(&said).unwrap())
        .stderr(fs::File::create(sandbox.path().join("python.err")).unwrap())
        .spawn()
        .unwrap();
    let daemon = Daemon::start_with(&sandbox, |command| {
        command.env("HOOK_SECRET", secret).env("OTHER", "wrong");
    });
    sandbox.put(&made("flv", 2), "room1.flv");
    let path = sandbox.root().join("room1.mp4");
    let expected = format!("recording.finished {0}\nvod.available {0}\n", path.display());
    until("both events are printed", || (fs::read_to_string(&said).unwrap() == expected).then_some(()));
    daemon.until_said("answered with HTTP status 401");
    daemon.stop();
    python.kill().unwrap();
    python.wait().unwrap();
    assert_eq!(fs::read_to_string(&said).unwrap(), expected);
}
