//! Precedence, origins, and where the file is looked for.

use std::time::Duration;

use super::*;
use crate::config::{Origin, PrintedSetting, Sources, load, locate, print};
use crate::discover::{Existing, Server};
use crate::recording::Kinds;
use crate::retain::DeleteLocal;

fn overrides(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect()
}

#[test]
fn flag_over_environment_over_file_over_default() {
    let text = "[watch]\nquiet = \"1s\"\nsettle = \"1s\"\nrescan = \"1s\"\n";
    let file = Some(FileText { path: Path::new("c.toml"), text });
    let vars = env(&[("AFTERCAST_WATCH__QUIET", "2s"), ("AFTERCAST_WATCH__SETTLE", "2s")]);
    let config = read(file, &vars, &overrides(&[("watch.quiet", "3s")])).unwrap();
    assert_eq!(config.watch.quiet, Duration::from_secs(3));
    assert_eq!(config.watch.settle, Duration::from_secs(2));
    assert_eq!(config.watch.rescan, Duration::from_secs(1));
    assert_eq!(config.watch.orphan_after, Duration::from_secs(600));
    assert_eq!(config.origin("watch.quiet"), &Origin::Flag);
    assert_eq!(config.origin("watch.settle"), &Origin::Env("AFTERCAST_WATCH__SETTLE".into()));
    assert_eq!(config.origin("watch.rescan"), &Origin::File(4));
    assert_eq!(config.origin("watch.orphan_after"), &Origin::Default);
}

#[test]
fn nothing_at_all_is_the_defaults_and_a_state_directory_below_home() {
    let config = read(None, &env(&[]), &[]).unwrap();
    assert_eq!(config, Config { state_dir: "/home/op/.local/state/aftercast".into(), ..Config::default() });
    let config = read(None, &env(&[("XDG_STATE_HOME", "/state")]), &[]).unwrap();
    assert_eq!(config.state_dir, Path::new("/state/aftercast"));
    let config = read(None, &env(&[("XDG_STATE_HOME", "relative")]), &[]).unwrap();
    assert_eq!(config.state_dir, Path::new("/home/op/.local/state/aftercast"));
    let homeless = read(None, &BTreeMap::new(), &[]).unwrap_err().to_string();
    assert!(homeless.contains("AFTERCAST_STATE_DIR"), "{homeless}");
}

#[test]
fn the_environment_can_hold_everything() {
    let vars = env(&[
        ("AFTERCAST_WATCH__ROOTS", "/srv/a:/srv/b"),
        ("AFTERCAST_WATCH__ROOT__1__SERVER", "srs"),
        ("AFTERCAST_WATCH__EXISTING", "orphans"),
        ("AFTERCAST_DELIVER__UPLOAD_EXTENSIONS", "3"),
        ("AFTERCAST_DELIVER__TARGET__0__NAME", "primary"),
        ("AFTERCAST_DELIVER__TARGET__0__URL", "s3://bucket/streams"),
        ("AFTERCAST_DELIVER__TARGET__0__METADATA__TEAM", "news"),
        ("AFTERCAST_DELIVER__TARGET__0__CREDENTIAL_FILES", r#"{ secret_access_key_file = "/run/s" }"#),
        ("AFTERCAST_RETAIN__DELETE_LOCAL", r#"{ below_free = "50GiB" }"#),
        ("AFTERCAST_WEBMMUXINGENABLED", "true"),
    ]);
    let config = read(None, &vars, &[]).unwrap();
    assert_eq!(config.watch.roots[0].path, Path::new("/srv/a"));
    assert_eq!((config.watch.roots[1].server, config.watch.existing), (Server::Srs, Existing::Orphans));
    assert_eq!(config.deliver.upload_extensions.bits(), 3);
    assert_eq!(config.deliver.targets[0].metadata["team"], "news");
    assert_eq!(config.deliver.targets[0].credential_files["secret_access_key_file"], Path::new("/run/s"));
    assert_eq!(config.retain.delete_local, DeleteLocal::BelowFree(50 << 30));
    assert!(config.finish.webm_muxing_enabled && config.warnings.is_empty());
}

#[test]
fn a_stronger_list_of_roots_takes_the_place_of_all_below_and_a_single_key_does_not() {
    let text = "[[watch.root]]\npath = \"/srv/a\"\nserver = \"ome\"\n[[watch.root]]\npath = \"/srv/b\"\n";
    let file = Some(FileText { path: Path::new("c.toml"), text });
    let config = read(file, &env(&[("AFTERCAST_WATCH__ROOT__1__STREAM", "x")]), &[]).unwrap();
    assert_eq!((config.watch.roots.len(), config.watch.roots[1].stream.as_deref()), (2, Some("x")));
    let config = read(file, &env(&[]), &overrides(&[("watch.roots", "/srv/c")])).unwrap();
    assert_eq!((config.watch.roots.len(), config.watch.roots[0].server), (1, Server::Auto));
    let config = read(file, &env(&[("AFTERCAST_WATCH__ROOTS", "")]), &[]).unwrap();
    assert!(config.watch.roots.is_empty());
}

#[test]
fn a_section_wide_server_holds_for_roots_without_their_own() {
    let text = "[watch]\nserver = \"antmedia\"\ntemplate = \"{stream}.{ext}\"\n[[watch.root]]\npath = \"/a\"\n[[watch.root]]\npath = \"/b\"\nserver = \"srs\"\n";
    let config = from_text(text).unwrap();
    assert_eq!(config.watch.roots[0].server, Server::AntMedia);
    assert_eq!(config.watch.roots[0].template.as_deref(), Some("{stream}.{ext}"));
    assert_eq!(config.watch.roots[1].server, Server::Srs);
    assert_eq!(config.origin("watch.root.0.server"), &Origin::File(2));
    assert_eq!(config.origin("watch.root.1.server"), &Origin::File(8));
    assert_eq!(config.root_at("/c".into()).server, Server::AntMedia);
}

#[test]
fn both_spellings_are_the_same_key_wherever_the_other_stands() {
    for text in
        ["mp4MuxingEnabled = false", "[finish]\nmp4MuxingEnabled = false", "[deliver]\nmp4MuxingEnabled = false"]
    {
        assert!(!from_text(text).unwrap().finish.mp4_muxing_enabled, "{text}");
    }
    let config = from_text("uploadExtensionsToS3 = [\"mp4\", \"dash\"]\nrecordingSubfolder = \"vod/\"").unwrap();
    assert_eq!(config.deliver.upload_extensions, Kinds::from_bits(9).unwrap());
    assert_eq!(config.finish.recording_subfolder, "vod");
    // In two layers the stronger one holds, whatever the spelling.
    let file = Some(FileText { path: Path::new("c.toml"), text: "mp4MuxingEnabled = false" });
    let config = read(file, &env(&[("AFTERCAST_FINISH__MP4_MUXING_ENABLED", "true")]), &[]).unwrap();
    assert!(config.finish.mp4_muxing_enabled);
}

#[test]
fn the_time_zone_holds_for_dates_above_it() {
    let config = from_text("[watch]\nexisting = \"since:2026-01-01\"\n[finish]\ntime_zone = \"Asia/Tokyo\"\n").unwrap();
    assert_eq!(config.watch.existing, Existing::Since(1_767_225_600_000 - 9 * 3_600_000));
}

#[test]
fn an_unknown_variable_of_ours_is_a_warning() {
    let config = read(None, &env(&[("AFTERCAST_WATCH__QUITE", "1s"), ("AFTERCAST_LOG", "debug")]), &[]).unwrap();
    assert_eq!(
        config.warnings,
        ["the environment variable `AFTERCAST_WATCH__QUITE` matches no setting; did you mean `watch.quiet`?"]
    );
}

#[test]
fn the_file_is_the_named_one_or_the_first_that_exists() {
    let vars = env(&[("AFTERCAST_CONFIG", "/v.toml")]);
    let flag = Sources { file: Some(Path::new("/f.toml")), env: vars.clone(), overrides: &[] };
    assert_eq!(locate(&flag, |_| false), Some("/f.toml".into()));
    let variable = Sources { env: vars, ..Sources::default() };
    assert_eq!(locate(&variable, |_| false), Some("/v.toml".into()));
    let unnamed = Sources::default();
    assert_eq!(locate(&unnamed, |_| true), Some("config.toml".into()));
    assert_eq!(locate(&unnamed, Path::is_absolute), Some("/etc/aftercast/config.toml".into()));
    assert_eq!(locate(&unnamed, |_| false), None);
}

#[test]
fn a_named_file_that_is_not_there_or_not_utf8_is_an_error() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("c.toml");
    let sources = Sources { file: Some(&path), env: env(&[]), overrides: &[] };
    assert!(matches!(load(&sources), Err(ConfigError::Unreadable { .. })));
    std::fs::write(&path, b"state_dir = \"/x\"\n# \xff\n").unwrap();
    assert!(load(&sources).unwrap_err().to_string().contains("c.toml:2: not TOML: the line is not UTF-8"));
    std::fs::write(&path, "state_dir = \"/x\"\n").unwrap();
    let config = load(&sources).unwrap();
    assert_eq!((config.state_dir, config.file), ("/x".into(), Some(path)));
}

#[test]
fn what_is_printed_loads_as_the_same_configuration() {
    let text = "state_dir = \"/s\"\n[watch]\nroots = [\"/a\"]\nexisting = \"since:2026-01-01\"\n\
                [finish]\ntime_zone = \"UTC\"\nrecording_subfolder = \"{stream}\"\n[deliver]\nupload_extensions = 3\n\
                [[deliver.target]]\nname = \"p\"\nurl = \"s3://b/x\"\nmetadata = { a = \"1\" }\n[retain]\ndelete_local = { below_free = \"5GB\" }\n";
    let config = from_text(text).unwrap();
    let printed = print(&config);
    let shown = |key: &str| printed.iter().find(|p| p.key == key).cloned().unwrap();
    let expected = PrintedSetting { key: "watch.root.0.path".into(), value: "\"/a\"".into(), origin: Origin::File(3) };
    assert_eq!(shown("watch.root.0.path"), expected);
    assert_eq!(shown("finish.jobs").origin, Origin::Default);
    assert_eq!(shown("deliver.target.0.metadata").value, "{ a = \"1\" }");
    let plain = |value: &str| value.trim_matches('"').to_owned();
    let again: Vec<_> = printed.iter().map(|p| (p.key.clone(), plain(&p.value))).collect();
    let again = read(None, &env(&[]), &again).unwrap();
    assert_eq!(Config { origins: config.origins.clone(), file: config.file.clone(), ..again }, config);
}
