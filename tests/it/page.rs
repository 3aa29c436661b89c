//! The page in a real browser before a real daemon (`tests/page`): what an operator and a video editor do with it.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use aftercast::catalog::Catalog;
use serde_json::{Value, json};

use crate::support::archive;
use crate::support::daemon::{Daemon, until};
use crate::support::recordings::{ffmpeg, made, without_moov};
use crate::support::stores::free_port;
use crate::support::{Sandbox, standard_config};

const READER: &str = "a token for reading only";
const OPERATOR: &str = "a token for everything here";
/// VoDs of the short form; `AFTERCAST_PAGE_VODS` has another number.
const VODS: u64 = 20_000;
/// All of them are of some four years.
const YEARS_MS: i64 = 4 * 365 * 24 * 3_600 * 1_000;

/// Where the browser and its driver are; `None`, and a word about it, where one of them is missing.
fn tools() -> Option<Value> {
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR"));
    let tools =
        std::env::var_os("AFTERCAST_TEST_TOOLS").map_or_else(|| manifest.join("target/test-tools"), PathBuf::from);
    let modules = tools.join("page");
    let chromium = ["/usr/bin/chromium", "/usr/bin/chromium-browser", "/usr/bin/google-chrome"].into_iter();
    let chromium = chromium.map(Path::new).find(|path| path.exists());
    let missing = match chromium {
        None => "Chromium (scripts/install-packages test)",
        Some(_) if !modules.join("node_modules/playwright-core").exists() => "Playwright (scripts/install-page-tests)",
        Some(chromium) => return Some(json!({ "modules": modules, "chromium": chromium })),
    };
    let _ = writeln!(std::io::stderr(), "skipped: there is no {missing}");
    None
}

/// A house whose page is served, with a second store that may be away.
fn sandbox(address: &str) -> Sandbox {
    Sandbox::with_config(|dir| {
        fs::write(dir.join("read.token"), READER).unwrap();
        fs::write(dir.join("operate.token"), OPERATOR).unwrap();
        let at = dir.display();
        standard_config(dir, "")
            + &format!(
                "[[deliver.target]]\nname = \"archive\"\nurl = \"file://{at}/away/store\"\nrequired = false\n\
                 [pictures]\nposter = true\nsprite = true\n[serve]\nlisten = \"{address}\"\nread_token_file = \"{at}/read.token\"\noperate_token_file = \"{at}/operate.token\"\n"
            )
    })
}

fn address_of(daemon: &Daemon) -> String {
    until("the daemon says where it serves", || {
        let log = daemon.log();
        let address = log.split("serving HTTP").nth(1)?.split("address=").nth(1)?.split_whitespace().next()?.to_owned();
        Some(address)
    })
}

/// Runs a script of `tests/page` and fails with what it says if it does.
fn drive(script: &str, mut job: Value, more: Value) {
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR"));
    let shots = manifest.join("target/page");
    fs::create_dir_all(&shots).unwrap();
    let (Value::Object(all), Value::Object(more)) = (&mut job, more) else { panic!("a job is an object") };
    all.extend(more);
    all.insert("shots".into(), json!(shots));
    let mut node = Command::new("node");
    node.arg(manifest.join("tests/page").join(script)).env("PAGE_TEST", job.to_string()).env_remove("TZ");
    let run = node.output().unwrap();
    // The times that it measured.
    let _ = write!(std::io::stderr(), "{}", String::from_utf8_lossy(&run.stdout));
    assert!(run.status.success(), "{}{}", String::from_utf8_lossy(&run.stdout), String::from_utf8_lossy(&run.stderr));
}

#[test]
fn the_page_shows_what_becomes_of_recordings() {
    let Some(tools) = tools() else { return };
    let sandbox = sandbox("127.0.0.1:0");
    let away = sandbox.path().join("away/store");
    let daemon = Daemon::start(&sandbox);
    let address = address_of(&daemon);
    let port = address.rsplit(':').next().unwrap().to_owned();
    let crashed = sandbox.path().join("crashed.mp4");
    let whole = sandbox.path().join("whole.mp4");
    // Of the same kind as what the page is shown first, so that it teaches what the crashed one lacks.
    ffmpeg(&[
        "-f",
        "lavfi",
        "-i",
        "testsrc2=size=640x360:rate=25",
        "-f",
        "lavfi",
        "-i",
        "sine=frequency=440",
        "-t",
        "8",
        "-c:v",
        "libx264",
        "-preset",
        "ultrafast",
        "-g",
        "25",
        "-pix_fmt",
        "yuv420p",
        "-c:a",
        "aac",
        whole.to_str().unwrap(),
    ]);
    fs::rename(without_moov(&whole), &crashed).unwrap();
    // And one of another stream that is coded in another way, which only an upload teaches.
    let other = sandbox.path().join("other.mp4");
    let size =
        ["-f", "lavfi", "-i", "testsrc2=size=480x270:rate=25:duration=6", "-c:v", "libx264", "-preset", "ultrafast"];
    ffmpeg(&[&size[..], &["-pix_fmt", "yuv420p", other.to_str().unwrap()]].concat());
    let job = json!({
        "untaught": without_moov(&other), "teacher": other,
        "base": format!("http://{address}/"), "guarded": format!("http://guarded.localhost:{port}/"), "root": sandbox.root(),
        "work": sandbox.path(), "away": away, "crashed": crashed, "sound": made("mp4-faststart", 2),
        "operator": OPERATOR, "reader": READER, "port": free_port(), "aftercast": env!("CARGO_BIN_EXE_aftercast"),
        "config": sandbox.path().join("config.toml"),
    });
    drive("recordings.mjs", tools, job);
    daemon.stop();
}

#[test]
fn a_large_archive_is_few_nodes_and_any_month_is_near() {
    let Some(tools) = tools() else { return };
    let vods = std::env::var("AFTERCAST_PAGE_VODS").map_or(VODS, |number| number.parse().unwrap());
    let sandbox = sandbox("127.0.0.1:0");
    let preview = sandbox.root().join("previews/room.jpg");
    fs::create_dir_all(preview.parent().unwrap()).unwrap();
    ffmpeg(&["-f", "lavfi", "-i", "testsrc2=size=852x480", "-frames:v", "1", preview.to_str().unwrap()]);
    {
        let catalog = Catalog::open(&sandbox.path().join("state")).unwrap();
        archive::fill(&catalog, &sandbox.root(), vods, YEARS_MS / vods.cast_signed(), Some(&preview)).unwrap();
    }
    let daemon = Daemon::start(&sandbox);
    let job = json!({ "base": format!("http://{}/", address_of(&daemon)), "oldestYear": "2020", "vods": vods });
    drive("archive.mjs", tools, job);
    daemon.stop();
}
