//! Keys of `[watch]` and `[[watch.root]]`.

use super::{Accessors, DURATION, Key, PATH, SWITCH, Section, TEXT, ValueKind, put, quote_path, secret};
use crate::config::Config;
use crate::config::value::{Value, ValueError, quote, quote_list};
use crate::config::{address, moment, units};
use crate::discover::{self, FragmentedPolicy, Server};
use crate::recording::Container;
use crate::recording::name::printable_text;

const SERVER: ValueKind = ValueKind {
    unit: "name",
    wants: r#"one of "auto", "antmedia", "mediamtx", "srs", "ome", "nginx-rtmp", "livekit", "obs""#,
};
const FRAGMENTED: ValueKind = ValueKind { unit: "name", wants: r#"one of "auto", "keep", "progressive""# };
const TEMPLATE: ValueKind = ValueKind {
    unit: "template",
    wants: r#"a name template such as "{stream}/{start:%Y-%m-%d_%H-%M-%S}_{part}.{ext}""#,
};
const EXISTING: ValueKind =
    ValueKind { unit: "name or date", wants: r#""all", "orphans", "none", or a date such as "since:2026-01-01""# };
const PATHS: ValueKind =
    ValueKind { unit: "list of absolute paths", wants: r#"a list of absolute paths such as ["/srv/recordings"]"# };
const SUFFIXES: ValueKind =
    ValueKind { unit: "list of strings", wants: r#"a list of suffixes such as [".tmp", ".part"]"# };
const APP: ValueKind = ValueKind { unit: "name", wants: r#"a name without slashes such as "live""# };

const CONTROL: ValueKind = ValueKind { unit: "URL", wants: r#"a URL such as "http://127.0.0.1:5080""# };
const CREDENTIALS: ValueKind = ValueKind {
    unit: "absolute path or env:NAME",
    wants: r#"an absolute path such as "/etc/aftercast/ingest.credentials", or "env:NAME" for an environment variable"#,
};

pub(super) static KEYS: [Key; 24] = [
    Key::new(
        Section::Watch,
        "roots",
        PATHS,
        Accessors::Spread,
        "Directories that the ingest server records into. If they need different servers or templates, use \
         [[watch.root]] instead.",
    )
    .or("[]")
    .like(r#"["/usr/local/antmedia/webapps/live/streams"]"#),
    Key::new(
        Section::Watch,
        "server",
        SERVER,
        Accessors::Whole(
            |c, v| put(&mut c.root_defaults.server, server(v)),
            |c| Some(quote(c.root_defaults.server.name())),
        ),
        "Ingest server whose file names are read: auto, antmedia, mediamtx, srs, ome, nginx-rtmp, livekit, obs. \
         auto logs its choice and the reason.",
    )
    .or(r#""auto""#),
    Key::new(
        Section::Watch,
        "template",
        TEMPLATE,
        Accessors::Whole(
            |c, v| put(&mut c.root_defaults.template, template(v).map(Some)),
            |c| c.root_defaults.template.as_deref().map(quote),
        ),
        "File name template of any other server; overrides the preset's names.",
    )
    .like(r#""{stream}/{start:%Y-%m-%d_%H-%M-%S}_{part}.{ext}""#),
    Key::new(
        Section::Watch,
        "fragmented",
        FRAGMENTED,
        Accessors::Whole(
            |c, v| put(&mut c.root_defaults.fragmented, fragmented(v)),
            |c| Some(quote(c.root_defaults.fragmented.name())),
        ),
        "Fragmented MP4: keep it unchanged, make it progressive, or auto: keep it where MediaMTX's playback reads it.",
    )
    .or(r#""auto""#),
    Key::new(
        Section::Watch,
        "deliver_progressive",
        SWITCH,
        Accessors::Whole(
            |c, v| put(&mut c.root_defaults.deliver_progressive, v.boolean()),
            |c| Some(c.root_defaults.deliver_progressive.to_string()),
        ),
        "true: fragmented MP4 that is kept is uploaded as progressive MP4, from a temporary copy beside it.",
    )
    .or("false"),
    Key::new(
        Section::Watch,
        "settle",
        DURATION,
        Accessors::Whole(|c, v| put(&mut c.watch.settle, v.duration()), |c| Some(show(c.watch.settle))),
        "How long a file with a final name must stay unchanged if its close was not seen. With strong evidence \
         there is no wait.",
    )
    .or(r#""5s""#),
    Key::new(
        Section::Watch,
        "quiet",
        DURATION,
        Accessors::Whole(|c, v| put(&mut c.watch.quiet, v.some_duration()), |c| Some(show(c.watch.quiet))),
        "How long a file must stay unchanged if only its size and modification time can be checked.",
    )
    .or(r#""120s""#),
    Key::new(
        Section::Watch,
        "orphan_after",
        DURATION,
        Accessors::Whole(|c, v| put(&mut c.watch.orphan_after, v.duration()), |c| Some(show(c.watch.orphan_after))),
        "How old a file with a temporary name must be to count as orphaned while its writer may still be running.",
    )
    .or(r#""10m""#),
    Key::new(
        Section::Watch,
        "orphan_grace",
        DURATION,
        Accessors::Whole(|c, v| put(&mut c.watch.orphan_grace, v.duration()), |c| Some(show(c.watch.orphan_grace))),
        "A temporary name written this recently counts as being written, whatever the process list says.",
    )
    .or(r#""30s""#),
    Key::new(
        Section::Watch,
        "rescan",
        DURATION,
        Accessors::Whole(|c, v| put(&mut c.watch.rescan, v.some_duration()), |c| Some(show(c.watch.rescan))),
        "Time between two full scans. Notifications are only hints; a scan also finds what they missed.",
    )
    .or(r#""60s""#),
    Key::new(
        Section::Watch,
        "existing",
        EXISTING,
        Accessors::Whole(set_existing, |c| Some(quote(&moment::show_existing(c.watch.existing, &c.finish.time_zone)))),
        "Which recordings from before the first start to process: all, orphans, none, or since:2026-01-01.",
    )
    .or(r#""all""#),
    Key::new(
        Section::Watch,
        "temporary_suffixes",
        SUFFIXES,
        Accessors::Whole(
            |c, v| put(&mut c.watch.temporary_suffixes, suffixes(v)),
            |c| Some(quote_list(&c.watch.temporary_suffixes)),
        ),
        "Suffixes that mark a file as still being written, in addition to the preset's own.",
    )
    .or(r#"[".tmp", ".tmp_extension"]"#),
    Key::new(
        Section::Watch,
        "poll",
        SWITCH,
        Accessors::Whole(|c, v| put(&mut c.watch.poll, v.boolean()), |c| Some(c.watch.poll.to_string())),
        "Poll even if notifications would work. File systems not known to be local are always polled.",
    )
    .or("false"),
    Key::new(
        Section::Root,
        "path",
        PATH,
        Accessors::Root(|r, v| put(&mut r.path, v.absolute_path()), |r| Some(quote_path(&r.path))),
        "The directory.",
    )
    .like(r#""/srv/other/recordings""#),
    Key::new(
        Section::Root,
        "server",
        SERVER,
        Accessors::Root(|r, v| put(&mut r.server, server(v)), |r| Some(quote(r.server.name()))),
        "Ingest server whose file names are read. If not set: server of [watch].",
    )
    .like(r#""mediamtx""#),
    Key::new(
        Section::Root,
        "template",
        TEMPLATE,
        Accessors::Root(|r, v| put(&mut r.template, template(v).map(Some)), |r| r.template.as_deref().map(quote)),
        "File name template. If not set: template of [watch].",
    )
    .like(r#""{stream}_{start:%s}.{ext}""#),
    Key::new(
        Section::Root,
        "fragmented",
        FRAGMENTED,
        Accessors::Root(|r, v| put(&mut r.fragmented, fragmented(v)), |r| Some(quote(r.fragmented.name()))),
        "How fragmented MP4 in it is handled. If not set: fragmented of [watch].",
    )
    .like(r#""keep""#),
    Key::new(
        Section::Root,
        "deliver_progressive",
        SWITCH,
        Accessors::Root(|r, v| put(&mut r.deliver_progressive, v.boolean()), |r| Some(r.deliver_progressive.to_string())),
        "Whether kept fragmented MP4 in it is uploaded as progressive MP4. If not set: deliver_progressive of [watch].",
    )
    .like("true"),
    Key::new(
        Section::Root,
        "shared",
        SWITCH,
        Accessors::Root(|r, v| put(&mut r.shared, v.boolean()), |r| Some(r.shared.to_string())),
        "true: several nodes work on this directory, on NFS, EFS, CephFS or GlusterFS, each recording once. Needs [fleet].",
    )
    .like("true"),
    Key::new(
        Section::Root,
        "first_right",
        SWITCH,
        Accessors::Root(|r, v| put(&mut r.first_right, v.boolean()), |r| Some(r.first_right.to_string())),
        "true on the node beside the ingest server: while it runs, only it works on this shared directory.",
    )
    .like("true"),
    Key::new(
        Section::Root,
        "stream",
        TEXT,
        Accessors::Root(|r, v| put(&mut r.stream, v.filled_text().map(Some)), |r| r.stream.as_deref().map(quote)),
        "Stream id of every file in it, regardless of the names.",
    )
    .like(r#""studio-1""#),
    Key::new(
        Section::Root,
        "app",
        APP,
        Accessors::Root(|r, v| put(&mut r.app, app(v).map(Some)), |r| r.app.as_deref().map(quote)),
        "Its application in the Ant Media API (/{app}/rest/v2); without: the directory before streams, else its own name.",
    )
    .like(r#""live""#),
    Key::new(
        Section::Root,
        "control",
        CONTROL,
        Accessors::Root(|r, v| put(&mut r.control.url, control(v).map(Some)), |r| r.control.url.as_deref().map(quote)),
        "Address at which its ingest server (antmedia, mediamtx, nginx-rtmp, ome) is asked whether it records, and told to. Without: never asked.",
    )
    .like(r#""http://127.0.0.1:5080""#),
    Key::new(
        Section::Root,
        "control_credentials_file",
        CREDENTIALS,
        Accessors::Root(
            |r, v| put(&mut r.control.credentials_file, secret(v).map(Some)),
            |r| r.control.credentials_file.as_deref().map(quote_path),
        ),
        "File whose first line is the token or user:password for it. \"env:NAME\" takes it from the environment.",
    )
    .like(r#""/etc/aftercast/ingest.credentials""#),
];

fn show(duration: std::time::Duration) -> String {
    quote(&units::show_duration(duration))
}

fn server(value: &Value) -> Result<Server, ValueError> {
    value.choice(&Server::ALL.map(|server| (server.name(), server)))
}

fn fragmented(value: &Value) -> Result<FragmentedPolicy, ValueError> {
    value.choice(&FragmentedPolicy::ALL.map(|f| (f.name(), f)))
}

fn control(value: &Value) -> Result<String, ValueError> {
    value.filled_text().and_then(|text| address::control(&text).map_err(ValueError::Meaning))
}

fn template(value: &Value) -> Result<String, ValueError> {
    let text = value.filled_text()?;
    discover::check_template(&text).map_err(|e| ValueError::Meaning(crate::fault::chain(&e)))?;
    Ok(text)
}

fn app(value: &Value) -> Result<String, ValueError> {
    let name = value.filled_text()?;
    if name.contains(|c: char| c == '/' || c.is_control()) || name.starts_with('.') {
        return Err(ValueError::meaning(format!("`{}` is not one segment of a URL", printable_text(&name))));
    }
    Ok(name)
}

fn set_existing(config: &mut Config, value: &Value) -> Result<(), ValueError> {
    config.watch.existing = moment::parse_existing(value.text()?, &config.finish.time_zone)?;
    Ok(())
}

fn suffixes(value: &Value) -> Result<Vec<String>, ValueError> {
    let suffixes = value.list()?;
    for suffix in &suffixes {
        if suffix.is_empty() || suffix.contains('/') {
            return Err(ValueError::meaning(format!("`{suffix}` is not a valid file name suffix")));
        }
        if Container::from_extension(suffix.trim_start_matches('.')).is_some() {
            return Err(ValueError::meaning(format!("`{suffix}` is an extension of finished recordings")));
        }
    }
    Ok(suffixes)
}
