//! A real PostgreSQL of one's own, as an unprivileged user, in a temporary directory: on a Unix socket and a port of loopback.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use super::daemon::until;
use super::pgbouncer::Pgbouncer;
use super::stores::free_port;

/// The user that owns the database, and its password.
pub const USER: &str = "aftercast";
pub const PASSWORD: &str = "hunter2 hunter2";
/// `nobody`: PostgreSQL refuses to run as root.
const UNPRIVILEGED: u32 = 65_534;

/// A server; killed when the test lets go of it.
#[derive(Debug)]
pub struct Postgres {
    dir: tempfile::TempDir,
    port: u16,
    child: Option<Child>,
    pooler: Option<Pgbouncer>,
}

impl Postgres {
    /// Makes a database cluster and starts it.
    pub fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let port = free_port();
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
        fs::write(dir.path().join("password"), PASSWORD).unwrap();
        let own = dir.path().join("postgres");
        fs::create_dir(&own).unwrap();
        if is_root() {
            chown(&own, Some(UNPRIVILEGED), Some(UNPRIVILEGED)).unwrap();
        }
        let mut postgres = Self { dir, port, child: None, pooler: None };
        let made = postgres
            .program("initdb")
            .args(["--auth=scram-sha-256", "--encoding=UTF8", "--locale=C", "--no-sync", "--username", USER])
            .arg(format!("--pwfile={}", postgres.path().join("password").display()))
            .arg("-D")
            .arg(postgres.data())
            .output()
            .unwrap();
        assert!(made.status.success(), "initdb: {}", String::from_utf8_lossy(&made.stderr));
        postgres.begin();
        postgres
    }

    /// The same behind a pooler of transactions, which nodes use; `settings` are lines of its configuration. The server logs every
    /// statement, see [`Self::log`].
    pub fn pooled(settings: &str) -> Self {
        let mut postgres = Self::start();
        postgres.sql("ALTER SYSTEM SET log_statement = 'all'");
        postgres.sql("ALTER SYSTEM SET log_line_prefix = '%p %a '");
        postgres.sql("SELECT pg_reload_conf()");
        postgres.pooler = Some(Pgbouncer::start(postgres.path(), postgres.port, settings));
        postgres
    }

    /// What the server has logged so far.
    pub fn log(&self) -> String {
        String::from_utf8_lossy(&fs::read(self.path().join("log")).unwrap()).into_owned()
    }

    fn path(&self) -> &Path {
        self.dir.path()
    }

    fn data(&self) -> PathBuf {
        self.path().join("postgres/data")
    }

    /// A program of the newest PostgreSQL that is installed, as an unprivileged user.
    fn program(&self, name: &str) -> Command {
        let versions = fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
        let newest = versions.map(|version| version.path().join("bin").join(name)).filter(|path| path.exists()).max();
        let path = newest.expect("PostgreSQL is not installed; run `scripts/install-packages test`");
        let mut command = unprivileged(path);
        command.current_dir(self.path().join("postgres")).stdin(Stdio::null());
        command
    }

    /// Starts the server again, on the same port.
    pub fn begin(&mut self) {
        let log = fs::File::options().create(true).append(true).open(self.path().join("log")).unwrap();
        let mut command = self.program("postgres");
        command.arg("-D").arg(self.data()).args(["-c", "listen_addresses=127.0.0.1"]);
        command.arg("-c").arg(format!("unix_socket_directories={}", self.path().join("postgres").display()));
        command.arg("-p").arg(self.port.to_string());
        command.stdout(log.try_clone().unwrap()).stderr(log);
        self.child = Some(command.spawn().unwrap());
        until("PostgreSQL takes connections", || self.try_sql("SELECT 1").ok());
    }

    /// Ends the server as a failure does: connections are cut, nothing is written down (`pg_ctl stop -m immediate`).
    pub fn stop_immediately(&mut self) {
        if let Some(mut child) = self.child.take() {
            let sent = Command::new("kill").args(["-s", "QUIT", &child.id().to_string()]).status().unwrap();
            assert!(sent.success());
            child.wait().unwrap();
        }
    }

    /// The URL by the port, through the pooler if there is one.
    pub fn url(&self) -> String {
        Self::url_at(self.pooler.as_ref().map_or(self.port, |pooler| pooler.port))
    }

    fn url_at(port: u16) -> String {
        format!("postgres://{USER}@127.0.0.1:{port}/postgres")
    }

    /// The URL by the socket.
    pub fn socket_url(&self) -> String {
        format!("postgres:///postgres?host={}&port={}&user={USER}", self.path().join("postgres").display(), self.port)
    }

    /// The file that holds the password.
    pub fn password_file(&self) -> PathBuf {
        self.path().join("password")
    }

    /// What a statement answers, without headers; columns are separated by `|`.
    #[track_caller]
    pub fn sql(&self, sql: &str) -> String {
        self.try_sql(sql).unwrap_or_else(|said| panic!("{sql}: {said}"))
    }

    /// As if a node had been silent for longer than a lease. The database takes nobody for silent who was heard of before it was
    /// started: that time passes here.
    #[track_caller]
    pub fn silence(&self, node: &str) {
        let silent = format!(
            "WITH silent AS (UPDATE aftercast.node SET seen_at = now() - interval '1 hour' WHERE name = '{node}') \
             SELECT pg_postmaster_start_time() < now() - lease FROM aftercast.meta"
        );
        until("the node is silent for longer than a lease", || (self.sql(&silent) == "t").then_some(()));
    }

    /// A process that holds an exclusive lock on a table, until it is killed.
    pub fn holding_lock(&self, table: &str) -> Child {
        let mut psql = Command::new("psql");
        psql.args(["-X", "-q", "-d", &Self::url_at(self.port)]).env("PGPASSWORD", PASSWORD).env("PGAPPNAME", "holder");
        psql.args(["-c", &format!("BEGIN; LOCK TABLE {table}; SELECT pg_sleep(3600)")]);
        let child = psql.stdin(Stdio::null()).stdout(Stdio::null()).spawn().unwrap();
        let held = "SELECT 1 FROM pg_stat_activity WHERE application_name = 'holder' AND wait_event = 'PgSleep'";
        until("the lock is held", || (self.sql(held) == "1").then_some(()));
        child
    }

    /// The same, or why not: a table may not be there yet.
    pub fn try_sql(&self, sql: &str) -> Result<String, String> {
        let mut psql = Command::new("psql");
        psql.args(["-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-d", &Self::url_at(self.port), "-c", sql]);
        let said = psql.env("PGPASSWORD", PASSWORD).output().unwrap();
        if said.status.success() {
            Ok(String::from_utf8_lossy(&said.stdout).trim().to_owned())
        } else {
            Err(String::from_utf8_lossy(&said.stderr).into_owned())
        }
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        self.stop_immediately();
    }
}

/// A program as an unprivileged user, if this is root: neither server runs as root.
pub fn unprivileged(program: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new(program);
    if is_root() {
        command.uid(UNPRIVILEGED).gid(UNPRIVILEGED);
    }
    command
}

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}
