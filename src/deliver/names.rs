//! The keys that an asset is tried under. Pure.
//!
//! A file alone is numbered before its extension: `x.mp4`, `x_1.mp4`. A unit of several files (HLS, DASH) keeps its
//! file names, because playlists refer to them, and goes into a numbered directory beside: `room1_1/…`.

use std::path::Path;

use super::TargetOptions;
use crate::recording::{Asset, KeyFacts, object_key};

/// The keys of an asset's files, in their order, at the `n`-th try; 0 is the plain one.
pub(super) fn keys(options: &TargetOptions, prefix: &str, asset: &Asset, date: &str, n: u32) -> Vec<String> {
    let plain: Vec<_> = asset.files.iter().map(|f| plain_key(options, prefix, asset, date, &f.path)).collect();
    match plain.as_slice() {
        _ if n == 0 => plain,
        [single] => vec![numbered(single, n)],
        _ => beside(&plain, n),
    }
}

fn plain_key(options: &TargetOptions, prefix: &str, asset: &Asset, date: &str, path: &Path) -> String {
    let outside = || Path::new(path.file_name().unwrap_or_default());
    let facts = KeyFacts {
        relative_path: path.strip_prefix(&asset.root).unwrap_or_else(|_| outside()),
        root: &asset.root,
        stream_id: &asset.stream_id,
        date,
        vod_id: asset.vod_id.as_deref().unwrap_or_default(),
    };
    object_key(prefix, &options.key, &facts)
}

fn split_stem(key: &str) -> (&str, &str) {
    let name_at = key.rfind('/').map_or(0, |slash| slash + 1);
    match key[name_at..].rfind('.') {
        Some(dot) if dot > 0 => key.split_at(name_at + dot),
        _ => (key, ""),
    }
}

fn numbered(key: &str, n: u32) -> String {
    let (stem, extension) = split_stem(key);
    format!("{stem}_{n}{extension}")
}

/// Puts a directory named after the last file (the playlist) below the directory that all files share.
fn beside(plain: &[String], n: u32) -> Vec<String> {
    let Some(playlist) = plain.last() else { return Vec::new() };
    let shared = plain.iter().fold(directory(playlist), |shared, key| shared_directory(shared, directory(key)));
    let (stem, _) = split_stem(playlist);
    let name = stem.rsplit('/').next().unwrap_or(stem);
    plain.iter().map(|key| format!("{shared}{name}_{n}/{}", &key[shared.len()..])).collect()
}

/// With its slash; empty at the top.
fn directory(key: &str) -> &str {
    &key[..key.rfind('/').map_or(0, |slash| slash + 1)]
}

fn shared_directory<'a>(a: &'a str, b: &str) -> &'a str {
    let segments = a.split_inclusive('/').zip(b.split_inclusive('/'));
    let len: usize = segments.take_while(|(x, y)| x == y).map(|(x, _)| x.len()).sum();
    &a[..len]
}

/// Whether a file tells players what else there is, so that it must not appear before the rest.
pub(super) fn is_manifest(key: &str) -> bool {
    let extension = key.rsplit_once('.').map(|(_, e)| e.to_ascii_lowercase());
    matches!(extension.as_deref(), Some("m3u8" | "mpd"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::recording::{AssetFile, Fingerprint, Kind};

    fn asset(paths: &[&str]) -> Asset {
        let fingerprint = Fingerprint { device: 0, inode: 0, size_bytes: 0, mtime_ns: 0 };
        let file = |p: &&str| AssetFile::new(Path::new("/srv").join(p), fingerprint);
        Asset {
            id: "id".into(),
            kind: Kind::Recording,
            vod_id: None,
            stream_id: "room1".into(),
            root: "/srv".into(),
            start_ms: 0,
            duration_ms: None,
            salvaged: false,
            files: paths.iter().map(file).collect(),
        }
    }

    fn names(paths: &[&str], n: u32) -> Vec<String> {
        keys(&TargetOptions::new("t", "s3://b/p"), "p", &asset(paths), "2026-03-04", n)
    }

    #[test]
    fn a_single_file_is_numbered_before_its_extension() {
        assert_eq!(names(&["a.b/x.y.mp4"], 0), ["p/a.b/x.y.mp4"]);
        assert_eq!(names(&["a.b/x.y.mp4"], 2), ["p/a.b/x.y_2.mp4"]);
        assert_eq!(names(&["a.b/.hidden"], 1), ["p/a.b/.hidden_1"]);
        assert_eq!(names(&["a.b/noext"], 1), ["p/a.b/noext_1"]);
    }

    #[test]
    fn a_unit_moves_as_a_whole_so_that_its_playlist_stays_true() {
        let unit = ["live/seg/0.ts", "live/seg/1.ts", "live/room1.m3u8"];
        assert_eq!(names(&unit, 0), ["p/live/seg/0.ts", "p/live/seg/1.ts", "p/live/room1.m3u8"]);
        assert_eq!(
            names(&unit, 1),
            ["p/live/room1_1/seg/0.ts", "p/live/room1_1/seg/1.ts", "p/live/room1_1/room1.m3u8"]
        );
        let apart = ["seg10/0.ts", "seg1/room.m3u8"];
        assert_eq!(names(&apart, 1), ["p/room_1/seg10/0.ts", "p/room_1/seg1/room.m3u8"]);
    }

    #[test]
    fn playlists_and_manifests_are_told_from_segments() {
        assert!(is_manifest("a/x.M3U8") && is_manifest("x.mpd") && !is_manifest("x.ts"));
    }
}
