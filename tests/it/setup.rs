//! The first run and the imports, with the real program: what is found, what is written, and that nothing is replaced.

use std::ffi::OsStr;
use std::fs;
use std::io::{Read as _, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use serde_json::Value;

use crate::nginx_rtmp::nginx;
use crate::support::RunOutput;
use crate::support::recordings::made;

/// A directory with a place for recordings, one for objects, and one for the configuration.
struct SetupDir {
    dir: tempfile::TempDir,
}

impl SetupDir {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        for name in ["rec", "store", "nginx"] {
            fs::create_dir(dir.path().join(name)).unwrap();
        }
        Self { dir }
    }

    fn at(&self, name: &str) -> PathBuf {
        // As the kernel calls it, which is what servers are asked for.
        self.dir.path().canonicalize().unwrap().join(name)
    }

    fn config(&self) -> PathBuf {
        self.at("etc/aftercast/config.toml")
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_aftercast"));
        command.arg("--config").arg(self.config()).arg("--state-dir").arg(self.at("state")).args(args);
        command.stdin(Stdio::null()).env_remove("AFTERCAST_CONFIG").env("TZ", "UTC").current_dir(self.dir.path());
        command
    }

    fn run(&self, args: &[&str]) -> RunOutput {
        self.command(args).output().unwrap().into()
    }

    fn store_url(&self) -> String {
        format!("file://{}", self.at("store").display())
    }
}

fn text(path: &Path) -> String {
    fs::read_to_string(path).unwrap()
}

#[test]
fn a_running_nginx_is_found_and_what_is_written_works() {
    let place = SetupDir::new();
    let recordings = place.at("rec");
    let _nginx = nginx(&place.at("nginx"), &recordings);
    let imported =
        place.run(&["config", "import-nginx-rtmp", place.at("nginx/nginx.conf").to_str().unwrap()]).expect_code(0);
    assert!(imported.out.contains(&format!("roots = [\"{}\"]", recordings.display())), "{}", imported.out);

    let root = recordings.to_str().unwrap();
    let dry = place.run(&["setup", "--dry-run", "--server", "nginx-rtmp", "--root", root]).expect_code(0);
    assert!(!place.config().exists() && dry.out.contains("[watch]"), "{}", dry.out);
    assert!(dry.err.contains("nginx-rtmp (running, process ") && dry.err.contains(root), "{}", dry.err);

    let store = place.store_url();
    let written = place.run(&["setup", "--yes", "--root", root, "--target", &store]).expect_code(0);
    assert!(written.out.contains("Wrote ") && written.out.contains("SUBJECT"), "{}", written.out);
    assert!(written.out.contains("Next:") && written.out.contains("process --dry-run"), "{}", written.out);
    let config = text(&place.config());
    assert!(config.contains("server = \"nginx-rtmp\"") && config.contains("application `live`"), "{config}");
    assert_eq!(fs::metadata(place.config()).unwrap().permissions().mode() & 0o7777, 0o640);

    // A crashed recording of that server becomes a VoD in that target.
    fs::copy(made("flv", 2), recordings.join("room1-1700000000.flv")).unwrap();
    let vods = place.run(&["process", "--wait", root]).expect_code(0);
    assert!(vods.out.contains("room1"), "{}", vods.out);
    let vod = place.run(&["--json", "vod", "list"]).expect_code(0).json_lines().remove(0);
    assert_eq!((&vod["streamId"], &vod["server"]), (&"room1".into(), &"nginx-rtmp".into()), "{vod}");
    assert!(fs::read_dir(place.at("store")).unwrap().count() > 0, "it was delivered");
}

#[test]
fn without_a_server_a_root_is_needed_and_nothing_is_ever_overwritten() {
    let place = SetupDir::new();
    // Only this server is looked for: others may run on the machine of the tests.
    let none = place.run(&["setup", "--yes", "--server", "livekit"]).expect_code(2);
    assert!(none.err.contains("--root DIR"), "{}", none.err);
    let root = place.at("rec").display().to_string();
    for (args, said) in [
        (&["setup", "--yes", "--root", "/nowhere/at/all"][..], "it does not exist"),
        (&["setup", "--yes", "--root", &root, "--server", "wowza"], "is not a server"),
        (&["setup", "--yes", "--root", &root, "--target", "ftp://x/y"], "not a supported scheme"),
        (&["setup", "--yes", "--root", &root, "--target", "s3://AKIA:hunter2@b"], "must not contain credentials"),
        (&["setup", "--root", &root], "there is no terminal to ask on"),
    ] {
        let refused = place.run(args).expect_code(2);
        assert!(refused.err.contains(said) && !refused.err.contains("hunter2"), "{args:?}: {}", refused.err);
        assert!(!place.config().exists(), "{args:?}");
    }

    fs::create_dir_all(place.config().parent().unwrap()).unwrap();
    fs::write(place.config(), "# mine\n").unwrap();
    let taken = place.run(&["setup", "--yes", "--root", &root]).expect_code(2);
    assert!(taken.err.contains("exists and is never overwritten"), "{}", taken.err);
    assert!(taken.out.contains("[watch]") && taken.out.contains(&root), "what it would have written: {}", taken.out);
    assert_eq!(text(&place.config()), "# mine\n");
}

#[test]
fn hostile_names_are_written_so_that_they_load_and_shown_so_that_they_do_not_paint() {
    let place = SetupDir::new();
    let odd = place.at("it's \"rec\" #1\u{202e}");
    fs::create_dir(&odd).unwrap();
    let json = place.run(&["--json", "setup", "--yes", "--root", odd.to_str().unwrap()]).expect_code(0);
    let answer: Value = json.json_lines().remove(0);
    assert_eq!(answer["file"], place.config().to_str().unwrap());
    assert!(answer["checks"].as_array().unwrap().iter().all(|check| check["ok"] == true), "{answer}");
    let printed = place.run(&["--json", "config", "print"]).expect_code(0);
    let roots =
        printed.json_lines().into_iter().find(|setting| setting["key"].as_str().unwrap().ends_with("root.0.path"));
    let roots = roots.unwrap_or_else(|| printed.json_lines().into_iter().find(|s| s["key"] == "watch.roots").unwrap());
    assert!(roots["value"].as_str().unwrap().contains("it's \\\"rec\\\" #1"), "{roots}");

    let shown = place.run(&["setup", "--dry-run", "--root", odd.to_str().unwrap()]).expect_code(0);
    assert!(!shown.out.contains('\u{202e}') && !shown.err.contains('\u{202e}'), "{}{}", shown.out, shown.err);

    let control = place.at("a\u{1b}[2Jb");
    fs::create_dir(&control).unwrap();
    fs::remove_file(place.config()).unwrap();
    let refused = place.run(&["setup", "--yes", "--root", control.to_str().unwrap()]).expect_code(2);
    assert!(!refused.err.contains('\u{1b}') && refused.err.contains("cannot be written"), "{}", refused.err);
}

/// The program on a terminal of its own (`script` of util-linux).
struct Terminal {
    child: Child,
    shown: Receiver<Vec<u8>>,
    /// All that was shown.
    text: String,
    /// How much of it was waited for already.
    seen: usize,
}

impl Terminal {
    fn start(place: &SetupDir, args: &[&str]) -> Self {
        let command = place.command(args);
        let quoted = |word: &OsStr| format!("'{}'", word.to_str().unwrap().replace('\'', "'\\''"));
        let line: Vec<String> =
            std::iter::once(quoted(command.get_program())).chain(command.get_args().map(quoted)).collect();
        let mut script = Command::new("script");
        script.args(["-qec", &line.join(" "), "/dev/null"]).env_remove("AFTERCAST_CONFIG").env("TZ", "UTC");
        script.current_dir(place.dir.path()).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = script.spawn().unwrap();
        let mut output = child.stdout.take().unwrap();
        let (send, shown) = channel();
        std::thread::spawn(move || {
            let mut bytes = [0; 4096];
            while let Ok(read @ 1..) = output.read(&mut bytes) {
                drop(send.send(bytes[..read].to_vec()));
            }
        });
        Self { child, shown, text: String::new(), seen: 0 }
    }

    /// Waits for a question, then types.
    #[track_caller]
    fn answer(&mut self, question: &str, answer: &str) {
        while !self.text[self.seen..].contains(question) {
            let shown = self.shown.recv_timeout(Duration::from_secs(120));
            let Ok(shown) = shown else { panic!("`{question}` was not asked:\n{}", self.text) };
            self.text.push_str(&String::from_utf8_lossy(&shown));
        }
        self.seen += self.text[self.seen..].find(question).unwrap() + question.len();
        writeln!(self.child.stdin.as_mut().unwrap(), "{answer}").unwrap();
    }

    /// Waits for the end: the exit code, and all that was shown.
    fn end(mut self) -> (i32, String) {
        while let Ok(shown) = self.shown.recv() {
            self.text.push_str(&String::from_utf8_lossy(&shown));
        }
        (self.child.wait().unwrap().code().unwrap(), self.text)
    }
}

#[test]
fn on_a_terminal_it_asks_and_writes_what_was_answered() {
    let place = SetupDir::new();
    let root = place.at("rec").display().to_string();
    let mut terminal = Terminal::start(&place, &["setup", "--server", "livekit"]);
    terminal.answer("Directory of the recordings", "/nowhere");
    terminal.answer("it does not exist", &root);
    terminal.answer("Another directory", "");
    terminal.answer("Upload to", "ftp://x");
    terminal.answer("not a supported scheme", &place.store_url());
    terminal.answer("Write this to", "");
    let (code, shown) = terminal.end();
    assert_eq!(code, 0, "{shown}");
    assert!(shown.contains("Wrote ") && shown.contains("Next:"), "{shown}");
    let config = text(&place.config());
    assert!(config.contains("server = \"livekit\"") && config.contains(&place.store_url()), "{config}");

    let mut again = Terminal::start(&place, &["setup", "--server", "livekit", "--root", &root]);
    again.answer("the configuration will only be printed", "-");
    let (code, shown) = again.end();
    assert!(code == 2 && shown.contains("exists and is never overwritten"), "{code}: {shown}");

    fs::remove_file(place.config()).unwrap();
    let mut refused = Terminal::start(&place, &["setup", "--server", "livekit", "--root", &root]);
    refused.answer("Upload to", "-");
    refused.answer("Write this to", "no");
    let (code, shown) = refused.end();
    assert!(code == 0 && shown.contains("Nothing was written") && !place.config().exists(), "{code}: {shown}");
}

#[test]
fn a_typed_secret_is_kept_in_a_file_of_its_own_and_nowhere_else() {
    let place = SetupDir::new();
    let root = place.at("rec").display().to_string();
    let mut terminal = Terminal::start(&place, &["setup", "--server", "livekit", "--root", &root]);
    terminal.answer("Upload to", "s3://bucket/x");
    // Nothing listens at that port: the target cannot be reached, and the configuration is written all the same.
    terminal.answer("Endpoint", "http://127.0.0.1:1");
    terminal.answer("Region", "us-east-1");
    terminal.answer("Credentials [1]", "3");
    terminal.answer("Access key id, file to write", "");
    terminal.answer("Access key id (not shown)", "AKIAHUNTER2");
    terminal.answer("Secret access key, file to write", "");
    terminal.answer("Secret access key (not shown)", "hunter2");
    terminal.answer("Write this to", "yes");
    let (code, shown) = terminal.end();
    assert_eq!(code, 5, "{shown}");
    assert!(!shown.to_lowercase().contains("hunter2"), "{shown}");
    let (id, secret) =
        (place.at("etc/aftercast/primary.access_key_id"), place.at("etc/aftercast/primary.secret_access_key"));
    let config = text(&place.config());
    assert!(config.contains(id.to_str().unwrap()) && config.contains(secret.to_str().unwrap()), "{config}");
    assert_eq!((text(&id).as_str(), text(&secret).as_str()), ("AKIAHUNTER2\n", "hunter2\n"));
    assert_eq!(fs::metadata(&secret).unwrap().permissions().mode() & 0o7777, 0o600);
    assert!(!config.to_lowercase().contains("hunter2"), "{config}");
}

#[test]
fn imports_print_and_explain() {
    let place = SetupDir::new();
    let file = place.at("mediamtx.yml");
    fs::write(&file, "pathDefaults:\n  record: yes\n  recordPath: /rec/%path/%Y-%m-%d_%H-%M-%S-%f\n").unwrap();
    let mut command = place.command(&["config", "import-mediamtx", file.to_str().unwrap()]);
    let of_environment =
        RunOutput::from(command.env("MTX_PATHDEFAULTS_RECORDPATH", "/env/%path/%s").output().unwrap()).expect_code(0);
    assert!(of_environment.out.contains("roots = [\"/env\"]"), "{}", of_environment.out);
    fs::write(&file, "paths:\n  a: [1\n").unwrap();
    let broken = place.run(&["config", "import-mediamtx", file.to_str().unwrap()]).expect_code(3);
    assert!(broken.err.contains("mediamtx.yml`, line") && broken.err.contains("Nothing was changed"), "{}", broken.err);
    let missing = place.run(&["config", "import-srs", "/nowhere/srs.conf"]).expect_code(3);
    assert!(missing.err.contains("cannot read the server's configuration"), "{}", missing.err);
}
