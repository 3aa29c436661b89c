//! nginx with the RTMP module: `record…` in `rtmp`, `server`, `application` and `recorder` blocks, each inheriting from the one
//! around it (`ngx_rtmp_record_merge_app_conf`).

use std::path::{Path, PathBuf};

use super::directives::{self, Directive, named, value};
use super::error::IngestError;
use super::pattern::{Pattern, Piece, Time};
use super::{Recordings, ServerFiles, Started, flag};
use crate::printable::Printable;

/// Where packages install it, and where nginx's own build does.
const DEFAULT_PATHS: [&str; 4] = [
    "/etc/nginx/nginx.conf",
    "/usr/local/nginx/conf/nginx.conf",
    "/usr/local/etc/nginx/nginx.conf",
    "/opt/nginx/conf/nginx.conf",
];
const DEFAULT_PREFIXES: [&str; 2] = ["/usr/share/nginx", "/usr/local/nginx"];

/// How nginx names its master process, before its command line.
const MASTER: &str = "nginx: master process ";

/// Reads the command line out of the title that the master process gives itself; `None` for a worker.
pub fn started_of_title(started: Started, title: &str) -> Option<Started> {
    if let Some(line) = title.strip_prefix(MASTER) {
        let mut words = line.split([' ', '\0']).filter(|word| !word.is_empty()).map(str::to_owned);
        let program = words.next().map_or(started.program, PathBuf::from);
        return Some(Started { program, arguments: words.collect(), ..started });
    }
    (!title.starts_with("nginx: ")).then_some(started)
}

/// Where the configuration of a process may be, the first that exists counts.
pub fn places(started: &Started) -> Vec<PathBuf> {
    let prefix = started.option(&["-p"]).map(|prefix| started.resolve(prefix));
    match (started.option(&["-c"]), prefix) {
        (Some(file), _) if Path::new(file).is_absolute() => vec![PathBuf::from(file)],
        (Some(file), Some(prefix)) => vec![prefix.join(file)],
        (Some(file), None) => DEFAULT_PREFIXES.iter().map(|prefix| Path::new(prefix).join(file)).collect(),
        (None, Some(prefix)) => vec![prefix.join("conf/nginx.conf"), prefix.join("nginx.conf")],
        (None, None) => installed(),
    }
}

/// Where packages install it.
pub fn installed() -> Vec<PathBuf> {
    DEFAULT_PATHS.iter().map(PathBuf::from).collect()
}

/// Reads a file and what it includes, and says what it says about recordings.
pub fn read(path: &Path, files: &ServerFiles, started: &Started) -> Result<Recordings, IngestError> {
    let base = path.parent().unwrap_or(Path::new("/"));
    let directives = directives::read(path, base, files)?;
    Ok(recordings(&directives, started))
}

/// The settings of one block, those of the blocks around it included.
#[derive(Debug, Clone, Copy, Default)]
struct BlockSettings<'a> {
    record: Option<&'a [String]>,
    path: Option<&'a str>,
    suffix: Option<&'a str>,
    unique: Option<&'a str>,
    append: Option<&'a str>,
    max_size: Option<&'a str>,
    max_frames: Option<&'a str>,
    interval: Option<&'a str>,
    exec_done: bool,
    on_done: bool,
}

impl<'a> BlockSettings<'a> {
    fn within(self, block: &'a [Directive]) -> Self {
        let of = |name: &str, outer: Option<&'a str>| value(block, name).or(outer);
        Self {
            record: named(block, "record").last().map(|record| record.arguments.as_slice()).or(self.record),
            path: of("record_path", self.path),
            suffix: of("record_suffix", self.suffix),
            unique: of("record_unique", self.unique),
            append: of("record_append", self.append),
            max_size: of("record_max_size", self.max_size),
            max_frames: of("record_max_frames", self.max_frames),
            interval: of("record_interval", self.interval),
            exec_done: self.exec_done || named(block, "exec_record_done").next().is_some(),
            on_done: self.on_done || named(block, "on_record_done").next().is_some(),
        }
    }

    fn is_on(&self) -> bool {
        self.record.is_some_and(|flags| !flags.is_empty() && flags.iter().all(|flag| flag != "off"))
    }

    fn is_unique(&self) -> bool {
        self.unique.and_then(flag) == Some(true)
    }
}

fn recordings(directives: &[Directive], started: &Started) -> Recordings {
    let mut found = Recordings::default();
    let mut has_rtmp = false;
    for rtmp in named(directives, "rtmp") {
        has_rtmp = true;
        let outer = BlockSettings::default().within(&rtmp.block);
        for server in named(&rtmp.block, "server") {
            let outer = outer.within(&server.block);
            for application in named(&server.block, "application") {
                self::application(&mut found, application, outer.within(&application.block), started);
            }
        }
    }
    if !has_rtmp {
        found.note("rtmp", "the configuration has no `rtmp` block: this nginx records nothing");
    } else if found.directories.is_empty() {
        found.note("record", "off in every application: nginx records nothing now");
    }
    found
}

fn application(found: &mut Recordings, application: &Directive, settings: BlockSettings<'_>, started: &Started) {
    let name = format!("application `{}`", application.value().unwrap_or_default());
    recorder(found, &name, settings, started);
    for recorder in named(&application.block, "recorder") {
        let name = format!("recorder `{}` of {name}", recorder.value().unwrap_or_default());
        self::recorder(found, &name, settings.within(&recorder.block), started);
    }
    for (kind, path) in [("hls", "hls_path"), ("dash", "dash_path")] {
        let is_on = value(&application.block, kind).and_then(flag) == Some(true);
        if let Some(directory) = value(&application.block, path).filter(|_| is_on) {
            let directory = started.resolve(directory);
            let why = format!(
                "written to `{}`; add it as a root of its own if it shall be uploaded",
                Printable::path(&directory)
            );
            found.note(format!("{kind} of {name}"), why);
        }
    }
}

fn recorder(found: &mut Recordings, of: &str, settings: BlockSettings<'_>, started: &Started) {
    if !settings.is_on() {
        return;
    }
    let Some(path) = settings.path.filter(|path| !path.is_empty()) else {
        return found.note(format!("record_path of {of}"), "not set: nginx writes to `/`; set it there");
    };
    if path.contains('$') {
        let why = "it has a variable: set the directory of the recordings yourself";
        return found.note(format!("record_path of {of}"), why);
    }
    found.directory(started.resolve(path), of.to_owned(), Some(names(settings)), true);
    notes(found, of, settings);
}

fn notes(found: &mut Recordings, of: &str, settings: BlockSettings<'_>) {
    let has_time = settings.suffix.is_some_and(|suffix| suffix.contains('%'));
    let is_appended = settings.append.and_then(flag) == Some(true);
    if !settings.is_unique() && !has_time && !is_appended {
        let why = "off: the next publisher of a stream truncates its last recording, also one that is not uploaded yet; \
                   set it to on";
        found.note(format!("record_unique of {of}"), why);
    }
    if is_appended {
        let why = "on: nginx writes on in a finished file; aftercast then takes it again";
        found.note(format!("record_append of {of}"), why);
    }
    let parts = [
        ("record_interval", settings.interval),
        ("record_max_size", settings.max_size),
        ("record_max_frames", settings.max_frames),
    ];
    for (name, value) in parts {
        if let Some(value) = value.filter(|value| *value != "off" && *value != "0") {
            let why = format!("`{value}`: each part becomes a VoD; clips join them over HTTP");
            found.note(format!("{name} of {of}"), why);
        }
    }
    if settings.record.is_some_and(|flags| flags.iter().any(|flag| flag == "manual")) {
        found.note(format!("record of {of}"), "manual: nginx's control interface still starts and stops it");
    }
    if settings.exec_done {
        let why = "nginx still runs it with the name before aftercast finishes the file, and a command that opens the file \
                   delays aftercast; for finished files use [[announce.command]]";
        found.note(format!("exec_record_done of {of}"), why);
    }
    if settings.on_done {
        let why = "nginx still calls it; for finished files use [[announce.webhook]]";
        found.note(format!("on_record_done of {of}"), why);
    }
}

/// `<name>[-<seconds>]<suffix>`; the suffix is a format of `strftime`.
fn names(settings: BlockSettings<'_>) -> Pattern {
    let mut pattern = Pattern(vec![Piece::Stream]);
    if settings.is_unique() {
        pattern.push_text("-");
        pattern.push(Piece::Start(Time::Epoch));
    }
    suffix(&mut pattern, settings.suffix.unwrap_or(".flv"));
    pattern
}

fn suffix(pattern: &mut Pattern, suffix: &str) {
    let mut letters = suffix.chars();
    while let Some(c) = letters.next() {
        if c != '%' {
            pattern.push_text(c.encode_utf8(&mut [0; 4]));
            continue;
        }
        let clock = |pattern: &mut Pattern, times: &[Time]| {
            for (n, time) in times.iter().enumerate() {
                pattern.push_text(if n == 0 { "" } else { ":" });
                pattern.push(Piece::Start(*time));
            }
        };
        match letters.next() {
            Some('T') => clock(pattern, &[Time::Hour, Time::Minute, Time::Second]),
            Some('R') => clock(pattern, &[Time::Hour, Time::Minute]),
            Some('F') => {
                for (n, time) in [Time::Year, Time::Month, Time::Day].into_iter().enumerate() {
                    pattern.push_text(if n == 0 { "" } else { "-" });
                    pattern.push(Piece::Start(time));
                }
            }
            Some('%') | None => pattern.push_text("%"),
            Some(letter) => pattern.push(letter_of_strftime(letter).map_or(Piece::Any("1"), Piece::Start)),
        }
    }
}

const fn letter_of_strftime(letter: char) -> Option<Time> {
    Some(match letter {
        'Y' => Time::Year,
        'y' => Time::ShortYear,
        'm' => Time::Month,
        'b' | 'h' => Time::MonthName,
        'd' => Time::Day,
        'H' => Time::Hour,
        'M' => Time::Minute,
        'S' => Time::Second,
        's' => Time::Epoch,
        'z' => Time::Offset,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    fn recordings_of(files: &[(&str, &str)]) -> Result<Recordings, IngestError> {
        let dir = tempfile::tempdir().unwrap();
        for (name, text) in files {
            let path = dir.path().join("etc/nginx").join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        let started = Started { working_directory: Some("/".into()), ..Started::default() };
        read(Path::new("/etc/nginx/nginx.conf"), &ServerFiles::below(dir.path()), &started)
    }

    const SAMPLE: &str = "\
load_module modules/ngx_rtmp_module.so;
worker_processes auto;
events { worker_connections 768; }
http { server { listen 80; location / { root /var/www; } } }
rtmp {
    record_path /var/rec;
    server {
        listen 1935;
        include rtmp.d/*.conf;
        application live {
            live on;
            record all;
            record_unique on;
            exec_record_done /usr/local/bin/done.sh --key hunter2 $path;
            recorder audio {
                record audio;
                record_path /var/rec/audio;
                record_suffix -%d-%b-%y-%T.flv;
                record_interval 15m;
            }
        }
        application quiet { live on; record off; }
        application hls { live on; hls on; hls_path /tmp/hls; }
    }
}
";

    #[test]
    fn each_recorder_inherits_from_the_blocks_around_it() {
        let found = recordings_of(&[
            ("nginx.conf", SAMPLE),
            (
                "rtmp.d/more.conf",
                "application more { record video; record_path '/with space'; record_suffix _%Y%m%d.flv; }",
            ),
        ])
        .unwrap();
        let rows: Vec<_> = found
            .directories
            .iter()
            .map(|d| (d.path.to_str().unwrap(), d.of[0].as_str(), d.names.as_ref().unwrap().example()))
            .collect();
        assert_eq!(
            rows,
            [
                ("/with space", "application `more`", "room1_20260304.flv".to_owned()),
                ("/var/rec", "application `live`", "room1-1772634615.flv".to_owned()),
                (
                    "/var/rec/audio",
                    "recorder `audio` of application `live`",
                    "room1-1772634615-04-Mar-26-14:30:15.flv".to_owned()
                ),
            ]
        );
        let said = format!("{:?}", found.notes);
        for word in ["exec_record_done of application `live`", "record_interval of recorder `audio`", "`/tmp/hls`"] {
            assert!(said.contains(word), "{word}: {said}");
        }
        assert!(!said.contains("hunter2") && !said.contains("record_unique"), "{said}");
    }

    #[test]
    fn names_that_are_used_again_and_missing_paths_are_named() {
        let rtmp = |inner: &str| format!("rtmp {{ server {{ application live {{ {inner} }} }} }}");
        let notes = |text: &str| recordings_of(&[("nginx.conf", text)]).unwrap().notes;
        assert!(notes(&rtmp("record all; record_path /rec;"))[0].setting.starts_with("record_unique"));
        assert!(notes(&rtmp("record all;"))[0].setting.starts_with("record_path"));
        assert!(notes(&rtmp("record all; record_path /rec/$name;"))[0].why.contains("variable"));
        assert!(notes(&rtmp("record all off; record_path /rec;"))[0].why.contains("off in every application"));
        assert!(notes("http { }")[0].why.contains("no `rtmp` block"));
        assert!(notes(&rtmp("record all manual; record_path /rec; record_append on;")).len() == 2);
    }

    #[test]
    fn its_command_line_is_read_from_the_title_of_the_master() {
        let of = |title: &str| started_of_title(Started::default(), title);
        let master = of("nginx: master process /usr/sbin/nginx -p /srv/n -c conf/x.conf").unwrap();
        assert_eq!(places(&master), [PathBuf::from("/srv/n/conf/x.conf")]);
        assert_eq!(places(&of("nginx: master process nginx -g daemon on;").unwrap())[0], Path::new(DEFAULT_PATHS[0]));
        assert!(of("nginx: worker process").is_none());
        assert!(of("nginx\0-c\0/x.conf").is_some());
    }

    #[test]
    fn a_slip_in_an_included_file_names_that_file() {
        let error =
            recordings_of(&[("nginx.conf", "include a.conf;"), ("a.conf", "rtmp {\n server {\n}\n")]).unwrap_err();
        assert!(error.to_string().contains("a.conf`, line 1"), "{error}");
    }
}
