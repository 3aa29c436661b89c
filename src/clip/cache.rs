//! Clips, and what was read for them, kept for the next request: a player asks for many ranges of one clip, and for many clips of one
//! recording.

use std::collections::HashMap;
use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use super::choose::{ClipFormat, ClipRequest, chosen, gap};
use super::cut::{CutRange, SampleBudget, cut};
use super::error::ClipError;
use super::indexed::IndexedFile;
use super::join::{ClipPiece, joined};
use super::kept::LruCache;
use super::layout::Clip;
use super::place::Place;
use super::stores::{KeptOfStores, Stores};
use super::{fragmented, progressive};
use crate::catalog::SharedCatalog;
use crate::deliver::Targets;
use crate::durable;
use crate::recording::VodRecord;
use crate::stop::Stop;

/// Recordings of one clip that are read from stores: each takes some requests.
const MOST_STORED: usize = 64;
/// Clips that are made from stores at once: a store that does not answer must not take all operations with it.
const MOST_MAKING: u32 = 8;
/// By how much the start time of a recording may be too early: names often have whole seconds. A recording that begins so little before
/// the end of the one before is taken to begin there.
const INEXACT_MS: i64 = 1000;
/// Version of what is written: clips of different versions are different.
const LAYOUT_VERSION: u32 = 2;

/// Makes clips.
#[derive(Debug, Default)]
pub struct ClipCache {
    tables: Mutex<LruCache<Place, Arc<IndexedFile>>>,
    made: Mutex<LruCache<String, Arc<Clip>>>,
    /// Held by the one clip that is being made: each may take much memory.
    making: Mutex<()>,
    of_stores: Arc<KeptOfStores>,
    /// Clips for which stores are being asked.
    asking: AtomicU32,
}

impl ClipCache {
    /// The stores that these targets are; a stop ends what is asked of them.
    pub fn stores(&self, targets: Arc<Targets>, stop: Stop) -> Stores {
        Stores { kept: Arc::clone(&self.of_stores), targets, stop, begun: Instant::now() }
    }

    /// The clip that is asked for.
    pub fn clip(
        &self,
        shared: &SharedCatalog,
        stores: &Stores,
        clip_request: &ClipRequest,
    ) -> Result<Arc<Clip>, ClipError> {
        clip_request.check()?;
        let vods = chosen(shared, clip_request)?;
        let local = vods.iter().map(local).collect::<Result<Vec<_>, ClipError>>()?;
        let freed = local.iter().filter(|place| place.is_none()).count();
        if freed > MOST_STORED {
            let limit = MOST_STORED as u64;
            return Err(ClipError::Limit {
                what: "recordings that are not on the local disk",
                found: freed as u64,
                limit,
            });
        }
        let _turn = if freed > 0 { Some(Turn::take(&self.asking)?) } else { None };
        let place = |(vod, local): (&VodRecord, Option<Place>)| local.map_or_else(|| stores.place_of(vod), Ok);
        let places = vods.iter().zip(local).map(place).collect::<Result<Vec<_>, ClipError>>()?;
        let etag = etag(clip_request, &vods, &places);
        if let Some(clip) = locked(&self.made).get(&etag) {
            return Ok(clip);
        }
        // Nobody who makes a clip of local files waits for a store.
        let fetched = self.fetched(&vods, &places, stores)?;
        let _one_at_a_time = locked(&self.making);
        if let Some(clip) = locked(&self.made).get(&etag) {
            return Ok(clip);
        }
        let clip = self.make(clip_request, &vods, &places, &fetched, etag.clone())?;
        locked(&self.made).put(etag, Arc::clone(&clip), clip.memory_bytes());
        Ok(clip)
    }

    /// The tables of objects in stores.
    fn fetched(&self, vods: &[VodRecord], places: &[Place], stores: &Stores) -> Result<Fetched, ClipError> {
        let mut fetched = Fetched::new();
        for (vod, place) in vods.iter().zip(places) {
            let Place::Object(object) = place else { continue };
            let kept = locked(&self.tables).get(place);
            let file = if let Some(kept) = kept {
                kept
            } else {
                let file = Arc::new(IndexedFile::read_object(&vod.file_path, object, stores)?);
                locked(&self.tables).put(place.clone(), Arc::clone(&file), file.memory_bytes);
                file
            };
            fetched.insert(place.clone(), file);
        }
        Ok(fetched)
    }

    fn make(
        &self,
        clip_request: &ClipRequest,
        vods: &[VodRecord],
        places: &[Place],
        fetched: &Fetched,
        etag: String,
    ) -> Result<Arc<Clip>, ClipError> {
        let mut budget = SampleBudget::of_process();
        let pieces = self.pieces(clip_request, vods, (places, fetched), &mut budget)?;
        let tracks = joined(&pieces, clip_request.end_ms - clip_request.start_ms, &mut budget)?;
        if tracks.is_empty() {
            return Err(gap(clip_request, None));
        }
        let laying = match clip_request.format {
            ClipFormat::Mp4 => progressive::lay(&tracks, clip_request.start_ms)?,
            ClipFormat::Fragmented => fragmented::lay(&tracks, clip_request.start_ms)?,
        };
        Ok(laying.finish(&pieces, etag))
    }

    /// What each recording gives. They follow one another: where one begins before the end of the one before, it goes on at its first
    /// keyframe behind it.
    fn pieces(
        &self,
        clip_request: &ClipRequest,
        vods: &[VodRecord],
        (places, fetched): (&[Place], &Fetched),
        budget: &mut SampleBudget,
    ) -> Result<Vec<ClipPiece>, ClipError> {
        let mut pieces: Vec<ClipPiece> = Vec::new();
        let mut end_ms: Option<i64> = None;
        for (vod, place) in vods.iter().zip(places) {
            let file = match (fetched.get(place), place) {
                (Some(file), _) => Arc::clone(file),
                (None, Place::File { path, .. }) => self.indexed(path, place)?,
                (None, Place::Object(_)) => continue,
            };
            let Some((start_ms, wanted)) = wanted(clip_request, vod.start_time, file.end_ms, end_ms) else { continue };
            let cuts = cut(&file, wanted, budget)?;
            if cuts.is_empty() {
                continue;
            }
            end_ms = Some(start_ms.saturating_add(file.end_ms));
            pieces.push(ClipPiece { begins_ms: start_ms - clip_request.start_ms, start_ms, file, cuts });
        }
        Ok(pieces)
    }

    fn indexed(&self, path: &Path, place: &Place) -> Result<Arc<IndexedFile>, ClipError> {
        if let Some(kept) = locked(&self.tables).get(place) {
            return Ok(kept);
        }
        let file = Arc::new(IndexedFile::read(path)?);
        if file.place != *place {
            return Err(ClipError::Changed { path: path.to_owned() });
        }
        locked(&self.tables).put(place.clone(), Arc::clone(&file), file.memory_bytes);
        Ok(file)
    }
}

/// Tables of objects by where these are.
type Fetched = HashMap<Place, Arc<IndexedFile>>;

/// The turn of a clip to ask stores.
struct Turn<'a>(&'a AtomicU32);

impl<'a> Turn<'a> {
    fn take(asking: &'a AtomicU32) -> Result<Self, ClipError> {
        // Made first: it gives back what was counted, also where that was too much.
        let turn = Self(asking);
        let others = asking.fetch_add(1, Ordering::Relaxed);
        if others < MOST_MAKING { Ok(turn) } else { Err(ClipError::Busy) }
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// When a recording begins on the wall, and what of it is wanted. `before_ms` is where the recording before ends.
fn wanted(
    clip_request: &ClipRequest,
    start_ms: i64,
    length_ms: i64,
    before_ms: Option<i64>,
) -> Option<(i64, CutRange)> {
    let overlap_ms = before_ms.map_or(0, |before| before - start_ms);
    let (start_ms, from_ms) = match overlap_ms {
        ..=0 => (start_ms, 0),
        1..=INEXACT_MS => (start_ms + overlap_ms, 0),
        _ => (start_ms, overlap_ms),
    };
    let may_precede = before_ms.is_none();
    let from_ms = if may_precede { (clip_request.start_ms - start_ms).max(0) } else { from_ms };
    let to_ms = (clip_request.end_ms - start_ms).min(length_ms);
    (from_ms < to_ms).then_some((start_ms, CutRange { from_ms, to_ms: clip_request.end_ms - start_ms, may_precede }))
}

/// The local file of a VoD as it is now; `None` if there is none.
fn local(vod: &VodRecord) -> Result<Option<Place>, ClipError> {
    let path = vod.file_path.clone();
    if !vod.container.is_iso() {
        return Err(ClipError::Container { path, container: vod.container });
    }
    if vod.freed_at.is_some() {
        return Ok(None);
    }
    match durable::fingerprint(&path) {
        Ok(fingerprint) => Ok(Some(Place::File { path, fingerprint })),
        Err(error) if error.is_missing() => Ok(None),
        Err(error) => Err(error.into()),
    }
}

fn etag(clip_request: &ClipRequest, vods: &[VodRecord], places: &[Place]) -> String {
    let mut hash = blake3::Hasher::new();
    let format = u32::from(clip_request.format == ClipFormat::Fragmented);
    hash.update(&LAYOUT_VERSION.to_be_bytes()).update(&format.to_be_bytes());
    hash.update(&clip_request.start_ms.to_be_bytes()).update(&clip_request.end_ms.to_be_bytes());
    for (vod, place) in vods.iter().zip(places) {
        hash.update(vod.vod_id.as_bytes()).update(&[0]).update(&vod.start_time.to_be_bytes());
        place.hash_into(&mut hash);
    }
    let mut tag = [0; 16];
    hash.finalize_xof().fill(&mut tag);
    hex::encode(tag)
}

pub(super) fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_recording_goes_on_where_the_one_before_ends() {
        let clip_request = ClipRequest {
            stream: "x".into(),
            server: None,
            rendition: None,
            start_ms: 10_000,
            end_ms: 20_000,
            format: ClipFormat::Mp4,
        };
        let of = |start_ms, before_ms| {
            let (start_ms, span) = wanted(&clip_request, start_ms, 8000, before_ms)?;
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
