//! Clips, and what was read for them, kept for the next request: a player asks for many ranges of one clip, and for many clips of one
//! recording.

use std::hash::Hash;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::choose::{Asked, Format, chosen, gap};
use super::cut::{Budget, Wanted, cut};
use super::error::ClipError;
use super::indexed::Indexed;
use super::join::{Piece, joined};
use super::layout::Clip;
use super::{fragmented, progressive};
use crate::catalog::Shared;
use crate::durable;
use crate::memory;
use crate::recording::{Fingerprint, VodRecord};

/// Parts of this process's memory that tables, and clips, are kept in.
const MEMORY_PARTS: u64 = 32;
const MOST_KEPT_BYTES: u64 = 128 << 20;
/// By how much the start time of a recording may be too early: names often have whole seconds. A recording that begins so little before
/// the end of the one before is taken to begin there.
const INEXACT_MS: i64 = 1000;
/// Version of what is written: clips of different versions are different.
const LAYOUT_VERSION: u32 = 1;

/// Makes clips.
#[derive(Debug, Default)]
pub struct Clips {
    tables: Mutex<Kept<Fingerprint, Arc<Indexed>>>,
    made: Mutex<Kept<String, Arc<Clip>>>,
    /// Held by the one clip that is being made: each may take much memory.
    making: Mutex<()>,
}

impl Clips {
    /// The clip that is asked for.
    pub fn clip(&self, shared: &Shared, asked: &Asked) -> Result<Arc<Clip>, ClipError> {
        asked.check()?;
        let vods = chosen(shared, asked)?;
        let files = vods.iter().map(local).collect::<Result<Vec<_>, ClipError>>()?;
        let etag = etag(asked, &vods, &files);
        if let Some(clip) = locked(&self.made).get(&etag) {
            return Ok(clip);
        }
        let _one_at_a_time = locked(&self.making);
        if let Some(clip) = locked(&self.made).get(&etag) {
            return Ok(clip);
        }
        let clip = self.make(asked, &vods, &files, etag.clone())?;
        locked(&self.made).put(etag, Arc::clone(&clip), clip.memory_bytes());
        Ok(clip)
    }

    fn make(
        &self,
        asked: &Asked,
        vods: &[VodRecord],
        files: &[(PathBuf, Fingerprint)],
        etag: String,
    ) -> Result<Arc<Clip>, ClipError> {
        let mut budget = Budget::of_process();
        let pieces = self.pieces(asked, vods, files, &mut budget)?;
        let tracks = joined(&pieces, asked.end_ms - asked.start_ms, &mut budget)?;
        if tracks.is_empty() {
            return Err(gap(asked, None));
        }
        let laying = match asked.format {
            Format::Mp4 => progressive::lay(&tracks, asked.start_ms)?,
            Format::Fragmented => fragmented::lay(&tracks, asked.start_ms)?,
        };
        Ok(laying.finish(&pieces, etag))
    }

    /// What each recording gives. They follow one another: where one begins before the end of the one before, it goes on at its first
    /// keyframe behind it.
    fn pieces(
        &self,
        asked: &Asked,
        vods: &[VodRecord],
        files: &[(PathBuf, Fingerprint)],
        budget: &mut Budget,
    ) -> Result<Vec<Piece>, ClipError> {
        let mut pieces: Vec<Piece> = Vec::new();
        let mut end_ms: Option<i64> = None;
        for (vod, (path, fingerprint)) in vods.iter().zip(files) {
            let file = self.indexed(path, fingerprint)?;
            let Some((start_ms, wanted)) = wanted(asked, vod.start_time, file.end_ms, end_ms) else { continue };
            let cuts = cut(&file, wanted, budget)?;
            if cuts.is_empty() {
                continue;
            }
            end_ms = Some(start_ms.saturating_add(file.end_ms));
            pieces.push(Piece { begins_ms: start_ms - asked.start_ms, start_ms, file, cuts });
        }
        Ok(pieces)
    }

    fn indexed(&self, path: &Path, fingerprint: &Fingerprint) -> Result<Arc<Indexed>, ClipError> {
        let kept = locked(&self.tables).get(fingerprint);
        // The same file under another name since is the same file.
        if let Some(kept) = kept.filter(|kept| kept.path == path) {
            return Ok(kept);
        }
        let file = Arc::new(Indexed::read(path)?);
        if file.fingerprint != *fingerprint {
            return Err(ClipError::Changed { path: path.to_owned() });
        }
        locked(&self.tables).put(*fingerprint, Arc::clone(&file), file.memory_bytes);
        Ok(file)
    }
}

/// When a recording begins on the wall, and what of it is wanted. `before_ms` is where the recording before ends.
fn wanted(asked: &Asked, start_ms: i64, length_ms: i64, before_ms: Option<i64>) -> Option<(i64, Wanted)> {
    let overlap_ms = before_ms.map_or(0, |before| before - start_ms);
    let (start_ms, from_ms) = match overlap_ms {
        ..=0 => (start_ms, 0),
        1..=INEXACT_MS => (start_ms + overlap_ms, 0),
        _ => (start_ms, overlap_ms),
    };
    let may_precede = before_ms.is_none();
    let from_ms = if may_precede { (asked.start_ms - start_ms).max(0) } else { from_ms };
    let to_ms = (asked.end_ms - start_ms).min(length_ms);
    (from_ms < to_ms).then_some((start_ms, Wanted { from_ms, to_ms: asked.end_ms - start_ms, may_precede }))
}

/// The file of a VoD as it is now.
fn local(vod: &VodRecord) -> Result<(PathBuf, Fingerprint), ClipError> {
    let path = vod.file_path.clone();
    if !vod.container.is_iso() {
        return Err(ClipError::Container { path, container: vod.container });
    }
    let not_local =
        |path| ClipError::NotLocal { path, urls: vod.remote.iter().map(|object| object.url.clone()).collect() };
    if vod.freed_at.is_some() {
        return Err(not_local(path));
    }
    match durable::fingerprint(&path) {
        Ok(fingerprint) => Ok((path, fingerprint)),
        Err(error) if error.is_missing() => Err(not_local(path)),
        Err(error) => Err(error.into()),
    }
}

fn etag(asked: &Asked, vods: &[VodRecord], files: &[(PathBuf, Fingerprint)]) -> String {
    let mut hash = blake3::Hasher::new();
    let format = u32::from(asked.format == Format::Fragmented);
    hash.update(&LAYOUT_VERSION.to_be_bytes()).update(&format.to_be_bytes());
    hash.update(&asked.start_ms.to_be_bytes()).update(&asked.end_ms.to_be_bytes());
    for (vod, (_, fingerprint)) in vods.iter().zip(files) {
        hash.update(vod.vod_id.as_bytes()).update(&[0]).update(&vod.start_time.to_be_bytes());
        for number in [fingerprint.device, fingerprint.inode, fingerprint.size_bytes] {
            hash.update(&number.to_be_bytes());
        }
        hash.update(&fingerprint.mtime_ns.to_be_bytes());
    }
    let mut tag = [0; 16];
    hash.finalize_xof().fill(&mut tag);
    hex::encode(tag)
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Values by key, the last used first, bounded by what they take in memory.
#[derive(Debug)]
struct Kept<K, V> {
    rows: Vec<(K, V, u64)>,
    limit_bytes: u64,
}

impl<K, V> Default for Kept<K, V> {
    fn default() -> Self {
        Self { rows: Vec::new(), limit_bytes: memory::share(MEMORY_PARTS, MOST_KEPT_BYTES) }
    }
}

impl<K: Eq + Hash, V: Clone> Kept<K, V> {
    fn get(&mut self, key: &K) -> Option<V> {
        let at = self.rows.iter().position(|(known, ..)| known == key)?;
        self.rows[..=at].rotate_right(1);
        self.rows.first().map(|(_, value, _)| value.clone())
    }

    /// Keeps a value; what was not used for the longest time goes if there is too much. One that is too large by itself is not kept.
    fn put(&mut self, key: K, value: V, bytes: u64) {
        if bytes > self.limit_bytes {
            return;
        }
        self.rows.retain(|(known, ..)| *known != key);
        self.rows.insert(0, (key, value, bytes.max(1 << 10)));
        while self.rows.iter().map(|(.., bytes)| bytes).sum::<u64>() > self.limit_bytes {
            self.rows.pop();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_not_used_for_the_longest_time_goes() {
        let mut kept = Kept { rows: Vec::new(), limit_bytes: 10 << 10 };
        for key in 0..3 {
            kept.put(key, key, 4 << 10);
        }
        assert_eq!([0, 1, 2].map(|key| kept.get(&key)), [None, Some(1), Some(2)]);
        assert_eq!(kept.get(&1), Some(1));
        kept.put(3, 3, 4 << 10);
        assert_eq!([1, 2, 3].map(|key| kept.get(&key)), [Some(1), None, Some(3)]);
        kept.put(4, 4, 11 << 10);
        assert_eq!((kept.get(&4), kept.get(&3)), (None, Some(3)));
    }

    #[test]
    fn a_recording_goes_on_where_the_one_before_ends() {
        let asked = Asked {
            stream: "x".into(),
            server: None,
            rendition: None,
            start_ms: 10_000,
            end_ms: 20_000,
            format: Format::Mp4,
        };
        let of = |start_ms, before_ms| {
            let (start_ms, span) = wanted(&asked, start_ms, 8000, before_ms)?;
            Some((start_ms, span.from_ms, span.to_ms, span.may_precede))
        };
        assert_eq!(of(4000, None), Some((4000, 6000, 16_000, true)));
        assert_eq!(of(12_000, None), Some((12_000, 0, 8000, true)));
        assert_eq!((of(1000, None), of(20_000, None)), (None, None));
        // Behind a gap, a little before its end by an inexact name, long before its end, wholly before it.
        assert_eq!(of(13_000, Some(12_000)), Some((13_000, 0, 7000, false)));
        assert_eq!(of(13_000, Some(13_900)), Some((13_900, 0, 6100, false)));
        assert_eq!(of(11_000, Some(15_000)), Some((11_000, 4000, 9000, false)));
        assert_eq!(of(11_000, Some(19_500)), None);
    }
}
