//! `auto`: which ingest server writes here, by the marks its names bear. The choice comes with its reason.

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use regex::Regex;

use crate::discover::options::Server;

/// What `auto` chose.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerChoice {
    /// The server, or [`Server::Auto`] if the names do not tell; then each name is read by whichever preset fits it.
    pub server: Server,
    /// Why, as a sentence for the operator.
    pub reason: String,
}

/// Names that are looked at; a directory that large tells by its first ones.
const MAX_NAMES: usize = 2000;
const MAX_DEPTH: usize = 5;

struct ServerPattern {
    server: Server,
    pattern: Regex,
    words: &'static str,
}

/// What a name must look like to speak for a server. Matched against the file name.
const MARKS: [(Server, &str, &str); 13] = [
    (Server::AntMedia, r"\.(mp4|webm)\.tmp_extension$", "`.tmp_extension`"),
    (Server::AntMedia, r"-\d{4}-\d\d-\d\d_\d\d-\d\d-\d\d\.\d{3}[_.]", "a date with milliseconds"),
    (Server::AntMedia, r"_\d+p(\d+kbps)?(_\d+)?\.(mp4|webm|m3u8)$", "a rendition such as `_480p500kbps`"),
    (Server::AntMedia, r"_\d{13}_init\.mp4$", "`_<time>_init.mp4`"),
    (Server::Srs, r"\.(flv|mp4)\.tmp$", "`.flv.tmp` or `.mp4.tmp`"),
    (Server::Srs, r"(^|[._-])\d{13}\.(flv|mp4)$", "a time in milliseconds"),
    (Server::Ome, r"^tmp_[A-Za-z0-9]{32}$", "`tmp_` and 32 characters"),
    (Server::Ome, r"\d{14}_\d{14}(_\d+)?\.(ts|mp4)$", "start and end as 14 digits"),
    (Server::Ome, r"^[0-9A-Za-z]{16}_[^_]+_[^_]+_.+_\d{14}\.(ts|mp4)$", "a transaction's id and a start as 14 digits"),
    (Server::MediaMtx, r"\d{4}-\d\d-\d\d_\d\d-\d\d-\d\d-\d{6}\.(mp4|ts)$", "a date with microseconds"),
    (Server::LiveKit, r"\d{4}-\d\d-\d\dT\d{6}\.\w+$|^EG_\w+\.json$", "a date such as `2024-01-02T150405`"),
    (Server::Obs, r"\d{4}-\d\d-\d\d \d\d-\d\d-\d\d( \(\d+\))?\.\w+$", "a date with a space"),
    (Server::NginxRtmp, r"-\d{10}\.flv$|-\d\d-[A-Z][a-z]{2}-\d\d-\d\d[:_-]\d\d[:_-]\d\d\.flv$", "a time in seconds"),
];

static COMPILED: LazyLock<Vec<ServerPattern>> = LazyLock::new(|| {
    let compile = |(server, pattern, words): &(Server, &str, &'static str)| {
        Some(ServerPattern { server: *server, pattern: super::pattern(pattern).ok()?, words })
    };
    MARKS.iter().filter_map(compile).collect()
});

/// Chooses by the file names found below a root.
pub fn choose_server<'a>(names: impl IntoIterator<Item = &'a str>) -> ServerChoice {
    let mut hits = vec![0_usize; COMPILED.len()];
    let mut seen = 0_usize;
    for name in names {
        seen += 1;
        for (mark, hit) in COMPILED.iter().zip(&mut hits) {
            *hit += usize::from(mark.pattern.is_match(name));
        }
    }
    let total = |server: Server| -> usize {
        COMPILED.iter().zip(&hits).filter(|(m, _)| m.server == server).map(|(_, h)| h).sum()
    };
    let mut ranked: Vec<_> = Server::ALL.into_iter().map(|s| (total(s), s)).filter(|(n, _)| *n > 0).collect();
    ranked.sort_by_key(|(hits, _)| std::cmp::Reverse(*hits));
    match ranked.as_slice() {
        [(first, server), rest @ ..] if rest.first().is_none_or(|second| second.0 < *first) => {
            ServerChoice { server: *server, reason: reason(*server, seen, &hits) }
        }
        [] => undecided(&format!("none of {seen} names matches a known server")),
        [(_, a), (_, b), ..] => undecided(&format!("names match {} and {} equally", a.name(), b.name())),
        [_] => undecided("the names are not conclusive"),
    }
}

fn undecided(why: &str) -> ServerChoice {
    ServerChoice { server: Server::Auto, reason: format!("{why}; each name is read by the preset that matches it") }
}

fn reason(server: Server, seen: usize, hits: &[usize]) -> String {
    let of_server = COMPILED.iter().zip(hits).filter(|(m, _)| m.server == server);
    let best = of_server.max_by_key(|(_, hits)| **hits);
    best.map_or_else(String::new, |(mark, hits)| format!("{hits} of {seen} names have {}", mark.words))
}

/// Chooses by what lies in a root, and by its path.
pub fn choose_for_root(root: &Path) -> ServerChoice {
    if is_antmedia_place(root) {
        return ServerChoice {
            server: Server::AntMedia,
            reason: "the path is `webapps/<application>/streams`, where Ant Media records".into(),
        };
    }
    let names = names_below(root);
    choose_server(names.iter().map(String::as_str))
}

fn is_antmedia_place(root: &Path) -> bool {
    let names: Vec<_> = root.components().map(|c| c.as_os_str().to_string_lossy()).collect();
    names.windows(3).any(|w| w[0] == "webapps" && w[2] == "streams")
}

fn names_below(root: &Path) -> Vec<String> {
    let mut names = Vec::new();
    let mut queue = VecDeque::from([(root.to_owned(), 0_usize)]);
    while let Some((directory, depth)) = queue.pop_front() {
        let Ok(entries) = std::fs::read_dir(&directory) else { continue };
        for entry in entries.flatten() {
            if names.len() >= MAX_NAMES {
                return names;
            }
            take(&entry, depth, &mut names, &mut queue);
        }
    }
    names
}

fn take(entry: &std::fs::DirEntry, depth: usize, names: &mut Vec<String>, queue: &mut VecDeque<(PathBuf, usize)>) {
    match entry.file_type() {
        Ok(kind) if kind.is_dir() && depth < MAX_DEPTH => queue.push_back((entry.path(), depth + 1)),
        Ok(kind) if kind.is_file() => names.push(entry.file_name().to_string_lossy().into_owned()),
        _ => {}
    }
}
