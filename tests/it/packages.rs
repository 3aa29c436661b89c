//! What the Debian package holds and does, without installing it; `scripts/prove-packages` installs, upgrades and purges it.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use crate::support::Sandbox;
use crate::support::daemon::Daemon;
use crate::support::recordings::made;

const REPOSITORY: &str = env!("CARGO_MANIFEST_DIR");

fn said(command: &mut Command) -> String {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{command:?}: {text}{}", String::from_utf8_lossy(&output.stderr));
    text
}

/// The package of this build, made as a release is. Its debug information would take a minute and tell nothing here.
fn packed(directory: &Path) -> PathBuf {
    let program = directory.join("aftercast");
    said(Command::new("strip").arg("-o").arg(&program).arg(env!("CARGO_BIN_EXE_aftercast")));
    said(
        Command::new(Path::new(REPOSITORY).join("scripts/package"))
            .args(["--without-ffmpeg", "--binary"])
            .arg(&program)
            .arg(directory.join("out"))
            .env("DEB_BUILD_OPTIONS", "noautodbgsym")
            .env("DPKG_DEB_COMPRESSOR_TYPE", "gzip"),
    );
    let files = fs::read_dir(directory.join("out")).unwrap().map(|entry| entry.unwrap().path());
    let packages: Vec<_> = files.filter(|path| path.extension().is_some_and(|e| e == "deb")).collect();
    let [package] = packages.as_slice() else { panic!("{packages:?}") };
    package.clone()
}

/// Files of a directory below it, `./usr/bin/aftercast` and the like.
fn files(directory: &Path) -> BTreeSet<String> {
    let found = said(Command::new("find").args([".", "-not", "-type", "d"]).current_dir(directory));
    found.lines().map(str::to_owned).collect()
}

/// The scripts of a package: sound, and they say and do what an operator expects.
fn scripts_are_sound(control: &Path) {
    for script in ["postinst", "prerm", "postrm"] {
        let script = control.join(script);
        said(Command::new("sh").arg("-n").arg(&script));
        assert_ne!(fs::metadata(&script).unwrap().permissions().mode() & 0o111, 0);
    }
    let prerm = fs::read_to_string(control.join("prerm")).unwrap();
    assert!(prerm.contains("stop aftercast.service"), "{prerm}");
    let postinst = fs::read_to_string(control.join("postinst")).unwrap();
    for words in [
        "aftercast setup",
        "aftercast config check",
        "aftercast doctor",
        "systemctl enable --now aftercast",
        "try-restart",
    ] {
        assert!(postinst.contains(words), "{words}: {postinst}");
    }
    // debhelper's snippet for a unit that is enabled by the operator alone: only what was enabled before is enabled again.
    assert!(postinst.contains("if deb-systemd-helper debian-installed 'aftercast.service'"), "{postinst}");
}

#[test]
fn the_debian_package_holds_what_an_operator_expects() {
    if Command::new("dh").arg("--version").output().is_err() {
        println!("skipped: debhelper is not installed");
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let package = packed(dir.path());
    let field = |name: &str| said(Command::new("dpkg-deb").arg("-f").arg(&package).arg(name)).trim().to_owned();
    assert_eq!(field("Package"), "aftercast");
    assert!(field("Version").starts_with(concat!(env!("CARGO_PKG_VERSION"), "+")), "{}", field("Version"));
    // Although the program names none of them in its header.
    for library in ["libavutil", "libavcodec", "libavformat", "libswscale", "libc6", "adduser", "ca-certificates"] {
        assert!(field("Depends").contains(library), "{library}: {}", field("Depends"));
    }

    let (tree, control) = (dir.path().join("tree"), dir.path().join("control"));
    said(Command::new("dpkg-deb").arg("-x").arg(&package).arg(&tree));
    said(Command::new("dpkg-deb").arg("-e").arg(&package).arg(&control));
    let files = files(&tree);
    for file in [
        "./usr/bin/aftercast",
        "./etc/aftercast/config.toml",
        "./usr/lib/tmpfiles.d/aftercast.conf",
        "./usr/share/bash-completion/completions/aftercast",
        "./usr/share/zsh/vendor-completions/_aftercast",
        "./usr/share/fish/vendor_completions.d/aftercast.fish",
        "./usr/share/man/man1/aftercast.1.gz",
        "./usr/share/man/man1/aftercast-vod-list.1.gz",
        "./usr/share/doc/aftercast/copyright",
    ] {
        assert!(files.contains(file), "{file} is missing: {files:#?}");
    }
    assert_eq!(fs::read_to_string(control.join("conffiles")).unwrap().trim(), "/etc/aftercast/config.toml");

    // As installed, the configuration is sound and starts nothing. `setup` knows it by its bytes.
    let config = tree.join("etc/aftercast/config.toml");
    let in_tree = Path::new(REPOSITORY).join("packaging/config.toml");
    assert_eq!(fs::read(&config).unwrap(), fs::read(in_tree).unwrap());
    let program = tree.join("usr/bin/aftercast");
    let with_config = |args: &[&str]| {
        let mut command = Command::new(&program);
        command.arg("--config").arg(&config).arg("--state-dir").arg(dir.path().join("state")).args(args);
        command
    };
    said(&mut with_config(&["config", "check"]));
    let started = with_config(&["watch"]).output().unwrap();
    assert_eq!(started.status.code(), Some(3), "{}", String::from_utf8_lossy(&started.stderr));

    scripts_are_sound(&control);

    let unit = ["./usr/lib/systemd/system/aftercast.service", "./lib/systemd/system/aftercast.service"];
    let unit = unit.into_iter().find(|unit| files.contains(*unit)).expect("a unit file");
    let unit = fs::read_to_string(tree.join(unit)).unwrap();
    assert!(unit.contains("ExecStart=/usr/bin/aftercast ") && !unit.contains("/usr/local/bin"), "{unit}");
}

#[test]
fn a_purge_removes_all_that_a_daemon_keeps_and_nothing_else() {
    let sandbox = Sandbox::new();
    let daemon = Daemon::start(&sandbox);
    sandbox.put(&made("mp4", 2), "room1.mp4");
    crate::support::daemon::until("a VoD", || (sandbox.vods().len() == 1).then_some(()));
    let state = sandbox.path().join("state");
    fs::create_dir(state.join("notes")).unwrap();
    fs::create_dir(state.join("recordings-of-mine")).unwrap();
    // If it were a root as well, these would be recordings, and an original that was moved aside.
    for name in ["catalog.mp4", ".aftercast-x.mp4.aside"] {
        fs::write(state.join(name), "x").unwrap();
    }
    for name in [".aftercast-root", ".aftercast-alive", "share.00ff.new", "catalog.damaged-1700000000000"] {
        fs::write(state.join(name), "x").unwrap();
    }

    let postrm = fs::read_to_string(Path::new(REPOSITORY).join("packaging/debian/aftercast.postrm")).unwrap();
    let removal = postrm.lines().find(|line| line.trim_start().starts_with("rm ")).expect("what a purge removes");
    drop(daemon);
    said(Command::new("sh").arg("-c").arg(removal).current_dir(&state));
    let left: BTreeSet<_> =
        fs::read_dir(&state).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    assert_eq!(Vec::from_iter(left), [".aftercast-x.mp4.aside", "catalog.mp4", "recordings-of-mine"]);
}

/// The interpreter that the test stores run on; it has a parser of YAML.
fn python() -> PathBuf {
    let tools = std::env::var_os("AFTERCAST_TEST_TOOLS").map(PathBuf::from);
    tools.unwrap_or_else(|| Path::new(REPOSITORY).join("target/test-tools")).join("python/bin/python3")
}

/// The settings of an example are settings of this program, beside the configuration of the image.
fn are_known_settings(container: &Value) {
    let environment = container["environment"].as_object().unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_aftercast"))
        .args(["config", "check"])
        .env("AFTERCAST_CONFIG", Path::new(REPOSITORY).join("packaging/image/config.toml"))
        .envs([("AWS_ACCESS_KEY_ID", "k"), ("AWS_SECRET_ACCESS_KEY", "s")])
        .envs(environment.iter().map(|(name, value)| (name, value.as_str().unwrap())))
        .output()
        .unwrap();
    let words = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && !words.contains("matches no setting"), "{container}: {words}");
}

#[test]
fn the_examples_for_containers_are_sound_and_of_this_version() {
    let repository = Path::new(REPOSITORY);
    let deploy = repository.join("docs/deploy");
    let files: Vec<PathBuf> = ["compose", "kubernetes"]
        .iter()
        .flat_map(|directory| fs::read_dir(deploy.join(directory)).unwrap().map(|entry| entry.unwrap().path()))
        .collect();
    let check = repository.join("scripts/documentation/examples.py");
    let found = said(Command::new(python()).arg("-B").arg(check).arg(env!("CARGO_PKG_VERSION")).args(&files));
    let containers: Vec<Value> = found.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    for container in &containers {
        are_known_settings(container);
    }
    let chart = fs::read_to_string(deploy.join("chart/aftercast/Chart.yaml")).unwrap();
    for line in
        [concat!("version: ", env!("CARGO_PKG_VERSION")), concat!("appVersion: \"", env!("CARGO_PKG_VERSION"), "\"")]
    {
        assert!(chart.lines().any(|l| l == line), "{line}: {chart}");
    }
    let readme = fs::read_to_string(deploy.join("README.md")).unwrap();
    for file in files {
        let path = file.display().to_string();
        let is_of_it = |container: &Value| container["file"].as_str().unwrap().starts_with(&path);
        assert!(containers.iter().any(is_of_it), "no aftercast in {path}");
        let name = file.strip_prefix(&deploy).unwrap().display().to_string();
        assert!(readme.contains(&format!("({name})")), "{name} is not explained");
    }
}

/// The first line of a file names the page; the rest is the same.
#[test]
fn pages_show_the_examples_as_they_are() {
    let docs = Path::new(REPOSITORY).join("docs");
    for (page, file) in [("fleet.md", "compose/fleet.yml"), ("archive.md", "kubernetes/work.yml")] {
        let text = fs::read_to_string(docs.join("deploy").join(file)).unwrap();
        let (_, shown) = text.split_once('\n').unwrap();
        let page_text = fs::read_to_string(docs.join(page)).unwrap();
        assert!(page_text.contains(&format!("```yaml\n{shown}```\n")), "docs/{page} does not show deploy/{file}");
    }
}

#[test]
fn the_installer_refuses_an_archive_that_is_not_the_published_one() {
    let dir = tempfile::tempdir().unwrap();
    let name = format!("aftercast-{}-linux-{}.tar.gz", env!("CARGO_PKG_VERSION"), std::env::consts::ARCH);
    let (tree, prefix) = (dir.path().join("aftercast"), dir.path().join("opt/aftercast"));
    fs::create_dir_all(tree.join("bin")).unwrap();
    fs::hard_link(env!("CARGO_BIN_EXE_aftercast"), tree.join("bin/aftercast"))
        .or_else(|_| fs::copy(env!("CARGO_BIN_EXE_aftercast"), tree.join("bin/aftercast")).map(drop))
        .unwrap();
    let installer = fs::read_to_string(Path::new(REPOSITORY).join("packaging/install.sh")).unwrap();
    let head = installer.lines().find_map(|line| line.strip_prefix("list_head='")?.strip_suffix('\'')).unwrap();
    let list = "share/aftercast/installation";
    fs::create_dir_all(tree.join("share/aftercast")).unwrap();
    fs::write(tree.join(list), format!("{head}\nbin/aftercast\n{list}\n")).unwrap();
    let archive = dir.path().join(&name);
    // Uncompressed: what is tried is the installer, and tar tells by the content.
    said(Command::new("tar").arg("-cf").arg(&archive).arg("-C").arg(dir.path()).arg("aftercast"));
    let install = || {
        let installer = Path::new(REPOSITORY).join("packaging/install.sh");
        let output = Command::new("sh").arg(installer).arg(&archive).arg(&prefix).output().unwrap();
        (
            output.status.success(),
            String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr),
        )
    };
    let (is_done, words) = install();
    assert!(!is_done && words.contains("SHA256SUMS is missing"), "{words}");
    let sums = dir.path().join("SHA256SUMS");
    fs::write(&sums, format!("{}  {name}\n", "0".repeat(64))).unwrap();
    let (is_done, words) = install();
    assert!(!is_done && words.contains("checksum mismatch") && !prefix.exists(), "{words}");
    fs::write(&sums, said(Command::new("sha256sum").arg(&name).current_dir(dir.path()))).unwrap();
    let (is_done, words) = install();
    assert!(is_done && words.contains("is installed in"), "{words}");
    assert_eq!(
        said(Command::new(prefix.join("bin/aftercast")).arg("--version")).trim(),
        concat!("aftercast ", env!("CARGO_PKG_VERSION"))
    );
    // Again, over the one that is there; nothing else is left beside it.
    let (is_done, words) = install();
    assert!(is_done, "{words}");
    assert_eq!(fs::read_dir(prefix.parent().unwrap()).unwrap().count(), 1);
    // Nothing that is not of the installation is ever taken away, in no place.
    for other in ["recordings/x.mp4", "share/x.mp4", "share/aftercast/x.mp4"] {
        fs::create_dir_all(prefix.join(other).parent().unwrap()).unwrap();
        fs::write(prefix.join(other), "recording").unwrap();
        let (is_done, words) = install();
        assert!(!is_done && words.contains("holds what is not aftercast's"), "{other}: {words}");
        assert_eq!(fs::read_to_string(prefix.join(other)).unwrap(), "recording");
        fs::remove_file(prefix.join(other)).unwrap();
        let _ = fs::remove_dir(prefix.join("recordings"));
    }
    // A program of that name makes no installation.
    fs::remove_file(prefix.join(list)).unwrap();
    let (is_done, words) = install();
    assert!(!is_done && words.contains("is not an installation of aftercast"), "{words}");
    assert!(prefix.join("bin/aftercast").exists());
    assert_eq!(fs::read_dir(prefix.parent().unwrap()).unwrap().count(), 1);
}
