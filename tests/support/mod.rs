//! What several integration tests need: the real binary, a scratch house, recordings made by ffmpeg.

pub mod archive;
pub mod assets;
pub mod boxes;
pub mod browser;
pub mod buckets;
pub mod clients;
pub mod crowd;
pub mod daemon;
pub mod google;
pub mod http;
pub mod identity;
#[expect(dead_code, reason = "what the library's own tests need of it")]
#[path = "../../src/durable/image.rs"]
pub mod image;
pub mod limited;
pub mod memory;
pub mod pgbouncer;
pub mod postgres;
pub mod receiver;
pub mod recordings;
pub mod stores;
pub mod tap;
pub mod transport;
pub mod unruly;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Output, Stdio};

use aftercast::deliver::TargetOptions;
use aftercast::durable::free_bytes;
use serde_json::Value;

/// A scratch directory with a root of recordings, a state directory and a place for `file://` objects.
#[derive(Debug)]
pub struct Sandbox {
    dir: tempfile::TempDir,
}

/// What a run of the program said.
#[derive(Debug)]
pub struct RunOutput {
    pub status: ExitStatus,
    pub out: String,
    pub err: String,
}

impl RunOutput {
    /// Exit code; −1 when a signal ended it.
    pub fn code(&self) -> i32 {
        self.status.code().unwrap_or(-1)
    }

    /// Each line of standard output as JSON.
    pub fn json_lines(&self) -> Vec<Value> {
        self.out.lines().map(|l| serde_json::from_str(l).unwrap_or_else(|e| panic!("{e}: {l}"))).collect()
    }

    /// Fails with everything that was said unless the exit code is the expected one.
    #[track_caller]
    pub fn expect_code(self, code: i32) -> Self {
        assert_eq!(self.code(), code, "stdout:\n{}\nstderr:\n{}", self.out, self.err);
        self
    }
}

impl From<Output> for RunOutput {
    fn from(output: Output) -> Self {
        Self {
            status: output.status,
            out: String::from_utf8_lossy(&output.stdout).into_owned(),
            err: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }
}

impl Sandbox {
    /// A house with a `file://` target and the given lines of configuration in place of the defaults.
    pub fn with_config(config: impl FnOnce(&Path) -> String) -> Self {
        Self::with_config_in(&std::env::temp_dir(), config)
    }

    /// The same below a directory of one's own, on another file system perhaps.
    pub fn with_config_in(parent: &Path, config: impl FnOnce(&Path) -> String) -> Self {
        let dir = tempfile::tempdir_in(parent).unwrap();
        for sub in ["root", "state", "store"] {
            fs::create_dir(dir.path().join(sub)).unwrap();
        }
        let mut config = config(dir.path());
        if !config.contains("[serve]") {
            // Tests run beside each other: they have no port in common.
            config.push_str("\n[serve]\nlisten = \"off\"\n");
        }
        if !config.contains("[pictures]") {
            // Most tests say what lies in a directory; pictures have tests of their own.
            config.push_str("\n[pictures]\nposter = false\n");
        }
        fs::write(dir.path().join("config.toml"), &config).unwrap();
        Self { dir }
    }

    /// A house with one `file://` target, everything else at its defaults.
    pub fn new() -> Self {
        Self::with_config(|dir| standard_config(dir, ""))
    }

    pub fn path(&self) -> &Path {
        self.dir.path()
    }

    pub fn root(&self) -> PathBuf {
        self.path().join("root")
    }

    pub fn store(&self) -> PathBuf {
        self.path().join("store")
    }

    /// A command of the program with this house's configuration.
    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_aftercast"));
        let config = self.path().join("config.toml");
        // The same for a configuration that a test has written since.
        if !fs::read_to_string(&config).is_ok_and(|config| config.contains("[pictures]")) {
            command.env("AFTERCAST_PICTURES__POSTER", "false");
        }
        command.arg("--config").arg(config).args(args);
        command
            .stdin(Stdio::null())
            .env_remove("AFTERCAST_CONFIG")
            .env_remove("AFTERCAST_TEST_TOOLS")
            .env("TZ", "UTC")
            .current_dir(self.path());
        command
    }

    /// Runs the program to its end.
    pub fn run(&self, args: &[&str]) -> RunOutput {
        self.command(args).output().unwrap().into()
    }

    /// Runs `process` over the root.
    pub fn process(&self) -> RunOutput {
        let root = self.root();
        self.run(&["process", root.to_str().unwrap()])
    }

    /// All VoDs, oldest first.
    pub fn vods(&self) -> Vec<Value> {
        self.run(&["--json", "vod", "list", "--oldest-first", "--limit", "100000"]).expect_code(0).json_lines()
    }

    /// Puts a copy of a file into the root under a name (directories are made).
    pub fn put(&self, from: &Path, name: &str) -> PathBuf {
        let to = self.root().join(name);
        fs::create_dir_all(to.parent().unwrap()).unwrap();
        fs::copy(from, &to).unwrap();
        to
    }
}

impl Default for Sandbox {
    fn default() -> Self {
        Self::new()
    }
}

/// A command that another program runs, with its environment and directory. What it was told of standard streams is told it again.
pub fn behind(mut program: Command, command: &Command) -> Command {
    program.arg(command.get_program()).args(command.get_args());
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => program.env(name, value),
            None => program.env_remove(name),
        };
    }
    if let Some(directory) = command.get_current_dir() {
        program.current_dir(directory);
    }
    program
}

/// The configuration of a scratch house: one root, one `file://` target, then `more`.
pub fn standard_config(dir: &Path, more: &str) -> String {
    let dir = dir.display();
    format!(
        "state_dir = \"{dir}/state\"\n\
         [watch]\nroots = [\"{dir}/root\"]\nsettle = \"0s\"\nquiet = \"1s\"\norphan_grace = \"0s\"\n\
         [[deliver.target]]\nname = \"store\"\nurl = \"file://{dir}/store\"\n{more}\n"
    )
}

/// The configuration of a scratch house with targets of one's own in place of the `file://` one.
pub fn config_with_targets(dir: &Path, targets: &[&TargetOptions], more: &str) -> String {
    let dir = dir.display();
    let targets: String = targets.iter().map(|t| target_table(t)).collect();
    format!(
        "state_dir = \"{dir}/state\"\n\
         [watch]\nroots = [\"{dir}/root\"]\nsettle = \"0s\"\nquiet = \"1s\"\norphan_grace = \"0s\"\n{targets}{more}\n"
    )
}

fn target_table(target: &TargetOptions) -> String {
    let mut table = format!("[[deliver.target]]\nname = \"{}\"\nurl = \"{}\"\n", target.name, target.url);
    if let Some(endpoint) = &target.endpoint {
        let _ = writeln!(table, "endpoint = \"{endpoint}\"");
    }
    if let Some(bandwidth) = &target.bandwidth {
        let _ = writeln!(table, "bandwidth = \"{bandwidth}\"");
    }
    if let Some(path_style) = target.path_style {
        let _ = writeln!(table, "path_style = {path_style}");
    }
    let secrets = target.credential_files.iter();
    let secrets: Vec<_> = secrets.map(|(name, path)| format!("{name}_file = \"{}\"", path.display())).collect();
    let _ = writeln!(table, "credential_files = {{ {} }}", secrets.join(", "));
    table
}

/// What [`tree`] says of a file: size, inode, mtime in ns, BLAKE3.
pub type FileState = (u64, u64, i64, String);

/// Every file below a directory by its relative path; what vanishes while it is looked at is not there.
pub fn tree(dir: &Path) -> BTreeMap<String, FileState> {
    let mut found = BTreeMap::new();
    let mut open = vec![dir.to_owned()];
    while let Some(next) = open.pop() {
        for entry in fs::read_dir(&next).into_iter().flatten() {
            let path = entry.unwrap().path();
            let Ok(metadata) = fs::symlink_metadata(&path) else { continue };
            if metadata.is_dir() {
                open.push(path);
            } else if path.file_name().is_some_and(|name| name != aftercast::durable::ROOT_FILE)
                && let Some(state) = state_of(&path, &metadata)
            {
                found.insert(path.strip_prefix(dir).unwrap().to_string_lossy().into_owned(), state);
            }
        }
    }
    found
}

fn state_of(path: &Path, metadata: &fs::Metadata) -> Option<FileState> {
    use std::os::unix::fs::MetadataExt;
    let bytes = metadata.is_file().then(|| fs::read(path).ok()).flatten()?;
    let mtime_ns = metadata.mtime() * 1_000_000_000 + metadata.mtime_nsec();
    Some((metadata.len(), metadata.ino(), mtime_ns, blake3::hash(&bytes).to_hex().to_string()))
}
