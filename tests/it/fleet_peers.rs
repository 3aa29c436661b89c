//! What one node does with the recordings of another: asked through any node, done by the one that has it, once; shown and played
//! from anywhere; and what a node says in the shared tables is not trusted.

use std::collections::BTreeSet;
use std::fs;
use std::io::{BufRead as _, BufReader};
use std::process::{Command, Stdio};

use serde_json::Value;

use super::fleet::{id_of, listed, node, pairs, record, section, until_connected, until_listed, until_told};
use crate::support::daemon::{Daemon, until};
use crate::support::postgres::Postgres;
use crate::support::recordings::{made, without_moov};
use crate::support::{Sandbox, standard_config};

/// What a daemon answers on its socket: status, head and body.
fn ask(at: &Sandbox, args: &[&str], path: &str) -> (u16, String, String) {
    let socket = at.path().join("state/aftercast.sock");
    let url = format!("http://localhost{path}");
    let mut curl = Command::new("curl");
    curl.args(["-s", "-i", "--unix-socket"]).arg(socket).args(args).arg(url);
    let said = String::from_utf8_lossy(&curl.output().unwrap().stdout).into_owned();
    let (head, body) = said.split_once("\r\n\r\n").unwrap_or_else(|| panic!("{said}"));
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    (status, head.to_owned(), body.to_owned())
}

pub(super) fn get(at: &Sandbox, path: &str) -> (u16, Value) {
    let (status, _, body) = ask(at, &[], path);
    (status, serde_json::from_str(&body).unwrap_or(Value::Null))
}

fn names(vods: &Value) -> BTreeSet<String> {
    vods.as_array().unwrap().iter().map(|vod| vod["vodName"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn what_is_asked_about_another_nodes_recording_is_done_by_that_node() {
    let postgres = Postgres::start();
    let nodes = ["a", "b"].map(|name| node(&postgres, name));
    let [a, b] = &nodes;
    let daemons = nodes.each_ref().map(Daemon::start);
    for (node, name) in [(a, "one.mp4"), (b, "two.mp4"), (b, "three.mp4")] {
        record(node, name);
    }
    let all = [("a", "one.mp4"), ("b", "two.mp4"), ("b", "three.mp4")];
    for node in &nodes {
        until_listed(node, &all);
    }
    until("deliveries are done", || (fs::read_dir(b.store()).unwrap().count() == 2).then_some(()));
    nodes.iter().for_each(until_told);
    let (one, two, three) = (id_of(a, "one.mp4"), id_of(a, "two.mp4"), id_of(a, "three.mp4"));
    // Those of this node and of another in one command.
    let verified = a.run(&["vod", "verify", &one, &two]).expect_code(0);
    assert_eq!(verified.out.matches("as proven").count(), 2, "{}", verified.out);
    assert!(verified.out.contains(&two), "{}", verified.out);
    let retried = a.run(&["queue", "retry", &format!("{two}@store")]).expect_code(0);
    assert!(retried.out.contains("Deliveries queued for retry: 0."), "{}", retried.out);
    let unknown = a.run(&["queue", "retry", &format!("{two}@nowhere")]);
    assert!(
        unknown.code() != 0 && unknown.err.contains("the node `b` says: no delivery has the id"),
        "{}",
        unknown.err
    );
    // What would go is what is on that node.
    let planned = a.run(&["vod", "delete", &two]).expect_code(0);
    assert!(planned.err.contains(&format!("Would delete {}", b.root().join("two.mp4").display())), "{}", planned.err);
    assert!(b.root().join("two.mp4").exists());
    a.run(&["vod", "delete", &two, "--yes"]).expect_code(0);
    assert!(!b.root().join("two.mp4").exists() && !b.store().join("two.mp4").exists());
    let (status, _, said) = ask(a, &["-X", "DELETE"], &format!("/api/v1/vods/{three}?keepFile=true"));
    assert!(status == 200 && said.contains("\"isDeleted\":true"), "{status} {said}");
    assert!(b.root().join("three.mp4").exists() && !b.store().join("three.mp4").exists(), "as it was asked");
    for node in &nodes {
        until_listed(node, &[("a", "one.mp4")]);
    }
    // It is in the owner's log and events, as if it had been asked there.
    daemons[1].until_said("command of another node done");
    nodes.iter().for_each(until_told);
    let deleted = "SELECT count(*) FROM aftercast.event JOIN aftercast.node USING (node_id) WHERE type = 'vod.deleted' AND name = 'b'";
    assert_eq!(postgres.sql(deleted), "2");
    let open = "SELECT count(*) FROM aftercast.command WHERE state <> 'done'";
    assert_eq!(postgres.sql(open), "0");
    daemons.into_iter().for_each(Daemon::stop);
}

#[test]
fn a_node_that_is_away_is_said_and_nothing_is_left_for_it_unless_that_was_asked() {
    let postgres = Postgres::start();
    let nodes = ["a", "b"].map(|name| node(&postgres, name));
    let [a, b] = &nodes;
    let [of_a, of_b] = nodes.each_ref().map(Daemon::start);
    for name in ["two.mp4", "three.mp4"] {
        record(b, name);
    }
    until_listed(a, &[("b", "two.mp4"), ("b", "three.mp4")]);
    until("deliveries are done", || (fs::read_dir(b.store()).unwrap().count() == 2).then_some(()));
    until_told(b);
    let (two, three) = (id_of(a, "two.mp4"), id_of(a, "three.mp4"));
    of_b.stop();
    let commands = || postgres.sql("SELECT count(*) FROM aftercast.command");
    for command in
        [&["vod", "delete", &two, "--yes"][..], &["vod", "verify", &two], &["queue", "retry", &format!("{two}@store")]]
    {
        let refused = a.run(command).expect_code(5);
        assert!(refused.err.contains("belongs to the node `b`, unreachable since 20"), "{command:?}: {}", refused.err);
    }
    assert_eq!(commands(), "0");
    let (status, said) = get(a, &format!("/api/v1/vods/{two}/media"));
    assert_eq!((status, &said["kind"], &said["class"]), (503, &"nodeAway".into(), &"transient".into()), "{said}");
    assert!(said["detail"].as_str().unwrap().contains("is only on the node `b`, unreachable since 20"), "{said}");
    let (status, _, said) = ask(a, &["-X", "DELETE"], &format!("/api/v1/vods/{two}"));
    assert!(status == 503 && said.contains("nodeAway"), "{status} {said}");
    // Left for it on purpose.
    let left = a.run(&["vod", "delete", &two, "--yes", "--queue"]).expect_code(5);
    assert!(left.err.contains("has not answered yet") && left.err.contains("/api/v1/commands/"), "{}", left.err);
    let (status, head, said) = ask(a, &["-X", "DELETE"], &format!("/api/v1/vods/{three}?queue=true&dryRun=true"));
    let said: Value = serde_json::from_str(&said).unwrap();
    assert_eq!((status, &said["kind"]), (202, &"pending".into()), "{said}");
    let place = format!("/api/v1/commands/{}", said["command"].as_str().unwrap());
    assert!(head.to_lowercase().contains(&format!("location: {place}")), "{head}");
    let (_, said) = get(a, &place);
    assert_eq!(
        (&said["state"], &said["kind"], &said["node"]),
        (&"waiting".into(), &"delete".into(), &"b".into()),
        "{said}"
    );
    assert_eq!(get(a, "/api/v1/commands/none").0, 404);
    // One that is over is not done any more.
    let over = a.run(&["vod", "delete", &three, "--yes", "--queue"]).expect_code(5);
    let over = over.err.split("/api/v1/commands/").nth(1).unwrap().split_whitespace().next().unwrap().to_owned();
    postgres
        .sql(&format!("UPDATE aftercast.command SET expires_at = now() - interval '1 s' WHERE command_id = '{over}'"));
    assert_eq!(get(a, &format!("/api/v1/commands/{over}")).1["state"], "expired");
    let of_b = Daemon::start(b);
    until_listed(a, &[("b", "three.mp4")]);
    let done = until("it has answered", || Some(get(a, &place).1).filter(|said| said["state"] == "done"));
    assert_eq!(
        (&done["answer"]["data"]["vodId"], &done["answer"]["data"]["isDeleted"]),
        (&three.into(), &false.into())
    );
    assert!(!b.root().join("two.mp4").exists() && b.root().join("three.mp4").exists());
    [of_a, of_b].into_iter().for_each(Daemon::stop);
}

#[test]
fn a_node_that_does_not_answer_in_time_is_asked_later_and_does_it_once() {
    let postgres = Postgres::start();
    let nodes = ["a", "b"].map(|name| node(&postgres, name));
    let [a, b] = &nodes;
    let [of_a, of_b] = nodes.each_ref().map(Daemon::start);
    for name in ["two.mp4", "three.mp4"] {
        record(b, name);
    }
    until_listed(a, &[("b", "two.mp4"), ("b", "three.mp4")]);
    until_told(b);
    let (two, three) = (id_of(a, "two.mp4"), id_of(a, "three.mp4"));
    of_b.signal("STOP");
    // It counts as alive for a while.
    let (status, said) = until("it is asked while it counts as alive", || {
        postgres.sql("UPDATE aftercast.node SET seen_at = now() WHERE name = 'b'");
        let (status, _, said) = ask(a, &["-X", "DELETE"], &format!("/api/v1/vods/{two}"));
        (status == 202).then(|| (status, serde_json::from_str::<Value>(&said).unwrap()))
    });
    assert_eq!((status, &said["class"]), (202, &"transient".into()), "{said}");
    of_b.signal("CONT");
    until_listed(a, &[("b", "three.mp4")]);
    let place = format!("/api/v1/commands/{}", said["command"].as_str().unwrap());
    until("it has answered", || (get(a, &place).1["state"] == "done").then_some(()));
    // What a former life had taken is answered and not begun again; what this life took without hearing of it is done.
    let put = |of: &str, epoch: &str| {
        let arguments = format!(r#"{{"id":"{of}","keepFile":true,"keepObjects":true,"dryRun":false,"queue":false}}"#);
        postgres.sql(&format!(
            "INSERT INTO aftercast.command (to_node, kind, vod_id, arguments, asked_by, expires_at, state, epoch)              SELECT node_id, 'delete', '{of}', '{arguments}', node_id, now() + interval '1 hour', 'taken', {epoch}              FROM aftercast.node WHERE name = 'b' RETURNING command_id"
        ))
    };
    let state = |id: &str| get(a, &format!("/api/v1/commands/{}", id.split_whitespace().next().unwrap())).1;
    let former = put(&three, "epoch - 1");
    let cut = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'aftercast' AND pid <> pg_backend_pid()";
    postgres.sql(cut);
    let said = until("it is answered", || Some(state(&former)).filter(|said| said["state"] == "done"));
    assert_eq!(said["answer"]["interrupted"], true);
    assert_eq!(listed(b, &["--node", "this"]), pairs(&[("", "three.mp4")]), "it is still there");
    let unheard = put(&three, "epoch");
    postgres.sql(cut);
    until("it is done", || (state(&unheard)["answer"]["data"]["isDeleted"] == true).then_some(()));
    [of_a, of_b].into_iter().for_each(Daemon::stop);
}

#[test]
fn what_other_nodes_say_in_the_tables_is_not_trusted() {
    let postgres = Postgres::start();
    let a = node(&postgres, "a");
    let b = Sandbox::with_config(|dir| {
        standard_config(dir, &section(&postgres, "b", "api_url = \"https://b.example/x\"\n"))
    });
    let [of_a, of_b] = [&a, &b].map(Daemon::start);
    record(&b, "two.mp4");
    record(&b, "three.mp4");
    until_listed(&a, &[("b", "two.mp4"), ("b", "three.mp4")]);
    [&a, &b].into_iter().for_each(until_told);
    let (two, three) = (id_of(&a, "two.mp4"), id_of(&a, "three.mp4"));
    let media = |at: &Sandbox| ask(at, &[], &format!("/api/v1/vods/{two}/media"));
    let (status, head, _) = media(&a);
    assert_eq!(status, 307, "{head}");
    assert!(head.contains(&format!("location: https://b.example/x/api/v1/vods/{two}/media")), "{head}");
    for hostile in ["javascript:alert(1)", "file:///etc/passwd", "https://user:secret@evil.example", "//evil.example"] {
        postgres.sql(&format!("UPDATE aftercast.node SET api_url = '{hostile}' WHERE name = 'b'"));
        let (status, head, said) = media(&a);
        assert!(status == 409 && !head.to_lowercase().contains("location:"), "{hostile}: {head}");
        assert!(!said.contains(hostile), "{said}");
        assert_eq!(get(&a, &format!("/api/v1/vods/{two}")).1["node"]["apiUrl"], Value::Null);
    }
    // A copy that this node's target of that name does not have is none, and a path of this disk is not given away.
    postgres.sql(&format!(
        "UPDATE aftercast.vod SET record = jsonb_set(record, '{{remote}}', jsonb_build_array(jsonb_build_object(\
           'target', 'store', 'key', '../config.toml', 'url', 'file://{}/../config.toml', 'sizeBytes', 1, 'verifiedMs', 1, \
           'source', record->'fingerprint'))) WHERE vod_id = '{two}'",
        a.store().display()
    ));
    assert_eq!(media(&a).0, 409);
    // Commands whose arguments are about something else, or no arguments at all, or more than can be read.
    let before = listed(&b, &["--node", "this"]);
    for (kind, arguments) in [
        ("delete", format!(r#"{{"id":"{three}"}}"#)),
        ("delete", format!("{}{}", "[".repeat(300), "]".repeat(300))),
        ("delete", "7".to_owned()),
        ("verify", "{}".to_owned()),
        ("verify", format!(r#"{{"ids":["{two}","{three}"]}}"#)),
        ("retry", "{}".to_owned()),
        ("retry", format!(r#"{{"ids":["{three}@store"]}}"#)),
        ("retry", r#"{"target":"store"}"#.to_owned()),
    ] {
        let id = postgres.sql(&format!(
            "INSERT INTO aftercast.command (to_node, kind, vod_id, arguments, asked_by, expires_at)              SELECT node_id, '{kind}', '{two}', '{arguments}', node_id, now() + interval '1 hour'              FROM aftercast.node WHERE name = 'b' RETURNING command_id"
        ));
        let place = format!("/api/v1/commands/{}", id.split_whitespace().next().unwrap());
        let said = until("it is answered", || Some(get(&a, &place).1).filter(|said| said["state"] == "done"));
        let expected = if arguments.starts_with('[') { "notSupported" } else { "invalid" };
        assert_eq!(said["answer"]["error"]["kind"], expected, "{kind} {arguments}: {said}");
    }
    assert_eq!(listed(&b, &["--node", "this"]), before);
    [of_a, of_b].into_iter().for_each(Daemon::stop);
}

#[test]
fn ant_medias_list_and_the_library_show_all_nodes_recordings() {
    let postgres = Postgres::start();
    let a = node(&postgres, "a");
    let b =
        Sandbox::with_config(|dir| standard_config(dir, &section(&postgres, "b", "api_url = \"https://b.example\"\n")));
    let [of_a, of_b] = [&a, &b].map(Daemon::start);
    fs::create_dir(b.root().join("room")).unwrap();
    record(&a, "one.mp4");
    record(&b, "room/two.mp4");
    record(&b, "room/three.mp4");
    until_listed(&a, &[("a", "one.mp4"), ("b", "two.mp4"), ("b", "three.mp4")]);
    [&a, &b].into_iter().for_each(until_told);
    // Ant Media's calls, on either node.
    for at in [&a, &b] {
        let (status, vods) = get(at, "/root/rest/v2/vods/list/0/50?sort_by=name");
        assert_eq!((status, names(&vods).len()), (200, 3), "{vods}");
        assert_eq!(vods[0]["vodName"], "one.mp4");
        assert_eq!(get(at, "/root/rest/v2/vods/list/1/1?sort_by=name&order_by=desc").1[0]["vodName"], "three.mp4");
        assert_eq!(get(at, "/root/rest/v2/vods/count").1["number"], 3);
        assert_eq!(get(at, "/root/rest/v2/vods/count/TWO").1["number"], 1);
    }
    assert_eq!(get(&a, "/other/rest/v2/vods/list/0/50").0, 404);
    let two = id_of(&a, "two.mp4");
    let (status, shown) = get(&a, &format!("/root/rest/v2/vods/{two}"));
    assert_eq!((status, &shown["filePath"]), (200, &"streams/room/two.mp4".into()), "{shown}");
    // As a player asks for it.
    let (status, head, _) = ask(&a, &[], "/root/streams/room/two.mp4");
    assert!(status == 307 && head.contains(&format!("location: https://b.example/api/v1/vods/{two}/media")), "{head}");
    assert_eq!(ask(&a, &[], "/root/streams/two.mp4").0, 404);
    assert_eq!(ask(&a, &[], "/root/streams/one.mp4").0, 200, "its own");
    let (status, _, said) = ask(&a, &["-X", "DELETE"], &format!("/root/rest/v2/vods/{two}"));
    assert!(status == 200 && said.contains("\"success\":true"), "{said}");
    assert!(!b.root().join("room/two.mp4").exists());
    // The page's questions: by position, with a total, months and nodes.
    let (_, page) = get(&a, "/api/v1/vods?node=all&offset=0&limit=1");
    assert_eq!((&page["total"], page["items"].as_array().unwrap().len()), (&2.into(), 1), "{page}");
    let (_, rest) = get(&a, "/api/v1/vods?node=all&offset=1&limit=10");
    let both: BTreeSet<_> = names(&page["items"]).into_iter().chain(names(&rest["items"])).collect();
    assert_eq!(both.len(), 2);
    assert_eq!(get(&a, "/api/v1/vods?offset=0").1["total"], 1, "without `node`, what this node has");
    assert_eq!(get(&a, "/api/v1/vods?offset=0&node=b").1["total"], 1);
    assert_eq!(get(&a, "/api/v1/vods?offset=0&node=nobody").0, 422);
    let (_, months) = get(&a, "/api/v1/vods/histogram?node=all");
    assert_eq!((&months["total"], months["counts"].as_object().unwrap().len()), (&2.into(), 1), "{months}");
    assert_eq!(
        months["counts"],
        get(&a, "/api/v1/vods/histogram").1["counts"]
            .as_object()
            .map(|own| {
                own.iter()
                    .map(|(month, count)| (month.clone(), Value::from(2 * count.as_u64().unwrap())))
                    .collect::<Value>()
            })
            .unwrap()
    );
    let (_, nodes) = get(&a, "/api/v1/nodes");
    let known: Vec<_> =
        nodes["items"].as_array().unwrap().iter().map(|node| (&node["name"], &node["isThis"])).collect();
    assert_eq!(known, [(&"a".into(), &true.into()), (&"b".into(), &false.into())], "{nodes}");
    [of_a, of_b].into_iter().for_each(Daemon::stop);
}

#[test]
fn a_node_that_is_alone_has_no_others() {
    let alone = Sandbox::new();
    let daemon = Daemon::start(&alone);
    assert_eq!(get(&alone, "/api/v1/nodes").1["items"], Value::Array(Vec::new()));
    assert_eq!(get(&alone, "/api/v1/events/fleet").0, 501);
    daemon.stop();
}

fn salvaged(at: &Sandbox, stream: &str) -> Option<()> {
    let vods = at.run(&["--json", "vod", "list", "--node", "this"]).expect_code(0).json_lines();
    vods.iter().any(|vod| vod["streamId"] == stream && vod["outcome"] == "salvaged").then_some(())
}

/// Puts a recording whose header is lost into a root.
fn crash(at: &Sandbox, name: &str) {
    let whole = at.path().join("whole.mp4");
    fs::copy(made("mp4", 4), &whole).unwrap();
    at.put(&without_moov(&whole), name);
}

#[test]
fn a_recording_that_crashed_on_one_node_is_rebuilt_by_what_another_learned() {
    let postgres = Postgres::start();
    let nodes = ["a", "b"].map(|name| node(&postgres, name));
    let [a, b] = &nodes;
    // What was learned before there were others is told, too.
    a.put(&made("mp4", 2), "early.mp4");
    let config = a.path().join("config.toml");
    let with = fs::read_to_string(&config).unwrap();
    fs::write(&config, with.replace("[fleet]", "[fleet]\n#").replace("\ndatabase", "\n#database")).unwrap();
    let alone = Daemon::start(a);
    until("it is finished", || (listed(a, &[]).len() == 1).then_some(()));
    alone.stop();
    fs::write(&config, with).unwrap();
    let daemons = nodes.each_ref().map(Daemon::start);
    nodes.iter().for_each(until_connected);
    let known = "SELECT count(*) FROM aftercast.stream_config WHERE stream_id = 'early'";
    until("it is told", || (postgres.sql(known) == "1").then_some(()));
    crash(b, "early.mp4");
    until("it is salvaged", || salvaged(b, "early"));
    // A recording that waits is tried again when another node has learned of its stream. Nothing here knows any stream but `early`,
    // whose parameters are not those of this one.
    postgres.sql("DELETE FROM aftercast.stream_config");
    let c = node(&postgres, "c");
    let of_c = Daemon::start(&c);
    until_connected(&c);
    crash(&c, "late.mp4");
    let waits = || c.run(&["--json", "queue", "list"]).expect_code(0).out.contains("quarantined").then_some(());
    until("it waits", waits);
    // What cannot be read is tried and does no harm.
    for (digest, config) in [("1", "no JSON"), ("2", r#"{"moov":"00"}"#), ("3", r#"{"moov":"zz","paces":7}"#)] {
        postgres.sql(&format!(
            "INSERT INTO aftercast.stream_config (stream_id, digest, node_id, config) \
             SELECT 'late', '{digest}', node_id, '{config}' FROM aftercast.node WHERE name = 'a'"
        ));
    }
    a.put(&made("mp4", 2), "late.mp4");
    until("it is salvaged", || salvaged(&c, "late"));
    // The last four are kept.
    postgres.sql(
        "INSERT INTO aftercast.stream_config (stream_id, digest, node_id, seen_at, config) \
         SELECT 'early', n::text, node_id, now() - interval '1 day', '{}' FROM aftercast.node, generate_series(1, 9) n WHERE name = 'b'",
    );
    a.run(&["stream", "reference", "early", made("mp4-faststart", 3).to_str().unwrap()]).expect_code(0);
    let kept =
        "SELECT count(*), count(*) FILTER (WHERE digest = '1') FROM aftercast.stream_config WHERE stream_id = 'early'";
    until("four are left", || postgres.sql(kept).starts_with("4|").then_some(()));
    daemons.into_iter().for_each(Daemon::stop);
    of_c.stop();
}

/// Every event of the feed, page by page.
pub(super) fn whole_feed(at: &Sandbox) -> Vec<Value> {
    let (mut after, mut found) = (String::new(), Vec::new());
    loop {
        let (status, page) = get(at, &format!("/api/v1/events/fleet?limit=3{after}"));
        assert_eq!(status, 200, "{page}");
        found.extend(page["items"].as_array().unwrap().clone());
        after = format!("&after={}", page["next"].as_str().unwrap());
        if page["isEnd"] == true {
            return found;
        }
    }
}

#[test]
fn what_happened_on_all_nodes_is_one_feed() {
    let postgres = Postgres::start();
    let nodes = ["a", "b"].map(|name| node(&postgres, name));
    let [a, b] = &nodes;
    let daemons = nodes.each_ref().map(Daemon::start);
    record(a, "one.mp4");
    until_listed(b, &[("a", "one.mp4")]);
    // As they come, on the other node.
    let socket = a.path().join("state/aftercast.sock");
    let mut curl = Command::new("curl");
    curl.args(["-s", "-N", "--unix-socket"]).arg(&socket);
    curl.arg("http://localhost/api/v1/events?node=all&types=vod.catalogued");
    let mut follower = curl.stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(follower.stdout.take().unwrap()).lines().map(Result::unwrap);
    assert_eq!(lines.next().unwrap(), ": events follow");
    record(b, "two.mp4");
    let said = lines.find_map(|line| line.strip_prefix("data: ").map(str::to_owned)).unwrap();
    let event: Value = serde_json::from_str(&said).unwrap();
    assert_eq!((&event["type"], &event["node"]["name"]), (&"vod.catalogued".into(), &"b".into()), "{event}");
    follower.kill().unwrap();
    follower.wait().unwrap();
    until_listed(a, &[("a", "one.mp4"), ("b", "two.mp4")]);
    nodes.iter().for_each(until_told);
    // Page by page, each once, in the order of each node's own log. What was written while another transaction was open comes later.
    let own = |node: &Sandbox| -> Vec<Value> {
        let own = node.run(&["--json", "events", "list", "--limit", "100000"]).expect_code(0).json_lines();
        own.iter().map(|event| event["sequence"].clone()).collect()
    };
    until("the feed has all events", || {
        let found = whole_feed(a);
        let of = |name: &str| -> Vec<Value> {
            let of_node = found.iter().filter(|event| event["node"]["name"] == name);
            of_node.map(|event| event["sequence"].clone()).collect()
        };
        (of("a") == own(a) && of("b") == own(b)).then_some(())
    });
    let (_, of_b) = get(a, "/api/v1/events/fleet?node=b&types=vod.*&limit=1000");
    assert!(of_b["items"].as_array().unwrap().iter().all(|event| event["node"]["name"] == "b"), "{of_b}");
    assert_eq!(get(a, "/api/v1/events/fleet?after=17").0, 422, "a place of another list");
    let before = whole_feed(a).len();
    daemons.into_iter().for_each(Daemon::stop);
    // Restored from a server that had given out more transactions: nothing is missed, also behind a place of that one.
    postgres.sql("UPDATE aftercast.event SET tx = '9000000000000'");
    let last = postgres.sql("SELECT max(id) FROM aftercast.event");
    let daemon = Daemon::start(a);
    until_connected(a);
    until("the feed has all events again", || (whole_feed(a).len() >= before).then_some(()));
    let place = format!("/api/v1/events/fleet?limit=1000&after=fleet.9000000000000.{last}");
    record(a, "three.mp4");
    let is_new = |event: &Value| event["type"] == "vod.catalogued";
    let news = until("what is new follows", || {
        let items = get(a, &place).1["items"].as_array().cloned().unwrap_or_default();
        items.iter().any(is_new).then_some(items)
    });
    assert_eq!(news.iter().filter(|event| is_new(event)).count(), 1, "and nothing twice: {news:?}");
    daemon.stop();
}

#[test]
fn behind_a_database_that_is_slow_no_questions_pile_up() {
    let postgres = Postgres::start();
    let sandbox = node(&postgres, "a");
    let daemon = Daemon::start(&sandbox);
    record(&sandbox, "one.mp4");
    until_listed(&sandbox, &[("a", "one.mp4")]);
    until_told(&sandbox);
    let mut locking = postgres.holding_lock("aftercast.vod");
    let (mut late, mut refused) = (0, 0);
    until("some are refused at once", || {
        let said: Vec<_> = std::thread::scope(|scope| {
            let asking: Vec<_> = (0..20).map(|_| scope.spawn(|| get(&sandbox, "/api/v1/vods"))).collect();
            asking.into_iter().map(|asked| asked.join().unwrap()).collect()
        });
        for (status, answer) in said {
            assert_eq!((status, &answer["class"]), (503, &"transient".into()), "{answer}");
            let detail = answer["detail"].as_str().unwrap();
            late += u32::from(detail.contains("did not answer within"));
            refused += u32::from(detail.contains("too many questions"));
        }
        (refused > 0 && late > 0).then_some(())
    });
    assert_eq!(get(&sandbox, "/api/v1/vods?node=this").1["items"].as_array().unwrap().len(), 1);
    record(&sandbox, "two.mp4");
    let own = || (listed(&sandbox, &["--node", "this"]).len() == 2).then_some(());
    until("recordings are finished all the same", own);
    // The server does not see that its client is gone.
    postgres.sql("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'holder'");
    locking.kill().unwrap();
    locking.wait().unwrap();
    until_listed(&sandbox, &[("a", "one.mp4"), ("a", "two.mp4")]);
    daemon.stop();
}
