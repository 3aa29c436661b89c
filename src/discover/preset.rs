//! How a file name and its place give stream id, start time, rendition and part: one small file per ingest server.
//!
//! A [`Namer`] belongs to one root. It reads names only; the one thing it looks up on disk is, for `auto`, which
//! names are there. With no match the stream id is the file name without its known suffixes.

mod antmedia;
mod auto;
mod date;
mod livekit;
mod mediamtx;
mod nginx_rtmp;
mod obs;
mod ome;
mod srs;
mod template;

use std::path::Path;

use jiff::tz::TimeZone;
use regex::Regex;

pub use auto::{ServerChoice, choose_for_root, choose_server};
pub use template::{TemplateError, check_template};

use crate::recording::Container;
use crate::recording::journey::NameFacts;

use super::candidate::NameRules;
use super::error::DiscoverError;
use super::options::{RootOptions, Server};
use template::Template;

/// Compiles a pattern whose `\d` and `\w` mean ASCII: the digits of every script take milliseconds to compile, and no
/// server writes them.
fn pattern(text: &str) -> Result<Regex, regex::Error> {
    Regex::new(&text.replace(r"\d", "[0-9]").replace(r"\w", "[0-9A-Za-z_]"))
}

/// What a preset or template read from a name.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct ParsedName {
    /// The stream, if the name says it; else the directory or the name itself stands in.
    stream: Option<String>,
    /// Start of the recording, milliseconds since the Unix epoch, UTC.
    start_ms: Option<i64>,
    rendition: Option<String>,
    part: Option<u32>,
}

/// What a preset sees: the place below the root and the name without temporary suffix and extension.
#[derive(Debug, Clone, Copy)]
pub(super) struct NameInput<'a> {
    /// Directories below the root, joined by `/`; empty at the root.
    directory: &'a str,
    /// Name without temporary suffix and known extension.
    stem: &'a str,
    zone: &'a TimeZone,
}

impl NameInput<'_> {
    /// The nearest directory below the root.
    fn parent(&self) -> Option<String> {
        self.directory.rsplit('/').find(|d| !d.is_empty()).map(str::to_owned)
    }
}

/// What a name says about the recording.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NameReading {
    /// Stream id, stem, start, rendition, part.
    pub facts: NameFacts,
    /// Whether it is a temporary name.
    pub is_temporary: bool,
    /// The preset that read it (`antmedia`, …, `template`), `auto` where none did.
    pub server: String,
    /// Whether a preset or template matched; else the stream id is the stem.
    pub matched: bool,
}

/// Reads the names of one root.
#[derive(Debug, Clone)]
pub struct Namer {
    reader: NameReader,
    rules: NameRules,
    zone: TimeZone,
    stream: Option<String>,
    /// Stands in for the stream where only the directory would name it and the root is that directory.
    root_name: Option<String>,
    choice: Option<ServerChoice>,
}

#[derive(Debug, Clone)]
enum NameReader {
    Preset(Server),
    Template(Template),
}

/// The presets that `auto` tries on each name when the directory as a whole did not tell; the most telling first.
const MOST_TELLING_FIRST: [Server; 6] =
    [Server::Ome, Server::MediaMtx, Server::LiveKit, Server::Obs, Server::Srs, Server::NginxRtmp];

impl Namer {
    /// Reads names as the root's options say. With `auto` the names in the root are looked at first.
    ///
    /// # Errors
    /// A template that means nothing.
    pub fn new(root: &RootOptions, temporary_suffixes: &[String], zone: TimeZone) -> Result<Self, DiscoverError> {
        let template = root.template.as_deref().map(Template::parse).transpose();
        let template = template.map_err(|source| DiscoverError::Template { path: root.path.clone(), source })?;
        let choice = (template.is_none() && root.server == Server::Auto).then(|| choose_for_root(&root.path));
        let server = choice.as_ref().map_or(root.server, |c| c.server);
        Ok(Self {
            reader: template.map_or(NameReader::Preset(server), NameReader::Template),
            rules: NameRules::new(temporary_suffixes),
            zone,
            stream: root.stream.clone(),
            root_name: root.path.file_name().map(|n| n.to_string_lossy().into_owned()),
            choice,
        })
    }

    /// What `auto` chose and why, to be printed once.
    pub fn choice(&self) -> Option<&ServerChoice> {
        self.choice.as_ref()
    }

    /// The rules by which names are classified.
    pub fn rules(&self) -> &NameRules {
        &self.rules
    }

    /// Whether segments named `<playlist name>%09d.ts` belong to the playlist's unit although it no longer names them.
    pub fn has_antmedia_segments(&self) -> bool {
        matches!(self.reader, NameReader::Preset(Server::AntMedia | Server::Auto))
    }

    /// Reads the path of a file relative to its root.
    pub fn read(&self, relative: &Path) -> NameReading {
        let name = relative.file_name().unwrap_or_default().to_string_lossy();
        let directory = relative.parent().unwrap_or(Path::new("")).to_string_lossy();
        let (base, is_temporary) = self.rules.strip_temporary(&name);
        let stem = without_extension(base);
        let subject = NameInput { directory: &directory, stem, zone: &self.zone };
        let (server, parsed) = self.parse(subject, base);
        let matched = parsed.is_some();
        let parsed = parsed.unwrap_or_else(|| ParsedName { stream: Some(stem.to_owned()), ..ParsedName::default() });
        NameReading { facts: self.facts(subject, parsed), is_temporary, server: server.to_owned(), matched }
    }

    fn parse(&self, subject: NameInput<'_>, base: &str) -> (&'static str, Option<ParsedName>) {
        match &self.reader {
            NameReader::Template(template) => ("template", template.read(subject, base)),
            NameReader::Preset(Server::Auto) => parse_with_any(subject),
            NameReader::Preset(server) => (server.name(), parse_as(*server, subject)),
        }
    }

    fn facts(&self, subject: NameInput<'_>, parsed: ParsedName) -> NameFacts {
        let by_place =
            || subject.parent().or_else(|| self.root_name.clone()).unwrap_or_else(|| subject.stem.to_owned());
        let by_name = parsed.stream.filter(|s| !s.is_empty());
        NameFacts {
            stream_id: self.stream.clone().or(by_name).unwrap_or_else(by_place),
            stem: subject.stem.to_owned(),
            start_ms: parsed.start_ms,
            rendition: parsed.rendition,
            part: parsed.part,
        }
    }
}

fn parse_with_any(subject: NameInput<'_>) -> (&'static str, Option<ParsedName>) {
    // Ant Media's pattern fits nearly every name, so it counts here only with its own marks: date or rendition.
    let antmedia = antmedia::read(subject).filter(|p| p.start_ms.is_some() || p.rendition.is_some());
    if antmedia.is_some() {
        return (Server::AntMedia.name(), antmedia);
    }
    let by = |server: &Server| {
        let telling = |p: &ParsedName| p.start_ms.is_some() || *server == Server::Ome;
        parse_as(*server, subject).filter(telling).map(|p| (server.name(), Some(p)))
    };
    MOST_TELLING_FIRST.iter().find_map(by).unwrap_or((Server::Auto.name(), None))
}

fn parse_as(server: Server, subject: NameInput<'_>) -> Option<ParsedName> {
    match server {
        Server::AntMedia => antmedia::read(subject),
        Server::MediaMtx => mediamtx::read(subject),
        Server::Srs => srs::read(subject),
        Server::Ome => ome::read(subject),
        Server::NginxRtmp => nginx_rtmp::read(subject),
        Server::LiveKit => livekit::read(subject),
        Server::Obs => obs::read(subject),
        Server::Auto => None,
    }
}

/// The name without an extension that we know; other dots belong to the name.
fn without_extension(name: &str) -> &str {
    match name.rsplit_once('.') {
        Some((stem, extension)) if !stem.is_empty() && Container::from_extension(extension).is_some() => stem,
        _ => name,
    }
}

#[cfg(test)]
mod tests;
