//! A real pgbouncer in front of a test's PostgreSQL, which pools transactions.

use std::fs;
use std::path::Path;
use std::process::{Child, Stdio};

use super::postgres::{PASSWORD, USER, unprivileged};
use super::stores::free_port;

/// A pooler; killed when the test lets go of it.
#[derive(Debug)]
pub struct Pgbouncer {
    child: Child,
    pub port: u16,
}

impl Pgbouncer {
    /// Starts one in a directory that its user may read. `settings` are lines of its section.
    pub fn start(directory: &Path, server_port: u16, settings: &str) -> Self {
        let port = free_port();
        let (users, config) = (directory.join("users"), directory.join("pgbouncer.ini"));
        fs::write(&users, format!("\"{USER}\" \"{PASSWORD}\"\n")).unwrap();
        let text = format!(
            "[databases]\n* = host=127.0.0.1 port={server_port}\n[pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {port}\n\
             unix_socket_dir =\nauth_type = scram-sha-256\nauth_file = {}\npool_mode = transaction\nserver_login_retry = 1\n{settings}",
            users.display()
        );
        fs::write(&config, text).unwrap();
        let path = ["/usr/sbin/pgbouncer", "/usr/bin/pgbouncer"].into_iter().find(|path| Path::new(path).exists());
        let mut command = unprivileged(path.expect("pgbouncer is not installed; run `scripts/install-packages test`"));
        let log = fs::File::create(directory.join("pgbouncer.log")).unwrap();
        let child =
            command.arg(config).stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log).spawn().unwrap();
        Self { child, port }
    }
}

impl Drop for Pgbouncer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
