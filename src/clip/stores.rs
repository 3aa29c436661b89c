//! Recordings that were freed locally, read from the stores that have them.
//!
//! A copy is looked at before it is used, and not again for a moment ([`PINNED`]): a player asks for many ranges of one clip. Media is read
//! in windows of one size, which are kept for the next request, so that a connection holds no memory of its own.

use std::io::{self, Read, Seek, SeekFrom};
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use super::cache::locked;
use super::error::ClipError;
use super::kept::LruCache;
use super::place::Place;
use crate::deliver::{DeliverError, Looked, Pinned, PinnedObject, Targets};
use crate::fault::chain;
use crate::recording::{RemoteObject, VodRecord};
use crate::stop::Stop;

/// How long a look at a copy holds. What is read meanwhile is read under the condition that the object is the same.
const PINNED: Duration = Duration::from_secs(10);
/// What is read of media at once.
const WINDOW_BYTES: u64 = 1 << 20;
/// The first piece of a header that is read, and the largest one.
const LEAST_PIECE_BYTES: u64 = 64 << 10;
const MOST_PIECE_BYTES: u64 = 4 << 20;
/// Pieces of one header: those of a fragmented file lie all over it.
const MOST_PIECES: u32 = 256;
/// How long all that a clip needs of stores before its first byte may take.
const PATIENCE: Duration = Duration::from_secs(60);
/// What a pin takes in memory, about.
const PIN_BYTES: u64 = 1 << 10;

/// Which object, and which window of it.
type Window = (Arc<PinnedObject>, u64);

/// What is kept of stores between requests.
#[derive(Debug, Default)]
pub(super) struct KeptOfStores {
    pins: Mutex<LruCache<(String, String), (Place, Instant)>>,
    windows: Mutex<LruCache<Window, Arc<Vec<u8>>>>,
}

/// The stores that recordings can be read from.
#[derive(Debug, Clone)]
pub struct Stores {
    pub(super) kept: Arc<KeptOfStores>,
    pub(super) targets: Arc<Targets>,
    pub(super) stop: Stop,
    /// When the request began.
    pub(super) begun: Instant,
}

impl Stores {
    /// Where a copy of a VoD is that is as it was proven. The targets are asked one after the other.
    pub(super) fn place_of(&self, vod: &VodRecord) -> Result<Place, ClipError> {
        let mut failed = None;
        for object in vod.remote.iter().filter(|object| object.differs.is_none()) {
            match self.pinned(vod, object) {
                Ok(place) => return Ok(place),
                Err(error) => {
                    tracing::debug!(vod_id = %vod.vod_id, error = chain(&error), "copy not usable for a clip");
                    failed.get_or_insert(error);
                }
            }
        }
        let urls = || vod.remote.iter().map(|object| object.url.clone()).collect();
        Err(failed.unwrap_or_else(|| ClipError::NotLocal { path: vod.file_path.clone(), urls: urls() }))
    }

    fn in_time(&self, path: &Path) -> Result<(), ClipError> {
        let is_late = self.begun.elapsed() > PATIENCE;
        if is_late { Err(ClipError::Late { path: path.to_owned(), seconds: PATIENCE.as_secs() }) } else { Ok(()) }
    }

    fn pinned(&self, vod: &VodRecord, object: &RemoteObject) -> Result<Place, ClipError> {
        self.in_time(&vod.file_path)?;
        let key = (object.target.clone(), object.key.clone());
        let kept = locked(&self.kept.pins).get(&key).filter(|(_, at)| at.elapsed() < PINNED);
        if let Some((place, _)) = kept {
            return Ok(place);
        }
        let looked = self.targets.pin(object, &self.stop).map_err(|source| store_error(&vod.file_path, source))?;
        let place = match looked {
            Looked::AsProven(Pinned::File { path, fingerprint }) => Place::File { path, fingerprint },
            Looked::AsProven(Pinned::Object(object)) => Place::Object(Arc::new(object)),
            Looked::Differs(difference) => {
                return Err(ClipError::Replaced { url: object.url.clone(), words: difference.words });
            }
        };
        locked(&self.kept.pins).put(key, (place.clone(), Instant::now()), PIN_BYTES);
        Ok(place)
    }

    /// Reads the header of an object by ranges. `path` is the recording's, for messages.
    pub(super) fn header<'a>(&'a self, path: &'a Path, object: &'a Arc<PinnedObject>) -> HeaderReader<'a> {
        HeaderReader {
            stores: self,
            path,
            object,
            at: 0,
            piece: Vec::new(),
            piece_at: 0,
            next_bytes: LEAST_PIECE_BYTES,
            pieces: 0,
            failed: None,
        }
    }

    /// Fills a buffer from an object; says how far. `path` is the recording's, for messages.
    pub(super) fn fill(
        &self,
        path: &Path,
        object: &Arc<PinnedObject>,
        at: u64,
        into: &mut [u8],
    ) -> Result<usize, ClipError> {
        let number = at / WINDOW_BYTES;
        let start = number * WINDOW_BYTES;
        let key = (Arc::clone(object), number);
        let kept = locked(&self.kept.windows).get(&key);
        let window = if let Some(window) = kept {
            window
        } else {
            let end = (start + WINDOW_BYTES).min(object.size_bytes);
            let window = Arc::new(self.read(path, object, start..end)?);
            locked(&self.kept.windows).put(key, Arc::clone(&window), WINDOW_BYTES);
            window
        };
        let within = usize::try_from(at - start).unwrap_or(usize::MAX);
        let from = window.get(within..).filter(|from| !from.is_empty());
        let from = from.ok_or_else(|| ClipError::Changed { path: path.to_owned() })?;
        let len = from.len().min(into.len());
        into[..len].copy_from_slice(&from[..len]);
        Ok(len)
    }

    fn read(&self, path: &Path, object: &Arc<PinnedObject>, range: std::ops::Range<u64>) -> Result<Vec<u8>, ClipError> {
        let read = self.targets.read(object, range).map_err(|source| store_error(path, source))?;
        read.ok_or_else(|| {
            // The next request looks at the object again.
            locked(&self.kept.pins).remove(&(object.target.clone(), object.key.clone()));
            ClipError::Changed { path: path.to_owned() }
        })
    }
}

fn store_error(path: &Path, source: DeliverError) -> ClipError {
    ClipError::Store { path: path.to_owned(), source: Box::new(source) }
}

/// Reads the boxes of an object in few and larger pieces: each is twice the one before as long as they follow one another.
pub(super) struct HeaderReader<'a> {
    stores: &'a Stores,
    path: &'a Path,
    object: &'a Arc<PinnedObject>,
    at: u64,
    piece: Vec<u8>,
    piece_at: u64,
    next_bytes: u64,
    pieces: u32,
    failed: Option<ClipError>,
}

impl HeaderReader<'_> {
    /// Why reading failed, where it was not the format.
    pub(super) fn failure(&mut self) -> Option<ClipError> {
        self.failed.take()
    }

    fn fetch(&mut self) -> Result<(), ClipError> {
        self.pieces += 1;
        self.stores.in_time(self.path)?;
        if self.pieces > MOST_PIECES {
            return Err(ClipError::Scattered { path: self.path.to_owned(), pieces: self.pieces - 1 });
        }
        let follows = self.at == self.piece_at + self.piece.len() as u64 && !self.piece.is_empty();
        self.next_bytes = if follows { (self.next_bytes * 2).min(MOST_PIECE_BYTES) } else { LEAST_PIECE_BYTES };
        let end = self.at.saturating_add(self.next_bytes).min(self.object.size_bytes);
        self.piece = self.stores.read(self.path, self.object, self.at..end)?;
        self.piece_at = self.at;
        Ok(())
    }
}

impl Read for HeaderReader<'_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        if self.at >= self.object.size_bytes || into.is_empty() {
            return Ok(0);
        }
        let is_here =
            |reader: &Self| reader.at >= reader.piece_at && reader.at < reader.piece_at + reader.piece.len() as u64;
        if !is_here(self)
            && let Err(error) = self.fetch()
        {
            let said = chain(&error);
            self.failed = Some(error);
            return Err(io::Error::other(said));
        }
        let within = usize::try_from(self.at - self.piece_at).unwrap_or(usize::MAX);
        let from = self.piece.get(within..).unwrap_or_default();
        let len = from.len().min(into.len());
        into[..len].copy_from_slice(&from[..len]);
        self.at += len as u64;
        Ok(len)
    }
}

impl Seek for HeaderReader<'_> {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let at = match to {
            SeekFrom::Start(at) => Some(at),
            SeekFrom::End(by) => self.object.size_bytes.checked_add_signed(by),
            SeekFrom::Current(by) => self.at.checked_add_signed(by),
        };
        self.at = at.ok_or_else(|| io::Error::from(io::ErrorKind::InvalidInput))?;
        Ok(self.at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::deliver::{MemoryBucket, NullLedger, TargetOptions};
    use crate::recording::{Asset, AssetFile, Kind};
    use crate::runtime::Runtime;

    /// An object of noise in a bucket in memory.
    fn stored(len: usize) -> (Vec<u8>, Stores, Arc<PinnedObject>) {
        let mut bytes = vec![0; len];
        blake3::Hasher::new().finalize_xof().fill(&mut bytes);
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("x.mp4");
        std::fs::write(&path, &bytes).unwrap();
        let options = TargetOptions::new("cloud", "s3://bucket/pre");
        let targets = Targets::in_memory(&options, &MemoryBucket::default(), &Runtime::start().unwrap()).unwrap();
        let fingerprint = crate::durable::fingerprint(&path).unwrap();
        let asset = Asset {
            id: "id".into(),
            kind: Kind::Recording,
            vod_id: Some("id".into()),
            stream_id: "room1".into(),
            root: root.path().to_owned(),
            start_ms: 0,
            duration_ms: None,
            salvaged: false,
            files: vec![AssetFile::new(path, fingerprint)],
        };
        let stop = Stop::default();
        let proven = targets.upload("cloud", &asset, "2026-03-04", &stop, &|_| {}, &NullLedger).unwrap().remove(0);
        let Looked::AsProven(Pinned::Object(object)) = targets.pin(&proven, &stop).unwrap() else { panic!() };
        let stores = Stores { kept: Arc::default(), targets: Arc::new(targets), stop, begun: Instant::now() };
        (bytes, stores, Arc::new(object))
    }

    #[test]
    fn a_header_is_read_in_few_pieces_wherever_it_is_looked_at() {
        let (bytes, stores, object) = stored(3 << 20);
        let mut reader = stores.header(Path::new("x.mp4"), &object);
        let mut whole = Vec::new();
        reader.read_to_end(&mut whole).unwrap();
        assert!(whole == bytes);
        assert_eq!(reader.pieces, 6, "64 KiB, 128 KiB, 256 KiB, 512 KiB, 1 MiB and the rest");
        for at in [3 << 20, (3 << 20) - 5, 0, 1 << 20] {
            let mut read = [0; 5];
            reader.seek(SeekFrom::Start(at)).unwrap();
            let expected = &bytes[usize::try_from(at).unwrap()..];
            let len = expected.len().min(5);
            reader.read_exact(&mut read[..len]).unwrap();
            assert_eq!(read[..len], expected[..len]);
            assert!(len == 5 || reader.read(&mut read).unwrap() == 0);
        }
    }

    #[test]
    fn a_header_that_lies_everywhere_is_given_up() {
        let (_, stores, object) = stored(5 << 20);
        let mut reader = stores.header(Path::new("x.mp4"), &object);
        let hops = (0..).map(|hop| u64::from(hop % 2 == 0) * (4 << 20));
        let failed = hops.take(1_000).position(|at| {
            reader.seek(SeekFrom::Start(at)).unwrap();
            reader.read(&mut [0]).is_err()
        });
        assert_eq!(failed, Some(MOST_PIECES as usize));
        assert!(matches!(reader.failure(), Some(ClipError::Scattered { .. })));
    }

    #[test]
    fn media_is_kept_in_windows_and_ends_where_the_object_ends() {
        let (bytes, stores, object) = stored((1 << 20) + 7);
        let mut into = vec![0; 2 << 20];
        let path = Path::new("x.mp4");
        assert_eq!(stores.fill(path, &object, 5, &mut into).unwrap(), (1 << 20) - 5);
        assert!(into[..(1 << 20) - 5] == bytes[5..1 << 20]);
        assert_eq!(stores.fill(path, &object, 1 << 20, &mut into).unwrap(), 7);
        stores.targets.delete("cloud", &object.key).unwrap();
        assert_eq!(stores.fill(path, &object, 9, &mut into[..3]).unwrap(), 3, "it was kept");
        stores.kept.windows.lock().unwrap().remove(&(Arc::clone(&object), 0));
        assert!(matches!(stores.fill(path, &object, 9, &mut into), Err(ClipError::Changed { .. })));
    }
}
