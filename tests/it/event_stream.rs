//! Server-sent events on the daemon's socket: resumed where a client was, chosen by type, and no burden if nobody reads.

use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::support::Sandbox;
use crate::support::daemon::{Daemon, until};
use crate::support::recordings::made;

/// One message.
#[derive(Debug, Default, Clone, PartialEq)]
struct Message {
    id: Option<u64>,
    event: Option<String>,
    data: Option<Value>,
    has_comment: bool,
}

struct Stream(BufReader<UnixStream>);

impl Stream {
    /// Asks, and reads the head of the answer.
    fn open(sandbox: &Sandbox, query: &str, head: &str) -> (Self, String) {
        let mut stream = UnixStream::connect(sandbox.path().join("state/aftercast.sock")).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        write!(stream, "GET /api/v1/events{query} HTTP/1.1\r\nhost: x\r\n{head}\r\n").unwrap();
        let mut reader = BufReader::new(stream);
        let mut said = String::new();
        while !said.ends_with("\r\n\r\n") {
            assert!(reader.read_line(&mut said).unwrap() > 0, "{said}");
        }
        (Self(reader), said)
    }

    fn follow(sandbox: &Sandbox, query: &str, head: &str) -> Self {
        let (stream, said) = Self::open(sandbox, query, head);
        assert!(said.starts_with("HTTP/1.1 200 ") && said.contains("content-type: text/event-stream"), "{said}");
        stream
    }

    /// The next message; `None` at the end. The lengths of chunks are no lines of a message.
    fn next(&mut self) -> Option<Message> {
        let mut message = Message::default();
        loop {
            let mut line = String::new();
            if self.0.read_line(&mut line).unwrap() == 0 || line == "0\r\n" {
                return None;
            }
            match line.trim_end_matches('\n').split_once(':') {
                Some(("", _)) => message.has_comment = true,
                Some(("id", id)) => message.id = Some(id.trim().parse().unwrap()),
                Some(("event", name)) => message.event = Some(name.trim().to_owned()),
                Some(("data", data)) => message.data = Some(serde_json::from_str(data).unwrap()),
                _ if line == "\n" && message != Message::default() => return Some(message),
                _ => {}
            }
        }
    }

    /// The next event.
    fn event(&mut self) -> (u64, Value) {
        loop {
            let message = self.next().expect("an event, not the end");
            if let Some(data) = message.data {
                let id = message.id.unwrap();
                assert_eq!(data["sequence"], id);
                return (id, data);
            }
        }
    }
}

#[test]
fn events_are_followed_from_any_place_chosen_by_type_and_resumed_by_id() {
    let sandbox = Sandbox::new();
    let daemon = Daemon::start(&sandbox);
    let mut new = Stream::follow(&sandbox, "", "");
    sandbox.put(&made("flv", 2), "room1.flv");
    let mut all = Stream::follow(&sandbox, "?after=0", "");
    let mut seen = vec![all.event()];
    while seen.last().unwrap().1["type"] != "vod.available" {
        seen.push(all.event());
    }
    assert!(seen.iter().map(|(id, _)| *id).eq(1..=seen.len() as u64), "{seen:?}");
    assert_eq!(new.event().1["type"], "recording.seen");
    let mut resumed = Stream::follow(&sandbox, "?after=0", "last-event-id: 2\r\n");
    assert_eq!(resumed.event(), seen[2], "the header goes before the query");
    let mut chosen = Stream::follow(&sandbox, "?after=0&types=vod.*,recording.finished&streams=room*", "");
    let names = [chosen.event(), chosen.event(), chosen.event()].map(|(_, data)| data["type"].clone());
    assert_eq!(names, ["recording.finished", "vod.catalogued", "vod.available"]);
    let begun = Instant::now();
    let alive = chosen.next().unwrap();
    assert!(alive.has_comment && alive.data.is_none() && alive.id >= Some(seen.len() as u64), "{alive:?}");
    assert!((10..30).contains(&begun.elapsed().as_secs()), "{:?}", begun.elapsed());
    for (query, head) in [("?after=x", ""), ("?colour=red", ""), ("", "last-event-id: x\r\n")] {
        let (_, said) = Stream::open(&sandbox, query, head);
        assert!(said.starts_with("HTTP/1.1 400 "), "{said}");
    }
    // A reader that waits does not keep the daemon, and is told the end.
    daemon.stop();
    while all.next().is_some() {}
}

#[test]
fn readers_that_never_read_cost_nothing_but_their_connections() {
    let sandbox = Sandbox::new();
    let daemon = Daemon::start(&sandbox);
    let stalled: Vec<_> = (0..64).map(|_| Stream::follow(&sandbox, "?after=0", "")).collect();
    let (_, said) = Stream::open(&sandbox, "", "");
    assert!(said.starts_with("HTTP/1.1 503 "), "{said}");
    let before = resident_bytes(&daemon);
    for n in 0..30 {
        sandbox.put(&made("flv", 2), &format!("room{n}.flv"));
    }
    until("all are delivered", || {
        let page = sandbox.run(&["--json", "events", "list", "--type", "vod.available", "--limit", "1000"]);
        (page.out.lines().count() == 30).then_some(())
    });
    let grown = resident_bytes(&daemon).saturating_sub(before);
    println!("64 readers that never read, {} events: {} KiB more", 30 * 7, grown >> 10);
    assert!(grown < 128 << 20, "{grown} bytes");
    drop(stalled);
    until("there is room for others", || Stream::open(&sandbox, "", "").1.starts_with("HTTP/1.1 200 ").then_some(()));
    daemon.stop();
}

fn resident_bytes(daemon: &Daemon) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", daemon.id())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() << 10
}
