//! Building units from the playlists of one directory.

use std::collections::{BTreeSet, HashSet};
use std::fs;
use std::io::Read as _;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use crate::discover::error::DiscoverError;
use crate::discover::lease::{self, LeaseState};
use crate::durable;
use crate::recording::Fingerprint;

use super::folder::{DirectoryListing, Folders};
use super::limits::{LimitExceeded, LimitUsage, MAX_DEPTH, MAX_PLAYLIST_BYTES, MAX_SPARSE_RATIO, SPARSE_FROM_BYTES};
use super::sequence::SequenceWindow;
use super::{Unit, UnitFacts, UnitKind, m3u8, mpd, readiness, refused};

/// Newest segments whose times are looked at; older ones do not change any more.
const NEWEST_SEGMENTS: usize = 8;

/// The units of a directory, what they claim, and what could not be read.
#[derive(Debug, Default)]
pub(in crate::discover) struct Collected {
    pub(in crate::discover) units: Vec<Unit>,
    /// Names in this directory that belong to a unit; none of them is a recording.
    pub(in crate::discover) claimed_here: HashSet<String>,
    /// Files in directories below that belong to a unit.
    pub(in crate::discover) claimed_below: HashSet<PathBuf>,
    /// Playlists that could not be read or were refused: what they name is not known.
    pub(in crate::discover) problems: Vec<DiscoverError>,
}

impl Collected {
    /// Notes why a playlist is not known; of those refused in one directory the first stands for all.
    fn note(&mut self, problem: DiscoverError) {
        let is_refused = |known: &&mut DiscoverError| matches!(known, DiscoverError::PlaylistRefused { .. });
        match (self.problems.iter_mut().find(is_refused), &problem) {
            (Some(DiscoverError::PlaylistRefused { others, .. }), DiscoverError::PlaylistRefused { .. }) => {
                *others = true;
            }
            _ => self.problems.push(problem),
        }
    }

    /// Adds a path relative to the directory.
    fn claim(&mut self, directory: &Path, relative: &str) {
        if relative.contains('/') {
            self.claimed_below.insert(directory.join(relative));
        } else {
            self.claimed_here.insert(relative.to_owned());
        }
    }
}

/// What one playlist and those it names come to; paths are relative to the unit's directory.
#[derive(Debug, Default)]
struct PlaylistContents {
    segments: Vec<String>,
    playlists: Vec<String>,
    known_playlists: HashSet<String>,
    missing: usize,
    has_live: bool,
    has_media: bool,
    /// Media playlists without an end.
    unended: Vec<String>,
    target_ms: i64,
    changed_ms: i64,
    newest: Option<String>,
    /// Segments that a sliding playlist names no longer or (true) not yet.
    beside: Vec<(String, bool)>,
}

struct PlaylistReader<'a> {
    directory: &'a Path,
    folders: Folders<'a>,
    spent: LimitUsage,
}

/// Builds the units of a directory. Playlists in `claimed` already belong to a master playlist further up.
///
/// With `antmedia`, files named `<playlist name>%09d.ts` are claimed although the playlist no longer names them.
pub(in crate::discover) fn collect(
    directory: &Path,
    root: &Path,
    listing: &DirectoryListing,
    claimed: &HashSet<PathBuf>,
    antmedia: bool,
    now_ms: i64,
) -> Collected {
    let mut spent = LimitUsage::default();
    let folders = Folders::new(directory, listing, &mut spent);
    let mut reader = PlaylistReader { directory, folders, spent };
    let mut collected = Collected::default();
    let mut variants = HashSet::new();
    // In order, so that the same ones are refused every time where not all can be read.
    let mut playlists: Vec<_> = listing.playlists.iter().collect();
    playlists.sort_unstable_by_key(|(name, _)| name);
    for (name, kind) in playlists.into_iter().filter(|(name, _)| !claimed.contains(&directory.join(name))) {
        crate::stop::check();
        match reader.read(name, *kind, now_ms) {
            Ok(Some((unit, parts))) => {
                // Once nothing is written any more, a segment that was never named is a recording by itself.
                let beside = parts.beside.iter().filter(|(_, is_coming)| !is_coming || !unit.ready.is_ready());
                let beside = beside.map(|(relative, _)| relative);
                parts.segments.iter().chain(&parts.playlists).chain(beside).for_each(|r| collected.claim(directory, r));
                variants.extend(parts.playlists.into_iter().filter(|p| p != name));
                collected.units.push(Unit { root: root.to_owned(), ..unit });
            }
            Ok(None) => {}
            Err(problem) => collected.note(problem),
        }
    }
    if antmedia {
        collected.claimed_here.extend(antmedia_segments(listing).cloned());
    }
    let variants: HashSet<PathBuf> = variants.iter().map(|relative| directory.join(relative)).collect();
    collected.units.retain(|unit| !variants.contains(&unit.playlist));
    collected.units.sort_by(|a, b| a.playlist.cmp(&b.playlist));
    collected
}

/// Names of the form `<playlist name>` and exactly nine digits, `.ts` or `.fmp4`, whose playlist is there.
fn antmedia_segments(listing: &DirectoryListing) -> impl Iterator<Item = &String> {
    let playlists: HashSet<&str> = listing.playlists.iter().filter_map(|(n, _)| n.strip_suffix(".m3u8")).collect();
    listing.names.iter().filter(move |name| antmedia_playlist(name).is_some_and(|p| playlists.contains(p)))
}

/// The playlist (without extension) whose segment a name would be: `room1000000042.ts` is `room1`'s.
pub(in crate::discover) fn antmedia_playlist(name: &str) -> Option<&str> {
    let stem = name.strip_suffix(".ts").or_else(|| name.strip_suffix(".fmp4"))?;
    let at = stem.len().checked_sub(9).filter(|at| *at > 0)?;
    (stem.is_char_boundary(at) && stem[at..].bytes().all(|b| b.is_ascii_digit())).then(|| &stem[..at])
}

/// Why a playlist was not read to its end.
enum PlaylistError {
    Excess(LimitExceeded),
    /// Of itself, or of a playlist that it names.
    Problem(DiscoverError),
}

impl From<LimitExceeded> for PlaylistError {
    fn from(excess: LimitExceeded) -> Self {
        Self::Excess(excess)
    }
}

impl From<DiscoverError> for PlaylistError {
    fn from(problem: DiscoverError) -> Self {
        Self::Problem(problem)
    }
}

impl PlaylistReader<'_> {
    fn read(
        &mut self,
        name: &str,
        kind: UnitKind,
        now_ms: i64,
    ) -> Result<Option<(Unit, PlaylistContents)>, DiscoverError> {
        let playlist = self.directory.join(name);
        self.parts(name, kind)
            .map(|found| found.map(|(parts, fingerprint)| (self.unit(name, kind, &parts, fingerprint, now_ms), parts)))
            .map_err(|stop| match stop {
                PlaylistError::Excess(excess) => excess.of(&playlist),
                PlaylistError::Problem(problem) => problem,
            })
    }

    fn parts(&mut self, name: &str, kind: UnitKind) -> Result<Option<(PlaylistContents, Fingerprint)>, PlaylistError> {
        let Some(read) = read_playlist(&self.directory.join(name), &mut self.spent)? else { return Ok(None) };
        let fingerprint = read.1;
        let mut parts = PlaylistContents { changed_ms: fingerprint.mtime_ms(), ..PlaylistContents::default() };
        match kind {
            UnitKind::Hls => self.add_hls(&read, name, 0, &mut parts)?,
            UnitKind::Dash => self.add_dash(&read, name, &mut parts)?,
        }
        Ok(Some((parts, fingerprint)))
    }

    fn unit(
        &self,
        name: &str,
        kind: UnitKind,
        parts: &PlaylistContents,
        fingerprint: Fingerprint,
        now_ms: i64,
    ) -> Unit {
        // A master playlist whose variants are not there yet has not ended.
        let has_ended = parts.has_media && !parts.has_live;
        let facts = UnitFacts {
            has_ended,
            target_ms: parts.target_ms,
            changed_ms: parts.changed_ms,
            has_writer: !has_ended && self.is_written(name, parts.newest.as_deref()),
        };
        Unit {
            kind,
            root: PathBuf::new(),
            ready: readiness(facts, now_ms),
            files: self.in_order(parts, name),
            unended: parts.unended.iter().map(|relative| self.directory.join(relative)).collect(),
            playlist: self.directory.join(name),
            missing: parts.missing,
            fingerprint,
            changed_ms: parts.changed_ms,
        }
    }

    /// Adds what an HLS playlist names, and what those playlists name; its own name is relative to the unit's directory.
    fn add_hls(
        &mut self,
        read: &PlaylistText,
        name: &str,
        depth: usize,
        parts: &mut PlaylistContents,
    ) -> Result<(), PlaylistError> {
        let list = m3u8::parse(&read.0).map_err(|excess| self.refuse(name, read, excess))?;
        let below = &name[..name.rfind('/').map_or(0, |slash| slash + 1)];
        let is_media = list.variants.is_empty();
        parts.has_media |= is_media;
        if is_media && !list.has_ended {
            parts.has_live = true;
            parts.unended.push(name.to_owned());
        }
        parts.target_ms = parts.target_ms.max(list.target_ms);
        self.add_segments(list.segments.iter().map(String::as_str), below, !list.has_ended, parts)?;
        self.add_beside(&list, below, parts)?;
        for variant in list.variants.iter().filter(|_| depth < MAX_DEPTH) {
            let Some(relative) = self.resolve(variant, below)? else {
                parts.missing += usize::from(!m3u8::readings(variant).is_empty());
                continue;
            };
            if !parts.known_playlists.insert(relative.clone()) {
                continue;
            }
            let path = self.directory.join(&relative);
            let read = read_playlist(&path, &mut self.spent).map_err(|stop| match stop {
                PlaylistError::Excess(excess) => PlaylistError::Problem(excess.of(&path)),
                problem @ PlaylistError::Problem(_) => problem,
            })?;
            if let Some(read) = read {
                parts.changed_ms = parts.changed_ms.max(read.1.mtime_ms());
                parts.playlists.push(relative.clone());
                self.add_hls(&read, &relative, depth + 1, parts)?;
            }
        }
        Ok(())
    }

    fn add_beside(
        &mut self,
        list: &m3u8::Playlist,
        below: &str,
        parts: &mut PlaylistContents,
    ) -> Result<(), LimitExceeded> {
        // Some servers count from 1.
        let window = SequenceWindow { slides: list.media_sequence > 1, is_live: !list.has_ended };
        if window.slides || window.is_live {
            let beside = self.folders.beside(below, &list.segments, window, &mut self.spent)?;
            self.spent.mention(beside.len())?;
            parts.beside.extend(beside);
        }
        Ok(())
    }

    fn add_segments<'n>(
        &mut self,
        names: impl Iterator<Item = &'n str>,
        below: &str,
        live: bool,
        parts: &mut PlaylistContents,
    ) -> Result<(), LimitExceeded> {
        let first = parts.segments.len();
        for name in names {
            match self.resolve(name, below)? {
                Some(relative) => parts.segments.push(relative),
                None => parts.missing += usize::from(!m3u8::readings(name).is_empty()),
            }
        }
        if live {
            let from = first.max(parts.segments.len().saturating_sub(NEWEST_SEGMENTS));
            parts.changed_ms = parts.changed_ms.max(self.newest_change_ms(&parts.segments[from..]));
            parts.newest = parts.segments.last().cloned();
        }
        Ok(())
    }

    /// What the text of a playlist asks for is too much, and will be as long as it is not changed.
    fn refuse(&self, name: &str, read: &PlaylistText, excess: LimitExceeded) -> PlaylistError {
        let path = self.directory.join(name);
        refused::remember(&path, read.1, excess);
        PlaylistError::Problem(excess.of(&path))
    }

    fn add_dash(&mut self, read: &PlaylistText, name: &str, parts: &mut PlaylistContents) -> Result<(), PlaylistError> {
        let manifest = mpd::parse(&read.0).map_err(|excess| self.refuse(name, read, excess))?;
        (parts.has_media, parts.has_live) = (true, !manifest.has_ended);
        parts.target_ms = manifest.target_ms;
        let mut matching = BTreeSet::new();
        for pattern in &manifest.patterns {
            matching.extend(self.folders.matching(pattern, &mut self.spent)?);
        }
        let names = manifest.names.iter().chain(&matching).map(String::as_str);
        Ok(self.add_segments(names, "", !manifest.has_ended, parts)?)
    }

    /// The path below the unit's directory of a name in a playlist there, if the file exists.
    fn resolve(&mut self, name: &str, below: &str) -> Result<Option<String>, LimitExceeded> {
        for reading in m3u8::readings(name) {
            let relative = format!("{below}{reading}");
            if self.folders.has(&relative, &mut self.spent)? {
                self.spent.mention(1)?;
                return Ok(Some(relative));
            }
        }
        self.spent.look_in_vain(1)?;
        Ok(None)
    }

    /// Segments, then variants, the playlist last; each once.
    fn in_order(&self, parts: &PlaylistContents, playlist: &str) -> Vec<PathBuf> {
        let mut seen = HashSet::new();
        let files = parts.segments.iter().chain(&parts.playlists).map(String::as_str).filter(|file| *file != playlist);
        files.chain([playlist]).filter(|file| seen.insert(*file)).map(|file| self.directory.join(file)).collect()
    }

    fn newest_change_ms(&self, files: &[String]) -> i64 {
        let times = files.iter().filter_map(|file| fs::symlink_metadata(self.directory.join(file)).ok());
        times.map(|m| Fingerprint::of(&m).mtime_ms()).max().unwrap_or(i64::MIN)
    }

    fn is_written(&self, playlist: &str, newest: Option<&str>) -> bool {
        let mut files = [Some(playlist), newest].into_iter().flatten();
        files.any(|file| lease::probe(&self.directory.join(file)) == LeaseState::Held)
    }
}

/// The text of a playlist, and its fingerprint.
type PlaylistText = (String, Fingerprint);

/// Reads a playlist with its fingerprint; `None` if it vanished or is no file.
fn read_playlist(path: &Path, spent: &mut LimitUsage) -> Result<Option<PlaylistText>, PlaylistError> {
    let unreadable = |source| DiscoverError::Unreadable { path: path.to_owned(), source };
    let metadata = match fs::symlink_metadata(path) {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        other => other.map_err(unreadable)?,
    };
    if !metadata.is_file() {
        return Ok(None);
    }
    check_size(&metadata)?;
    refused::check(path, Fingerprint::of(&metadata))?;
    spent.read(metadata.len())?;
    let mut bytes = Vec::new();
    // It may grow meanwhile.
    let opened = durable::open_to_read(path).map_err(|error| error.source);
    let read = opened.and_then(|file| file.take(MAX_PLAYLIST_BYTES).read_to_end(&mut bytes));
    match read {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(unreadable(e).into()),
        Ok(_) => {
            let text = String::from_utf8(bytes).unwrap_or_else(|e| String::from_utf8_lossy(e.as_bytes()).into_owned());
            Ok(Some((text, Fingerprint::of(&metadata))))
        }
    }
}

fn check_size(metadata: &fs::Metadata) -> Result<(), LimitExceeded> {
    let (length, on_disk) = (metadata.len(), metadata.blocks().saturating_mul(512));
    if length > MAX_PLAYLIST_BYTES {
        return Err(LimitExceeded { what: "bytes", limit: MAX_PLAYLIST_BYTES });
    }
    if length > SPARSE_FROM_BYTES && length > on_disk.saturating_mul(MAX_SPARSE_RATIO) {
        return Err(LimitExceeded { what: "bytes for each byte that is allocated on disk", limit: MAX_SPARSE_RATIO });
    }
    Ok(())
}
