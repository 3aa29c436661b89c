//! Far more connections than the daemon takes: it keeps its limit, works on, answers its socket, and takes others when they have gone.

use std::collections::{BTreeSet, HashMap};
use std::fs;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::process::Command;

use rustix::net::{AddressFamily, SendFlags, SocketFlags, SocketType};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use super::face::{address_of, curl};
use crate::support::daemon::{Daemon, until};
use crate::support::recordings::made;
use crate::support::{Sandbox, standard_config};

/// Connections that the daemon takes at once, and the part of its open files that they may be.
const MOST: usize = 1024;
const PART: usize = 2;
/// So much more memory may the daemon take for all of them.
const MOST_BYTES: u64 = 128 << 20;
/// Files that the test itself needs.
const OWN: usize = 200;

/// Clients that have begun a request and never end it.
struct Crowd(Vec<OwnedFd>);

impl Crowd {
    /// So many, or as many as this process may have.
    fn of(most: usize, address: SocketAddr) -> Self {
        let hard = getrlimit(Resource::Nofile).maximum;
        setrlimit(Resource::Nofile, Rlimit { current: hard, maximum: hard }).unwrap();
        let allowed = hard.map_or(most, |hard| usize::try_from(hard).unwrap().saturating_sub(OWN));
        let connect = |_| {
            let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
            let socket = rustix::net::socket_with(AddressFamily::INET, SocketType::STREAM, flags, None).unwrap();
            // Those that the backlog has no room for wait for it.
            let _ = rustix::net::connect(&socket, &address);
            socket
        };
        Self((0..most.min(allowed)).map(connect).collect())
    }

    /// Each says a little more. Those that are not connected yet, or not any more, cannot.
    fn go_on(&self) {
        for socket in &self.0 {
            let _ = rustix::net::send(socket, b"GET / HTTP/1.1\r\n", SendFlags::NOSIGNAL);
        }
    }
}

/// Connections to the port that the daemon has taken: those in the backlog belong to nobody yet (proc(5), inode 0). A table that changes
/// while it is read may have a row twice.
fn taken(daemon: &Daemon, port: u16) -> usize {
    let rows = fs::read_to_string(format!("/proc/{}/net/tcp", daemon.id())).unwrap();
    let inode = |row: &str| {
        let fields: Vec<_> = row.split_whitespace().collect();
        let is_open = ["01", "08"].contains(&fields[3]) && fields[1].ends_with(&format!(":{port:04X}"));
        (is_open && fields[9] != "0").then(|| fields[9].to_owned())
    };
    rows.lines().skip(1).filter_map(inode).collect::<BTreeSet<_>>().len()
}

/// A field of the daemon's status in bytes.
fn status(daemon: &Daemon, field: &str) -> u64 {
    let status = fs::read_to_string(format!("/proc/{}/status", daemon.id())).unwrap();
    let fields: HashMap<_, _> = status.lines().filter_map(|line| line.split_once(':')).collect();
    fields[field].trim().trim_end_matches(" kB").parse::<u64>().unwrap() << 10
}

/// The same command with a soft and a hard limit on open files.
fn limited(command: &Command, limits: &str) -> Command {
    let mut limited = Command::new("prlimit");
    limited.arg(format!("--nofile={limits}")).arg("--").arg(command.get_program()).args(command.get_args());
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => limited.env(name, value),
            None => limited.env_remove(name),
        };
    }
    limited
}

fn finished(sandbox: &Sandbox, name: &str) -> Option<()> {
    sandbox
        .vods()
        .iter()
        .any(|vod| vod["filePath"].as_str().is_some_and(|at| Path::new(at).ends_with(name)))
        .then_some(())
}

fn keeps_its_limit(limits: &str, clients: usize, most: usize) {
    let sandbox = Sandbox::with_config(|dir| standard_config(dir, "[serve]\nlisten = \"127.0.0.1:0\""));
    let daemon = Daemon::start_command(&sandbox, limited(&sandbox.command(&["-v", "watch"]), limits), |_| {});
    let address: SocketAddr = address_of(&daemon).parse().unwrap();
    // What the first recording takes, FFmpeg's libraries among it, is not the connections'.
    sandbox.put(&made("mp4", 2), "room0.mp4");
    until("a recording is finished without them", || finished(&sandbox, "room0.mp4"));
    let before = status(&daemon, "VmHWM");
    let crowd = Crowd::of(clients, address);
    assert!(crowd.0.len() > most, "this process may have {} connections", crowd.0.len());
    until("as many are taken as may be", || {
        crowd.go_on();
        (taken(&daemon, address.port()) == most).then_some(())
    });
    for name in ["room1.mp4", "room2.mp4"] {
        sandbox.put(&made("mp4", 2), name);
        until("a recording is finished, and the socket tells so", || {
            crowd.go_on();
            let taken = taken(&daemon, address.port());
            assert!(taken <= most, "{taken} connections");
            finished(&sandbox, name)
        });
    }
    let grown = status(&daemon, "VmHWM").saturating_sub(before);
    assert!(grown < MOST_BYTES, "{} MiB for {most} connections", grown >> 20);
    assert!(!daemon.log().contains("cannot accept a connection"), "{}", daemon.log());
    drop(crowd);
    until("a new client is answered", || (curl(&[&format!("http://{address}/healthz")]).0 == 200).then_some(()));
    daemon.stop();
}

#[test]
fn ten_thousand_connections_cost_the_journey_nothing() {
    let hard = getrlimit(Resource::Nofile).maximum.map_or_else(|| "unlimited".to_owned(), |hard| hard.to_string());
    keeps_its_limit(&format!("1024:{hard}"), 10_000, MOST);
}

#[test]
fn where_few_files_may_be_open_recordings_have_half_of_them() {
    keeps_its_limit("600:600", 2_000, 600 / PART);
}
