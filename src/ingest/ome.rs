//! OvenMediaEngine: the `FILE` publishers of every application in `Server.xml`, with its included files and `${env:…}`.

use std::path::{Path, PathBuf};

use super::error::IngestError;
use super::pattern::{Pattern, Piece, Time};
use super::xml::{self, Element};
use super::{Recordings, ServerFiles, Started};

const FILE_NAME: &str = "Server.xml";
/// Where packages and images install it.
const DEFAULT_DIRECTORIES: [&str; 4] = [
    "/usr/share/ovenmediaengine/conf",
    "/opt/ovenmediaengine/bin/origin_conf",
    "/opt/ovenmediaengine/bin/edge_conf",
    "/opt/ovenmediaengine/conf",
];
/// `GetOutputFilePath` of `file_session.cpp`.
const DEFAULT_NAME: &str = "${TransactionId}_${VirtualHost}_${Application}_${Stream}_${StartTime:YYYYMMDDhhmmss}.ts";

/// Where the configuration of a process may be, the first that exists counts.
pub fn places(started: &Started) -> Vec<PathBuf> {
    if let Some(directory) = started.option(&["-c"]) {
        return vec![started.resolve(directory).join(FILE_NAME)];
    }
    let beside = started.program.parent().map(|directory| directory.join("conf").join(FILE_NAME));
    beside.into_iter().chain(installed()).collect()
}

/// Where packages and images install it.
pub fn installed() -> Vec<PathBuf> {
    DEFAULT_DIRECTORIES.iter().map(|directory| Path::new(directory).join(FILE_NAME)).collect()
}

/// Reads a file and what it includes, and says what it says about recordings.
pub fn read(path: &Path, files: &ServerFiles, started: &Started) -> Result<Recordings, IngestError> {
    let mut found = Recordings::default();
    let document = xml::parse(&files.read(path)?, path)?;
    let Some(server) = document.child("Server") else {
        return Err(IngestError::syntax(path, 1, "there is no `<Server>` in it"));
    };
    let reading = OmeReader { directory: path.parent().unwrap_or(Path::new("/")), files, started };
    for hosts in server.named("VirtualHosts") {
        for host in reading.with_included(hosts, "VirtualHost")? {
            reading.host(&mut found, &host)?;
        }
    }
    if found.directories.is_empty() {
        found.note("FILE", "no application has a `FILE` publisher with a path: OvenMediaEngine records nothing now");
    } else {
        found.note(
            "FILE",
            "recording begins with a request to OvenMediaEngine's API, or by its StreamMap; both stay as they are",
        );
    }
    Ok(found)
}

struct OmeReader<'a> {
    directory: &'a Path,
    files: &'a ServerFiles,
    started: &'a Started,
}

impl OmeReader<'_> {
    /// The elements of a name, those of files that they include in their place. What is included may not include again.
    fn with_included(&self, within: &Element, name: &str) -> Result<Vec<Element>, IngestError> {
        let mut elements = Vec::new();
        for element in within.named(name) {
            match &element.include {
                None => elements.push(element.clone()),
                Some(pattern) => {
                    for path in self.files.matching(&self.directory.join(pattern))? {
                        let document = xml::parse(&self.files.read(&path)?, &path)?;
                        elements.extend(document.named(name).cloned());
                    }
                }
            }
        }
        Ok(elements)
    }

    fn host(&self, found: &mut Recordings, host: &Element) -> Result<(), IngestError> {
        let name = host.text_of("Name").unwrap_or_default();
        for applications in host.named("Applications") {
            for application in self.with_included(applications, "Application")? {
                let of = format!("application `{}` of `{name}`", application.text_of("Name").unwrap_or_default());
                for publishers in application.named("Publishers") {
                    publishers.named("FILE").for_each(|file| self.publisher(found, &of, file));
                }
            }
        }
        Ok(())
    }

    fn publisher(&self, found: &mut Recordings, of: &str, file: &Element) {
        let value =
            |name: &str| file.text_of(name).map(|text| self.resolved(&text.split_whitespace().collect::<String>()));
        let (root, path, info) = (value("RootPath"), value("FilePath"), value("InfoPath"));
        if root.is_none() && path.is_none() {
            return found.note(
                format!("FILE of {of}"),
                "neither RootPath nor FilePath is set: set the directory of the recordings yourself",
            );
        }
        let path = path.as_deref().unwrap_or(DEFAULT_NAME);
        // The two are joined; without a root the path stands alone.
        let whole = match root.as_deref() {
            Some(root) => format!("{}/{}", root.trim_end_matches('/'), path.trim_start_matches('/')),
            None => path.to_owned(),
        };
        if whole.contains("${env:") {
            return found.note(
                format!("FILE of {of}"),
                "its path comes from an environment variable: set the directory yourself",
            );
        }
        let (directory, names) = pattern(&whole).split();
        if !names.has_start() && !names.0.contains(&Piece::Any(TRANSACTION)) {
            let why =
                "its names have neither ${StartTime:…} nor ${TransactionId}: a new recording replaces the one before";
            found.note(format!("FilePath of {of}"), why);
        }
        found.directory(self.started.resolve(&directory.to_string_lossy()), of.to_owned(), Some(names), true);
        if info.is_some() {
            found.note(
                format!("InfoPath of {of}"),
                "OvenMediaEngine still writes it; it names files as they were before aftercast finished them",
            );
        }
    }

    /// Puts the values of `${env:NAME}` and `${env:NAME:default}` in their places, where they are known.
    fn resolved(&self, text: &str) -> String {
        let mut resolved = String::new();
        let mut rest = text;
        while let Some(at) = rest.find("${env:") {
            let Some(len) = rest[at..].find('}') else { break };
            let inner = &rest[at + "${env:".len()..at + len];
            let (name, default) = inner.split_once(':').map_or((inner, None), |(name, default)| (name, Some(default)));
            resolved.push_str(&rest[..at]);
            resolved.push_str(self.started.variable(name).or(default).unwrap_or(&rest[at..=at + len]));
            rest = &rest[at + len + 1..];
        }
        resolved + rest
    }
}

const TRANSACTION: &str = "bcUCyJeKuOGnsah3";

fn pattern(path: &str) -> Pattern {
    let mut pattern = Pattern::default();
    let mut rest = path;
    while let Some(at) = rest.find("${") {
        pattern.push_text(&rest[..at]);
        let Some(len) = rest[at..].find('}') else { break };
        macro_of(&mut pattern, &rest[at + 2..at + len]);
        rest = &rest[at + len + 1..];
    }
    pattern.push_text(rest);
    pattern
}

fn macro_of(pattern: &mut Pattern, name: &str) {
    match name.split_once(':') {
        Some(("StartTime", format)) => times(pattern, format),
        _ => pattern.push(match name.split(':').next().unwrap_or_default() {
            "Stream" | "SourceStream" => Piece::Stream,
            "TransactionId" => Piece::Any(TRANSACTION),
            "EndTime" => Piece::Any("20260304143115"),
            "Sequence" => Piece::Any("0"),
            "VirtualHost" => Piece::Any("default"),
            "Application" => Piece::Any("app"),
            _ => Piece::Any("x"),
        }),
    }
}

fn times(pattern: &mut Pattern, format: &str) {
    const PARTS: [(&str, Time); 6] = [
        ("YYYY", Time::Year),
        ("MM", Time::Month),
        ("DD", Time::Day),
        ("hh", Time::Hour),
        ("mm", Time::Minute),
        ("ss", Time::Second),
    ];
    let mut rest = format;
    while let Some(c) = rest.chars().next() {
        if let Some((letters, time)) = PARTS.iter().find(|(letters, _)| rest.starts_with(letters)) {
            pattern.push(Piece::Start(*time));
            rest = &rest[letters.len()..];
        } else {
            pattern.push_text(&rest[..c.len_utf8()]);
            rest = &rest[c.len_utf8()..];
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    fn recordings_of(files: &[(&str, &str)], environment: &[(&str, &str)]) -> Result<Recordings, IngestError> {
        let dir = tempfile::tempdir().unwrap();
        for (name, text) in files {
            fs::write(dir.path().join(name), text).unwrap();
        }
        let started = Started {
            environment: environment.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect(),
            working_directory: Some("/opt/ome".into()),
            ..Started::default()
        };
        read(Path::new("/Server.xml"), &ServerFiles::below(dir.path()), &started)
    }

    fn server(publisher: &str) -> String {
        format!(
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<Server version=\"8\">\n<Name>OvenMediaEngine</Name>\n\
             <Managers><API><AccessToken>hunter2</AccessToken></API></Managers>\n<VirtualHosts>\n\
             <VirtualHost include=\"VHost*.xml\"/>\n<VirtualHost><Name>default</Name><Applications><Application><Name>app</Name>\
             <Publishers><LLHLS/>{publisher}</Publishers></Application></Applications></VirtualHost>\n</VirtualHosts></Server>"
        )
    }

    #[test]
    fn root_and_path_are_joined_and_the_macros_read() {
        let publisher = "<FILE><RootPath>/mnt/shared_volumes</RootPath>\
             <FilePath>/${VirtualHost}/${Application}/${Stream}/\n   ${StartTime:YYYYMMDDhhmmss}_${EndTime:YYYYMMDDhhmmss}.ts</FilePath>\
             <InfoPath>/${VirtualHost}/${Application}/${Stream}.xml</InfoPath></FILE>";
        let vhost = "<VirtualHost><Name>more</Name><Applications><Application><Name>live</Name><Publishers><FILE>\
             <FilePath>./records/${TransactionId}_${Stream}.mp4</FilePath></FILE></Publishers></Application></Applications></VirtualHost>";
        let found = recordings_of(&[("Server.xml", &server(publisher)), ("VHost1.xml", vhost)], &[]).unwrap();
        let rows: Vec<_> = found
            .directories
            .iter()
            .map(|d| (d.path.to_str().unwrap(), d.of[0].as_str(), d.names.as_ref().unwrap().example()))
            .collect();
        assert_eq!(
            rows,
            [
                ("/opt/ome/records", "application `live` of `more`", "bcUCyJeKuOGnsah3_room1.mp4".to_owned()),
                (
                    "/mnt/shared_volumes",
                    "application `app` of `default`",
                    "default/app/room1/20260304143015_20260304143115.ts".to_owned()
                ),
            ]
        );
        let said = format!("{:?}", found.notes);
        assert!(said.contains("InfoPath") && !said.contains("hunter2"), "{said}");
    }

    #[test]
    fn the_default_name_the_environment_and_what_is_missing() {
        let found = recordings_of(&[("Server.xml", &server("<FILE><RootPath>${env:REC:/rec}</RootPath></FILE>"))], &[])
            .unwrap();
        assert_eq!(found.directories[0].path, Path::new("/rec"));
        let name = found.directories[0].names.as_ref().unwrap().example();
        assert_eq!(name, "bcUCyJeKuOGnsah3_default_app_room1_20260304143015.ts");
        let set = recordings_of(
            &[("Server.xml", &server("<FILE><RootPath>${env:REC}</RootPath></FILE>"))],
            &[("REC", "/env")],
        )
        .unwrap();
        assert_eq!(set.directories[0].path, Path::new("/env"));
        for (publisher, why) in [
            ("<FILE/>", "neither RootPath nor FilePath"),
            ("<FILE><RootPath>${env:REC}</RootPath></FILE>", "environment variable"),
            ("<FILE><FilePath>/rec/${Stream}.ts</FilePath></FILE>", "replaces the one before"),
            ("", "records nothing now"),
        ] {
            let found = recordings_of(&[("Server.xml", &server(publisher))], &[]).unwrap();
            assert!(found.notes.iter().any(|note| note.why.contains(why)), "{publisher}: {found:?}");
        }
    }

    #[test]
    fn broken_files_have_a_line_and_inclusion_ends() {
        let error = recordings_of(&[("Server.xml", "<Server>\n<VirtualHosts>\n</Server>")], &[]).unwrap_err();
        assert!(error.to_string().contains("Server.xml`, line 3"), "{error}");
        assert!(recordings_of(&[("Server.xml", "<Other/>")], &[]).is_err());
        // A file that includes itself: what is included does not include again.
        let own = "<VirtualHost include=\"VHost*.xml\"/>";
        assert!(
            recordings_of(&[("Server.xml", &server("")), ("VHost1.xml", own)], &[]).unwrap().directories.is_empty()
        );
    }
}
