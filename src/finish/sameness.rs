//! Whether two ISO base media files hold the same media: every sample's size, times and flags; and payloads, all of
//! them or some spread over all tracks.
//!
//! Where the kernel moved or copied the media by itself, some payloads are enough to see that the tables point at the
//! right bytes; where this process wrote them, or where every packet was asked for, all are compared.

use std::fs::File;
use std::io::{self, BufReader, Seek, SeekFrom};
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::Path;

use super::FinishError;
use super::inspect::header_error;
use crate::durable::{self, FileError, ask_for};
use crate::isobmff::{self, IsoError, Layout, Movie, Sample, SampleTables, Track};

/// Payloads that are compared where not all are.
const SPREAD_SAMPLES: u64 = 1_000;
/// Places of the file that they are spread over. The tracks' neighbours at one place lie together in the file, and the disk
/// is waited for by place.
const SPREAD_PLACES: u64 = 250;
/// Payloads no further apart than that are asked for with what lies between them.
const TOGETHER_BYTES: u64 = 32 << 10;
/// Bytes of a payload, from its beginning, that are compared where not all payloads are: a table that points beside it shows in
/// them, and so does a block that was not moved.
const FIRST_BYTES: u64 = 2 << 10;
/// Bytes of a payload that are read at a time.
const BUFFER_BYTES: usize = 128 << 10;

/// How many payloads are compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum PayloadScope {
    /// About a thousand, spread over all tracks.
    Spread,
    /// Every one.
    All,
}

/// Compares a finished file with its source, whose movie (of a fragmented file: with all fragments) is given.
pub(super) fn compare(source: &Path, movie: &Movie, written: &Path, payloads: PayloadScope) -> Result<(), FinishError> {
    let different = |detail| FinishError::NotTheSame { path: source.to_owned(), detail };
    let (mut before, mut after) = (open(source)?, open(written)?);
    let differing = match payloads {
        PayloadScope::Spread => {
            let mut theirs = PayloadSample::of_none(movie);
            let found = |track: &Track| theirs.add(track);
            let layout = layout_of(&mut after).map_err(|e| header_error(written, e))?;
            let (_, moov) = isobmff::movie::read_moov(&mut after, &layout).map_err(|e| header_error(written, e))?;
            let said = same_tracks(movie, &moov, None, found).map_err(|e| header_error(written, e))?;
            said.map_err(different)?;
            let ours = PayloadSample::of(movie).digest(before.get_ref(), 0).map_err(FileError::on("read", source))?;
            let theirs = theirs.digest(after.get_ref(), 0).map_err(FileError::on("read", written))?;
            (ours != theirs).then_some(0)
        }
        PayloadScope::All => {
            let new = read_movie(&mut after).map_err(|e| header_error(written, e))?;
            same_samples(movie, &new, None).map_err(different)?;
            let ours = isobmff::payload_digests(&mut before, movie).map_err(|e| header_error(source, e))?;
            let theirs = isobmff::payload_digests(&mut after, &new).map_err(|e| header_error(written, e))?;
            ours.iter().zip(&theirs).position(|(a, b)| a != b).map(|at| at + 1)
        }
    };
    match differing {
        None => Ok(()),
        Some(0) => Err(different("the payloads differ".into())),
        Some(track) => Err(different(format!("the payload of track {track} differs"))),
    }
}

fn open(path: &Path) -> Result<BufReader<File>, FinishError> {
    Ok(BufReader::new(durable::open_to_read(path)?))
}

fn layout_of(reader: &mut BufReader<File>) -> Result<Layout, IsoError> {
    let size = reader.seek(SeekFrom::End(0)).map_err(|source| IsoError::Io { offset: 0, source })?;
    isobmff::top_level(reader, size)
}

fn read_movie(reader: &mut BufReader<File>) -> Result<Movie, IsoError> {
    let layout = layout_of(reader)?;
    Movie::read(reader, &layout)
}

/// Compares every sample of two movies, the edit lists and the codec configuration; says the first difference. With
/// `moved_by`, every sample of the second must lie so many bytes behind its place in the first, too.
pub(super) fn same_samples(before: &Movie, after: &Movie, moved_by: Option<u64>) -> Result<(), String> {
    same_count(before, after.tracks.len())?;
    let pairs = (1..).zip(before.tracks.iter().zip(&after.tracks));
    pairs.into_iter().try_for_each(|(number, (ours, theirs))| same_track(number, ours, theirs, moved_by))
}

/// The same for the bytes of a `moov`, which are read track by track, so that a long recording's tables are not in memory twice.
pub(super) fn same_header(before: &Movie, moov: &[u8], moved_by: Option<u64>) -> Result<Result<(), String>, IsoError> {
    same_tracks(before, moov, moved_by, |_| ())
}

/// The same, and hands on each track while it is there.
fn same_tracks(
    before: &Movie,
    moov: &[u8],
    moved_by: Option<u64>,
    mut visit: impl FnMut(&Track),
) -> Result<Result<(), String>, IsoError> {
    let (mut found, mut said) = (0, Ok(()));
    isobmff::movie::each_track(moov, |track| {
        visit(&track);
        if let (Ok(()), Some(ours)) = (&said, before.tracks.get(found)) {
            said = same_track(found + 1, ours, &track, moved_by);
        }
        found += 1;
    })?;
    Ok(said.and_then(|()| same_count(before, found)))
}

fn same_count(before: &Movie, tracks: usize) -> Result<(), String> {
    let expected = before.tracks.len();
    if expected == tracks { Ok(()) } else { Err(format!("expected {expected} tracks, found {tracks}")) }
}

fn same_track(number: usize, ours: &Track, theirs: &Track, moved_by: Option<u64>) -> Result<(), String> {
    let moved_by = moved_by.map(|by| if ours.is_external() { 0 } else { by });
    let facts = |s: Sample, moved_by: Option<u64>| {
        let place = moved_by.map(|by| s.offset.saturating_add(by));
        (place, s.size_bytes, s.dts, s.pts, s.duration, s.is_sync, s.description_index)
    };
    let old = || ours.samples().map(|s| facts(s, moved_by));
    let new = || theirs.samples().map(|s| facts(s, moved_by.map(|_| 0)));
    let is_same = are_tables_same(&ours.tables, &theirs.tables, moved_by) || old().eq(new());
    if !is_same || ours.edits != theirs.edits {
        return Err(format!("the samples of track {number} differ"));
    }
    if ours.descriptions != theirs.descriptions {
        return Err(format!("the codec configuration of track {number} differs"));
    }
    Ok(())
}

/// Whether two tables are alike word by word, so that the samples that they give are. What tables say in another form (other
/// runs, other chunks) has to be compared sample by sample.
fn are_tables_same(ours: &SampleTables, theirs: &SampleTables, moved_by: Option<u64>) -> bool {
    let by = moved_by.unwrap_or(0);
    let moved = |(old, new): (&u64, &u64)| moved_by.is_none() || old.saturating_add(by) == *new;
    ours.chunk_offsets.len() == theirs.chunk_offsets.len()
        && ours.chunk_offsets.iter().zip(&theirs.chunk_offsets).all(moved)
        && ours.durations == theirs.durations
        && ours.compositions == theirs.compositions
        && ours.chunk_runs == theirs.chunk_runs
        && ours.sizes == theirs.sizes
        && ours.sync == theirs.sync
}

/// About a thousand payloads that are compared, spread over all tracks: of each so many neighbours at so many places, offset
/// and length of each. The same movie gives the same samples wherever they lie.
#[derive(Debug)]
pub(super) struct PayloadSample {
    together: u64,
    places: Vec<(u64, u64)>,
}

impl PayloadSample {
    /// Those of all tracks of a movie.
    pub(super) fn of(movie: &Movie) -> Self {
        let mut chosen = Self::of_none(movie);
        movie.tracks.iter().for_each(|track| chosen.add(track));
        chosen
    }

    /// None so far, of a movie with as many tracks.
    fn of_none(movie: &Movie) -> Self {
        let tracks = movie.tracks.iter().filter(|track| !track.is_external()).count() as u64;
        Self { together: SPREAD_SAMPLES.div_ceil(SPREAD_PLACES * tracks.max(1)), places: Vec::new() }
    }

    /// Adds those of a track.
    fn add(&mut self, track: &Track) {
        if track.is_external() {
            return;
        }
        let (mut samples, mut at) = (track.samples(), 0);
        for number in numbers(self.together, track.tables.count()) {
            let skipped = usize::try_from(number - at).unwrap_or(usize::MAX);
            let Some(sample) = samples.nth(skipped) else { return };
            self.places.push((sample.offset, u64::from(sample.size_bytes).min(FIRST_BYTES)));
            at = number + 1;
        }
    }

    /// BLAKE3 over them in their order, each with its length, where so many bytes lie in the file before what the movie spoke of.
    ///
    /// All of them are asked for before the first is read, so that the disk is not waited for a thousand times.
    pub(super) fn digest(&self, file: &File, moved_by: u64) -> io::Result<blake3::Hash> {
        let places: Vec<_> = self.places.iter().map(|(at, bytes)| (at.saturating_add(moved_by), *bytes)).collect();
        ask_for(file, &joined(&places));
        let mut hash = blake3::Hasher::new();
        let mut buffer = vec![0; BUFFER_BYTES];
        for (offset, size_bytes) in places {
            let read = hash_range(file, offset..offset.saturating_add(size_bytes), &mut buffer, &mut hash)?;
            hash.update(&read.to_be_bytes());
        }
        Ok(hash.finalize())
    }
}

/// The numbers of the samples that are compared, of so many, in ascending order.
fn numbers(together: u64, count: u64) -> impl Iterator<Item = u64> {
    let first = move |place: u64| (place * count).div_ceil(SPREAD_PLACES);
    (0..SPREAD_PLACES).flat_map(move |place| first(place)..first(place + 1).min(first(place) + together))
}

/// The same places in the order of the file, neighbours as one.
fn joined(places: &[(u64, u64)]) -> Vec<(u64, u64)> {
    let mut sorted = places.to_vec();
    sorted.sort_unstable();
    let mut joined: Vec<(u64, u64)> = Vec::with_capacity(sorted.len());
    for (offset, length) in sorted {
        let end = offset.saturating_add(length);
        match joined.last_mut() {
            Some((start, bytes)) if offset <= start.saturating_add(*bytes).saturating_add(TOGETHER_BYTES) => {
                *bytes = (*bytes).max(end - *start);
            }
            _ => joined.push((offset, length)),
        }
    }
    joined
}

/// Digests a range as far as the file has it; says how many bytes that was.
fn hash_range(file: &File, range: Range<u64>, buffer: &mut [u8], hash: &mut blake3::Hasher) -> io::Result<u64> {
    let mut at = range.start;
    while at < range.end {
        crate::stop::check();
        let wanted = usize::try_from(range.end - at).unwrap_or(usize::MAX).min(buffer.len());
        match file.read_at(&mut buffer[..wanted], at) {
            Ok(0) => break,
            Ok(read) => {
                hash.update(&buffer[..read]);
                at += read as u64;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(at - range.start)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::isobmff::tables::runs::{ValueRun, ValueRuns};

    fn fixture() -> std::path::PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/sample_MP4_480.mp4")
    }

    #[test]
    fn a_file_is_the_same_as_itself_and_not_as_one_with_a_flipped_bit() {
        let movie = read_movie(&mut open(&fixture()).unwrap()).unwrap();
        for payloads in [PayloadScope::Spread, PayloadScope::All] {
            compare(&fixture(), &movie, &fixture(), payloads).unwrap();
        }
        let dir = tempfile::tempdir().unwrap();
        let flipped = dir.path().join("x.mp4");
        let mut bytes = std::fs::read(fixture()).unwrap();
        let sample = movie.tracks[0].samples().nth(40).unwrap();
        bytes[usize::try_from(sample.offset).unwrap() + 9] ^= 1;
        std::fs::write(&flipped, bytes).unwrap();
        let error = compare(&fixture(), &movie, &flipped, PayloadScope::All).unwrap_err();
        assert!(matches!(error, FinishError::NotTheSame { .. }), "{error}");
    }

    #[test]
    fn about_a_thousand_payloads_are_spread_from_the_first_to_the_last() {
        for (together, count) in [(2, 194_000), (2, 364_000), (4, 1_000), (4, 999), (1, 251), (2, 3), (2, 0)] {
            let chosen: Vec<u64> = numbers(together, count).collect();
            assert_eq!(chosen.len() as u64, count.min(SPREAD_PLACES * together), "{together} of {count}");
            let steps = chosen.windows(2).map(|pair| pair[1] - pair[0]);
            assert!(steps.max().unwrap_or(1) <= count.div_ceil(SPREAD_PLACES).max(1), "{together} of {count}");
            assert_eq!(chosen.first().copied(), (count > 0).then_some(0));
        }
    }

    #[test]
    fn neighbours_are_asked_for_together() {
        let far = 10 * TOGETHER_BYTES;
        assert_eq!(joined(&[(far, 5), (10, 5), (0, 5), (12, 1)]), [(0, 15), (far, 5)]);
        assert_eq!(joined(&[]), []);
    }

    #[test]
    fn a_header_read_track_by_track_is_held_against_every_sample() {
        let mut reader = open(&fixture()).unwrap();
        let size = reader.seek(SeekFrom::End(0)).unwrap();
        let layout = isobmff::top_level(&mut reader, size).unwrap();
        let movie = Movie::read(&mut reader, &layout).unwrap();
        let said = |before: &Movie, moved_by| same_header(before, movie.raw(), moved_by).unwrap();
        assert_eq!(said(&movie, None), Ok(()));
        assert_eq!(said(&movie, Some(0)), Ok(()));
        assert!(said(&movie, Some(1)).is_err(), "it lies elsewhere");
        let mut fewer = movie.clone();
        fewer.tracks.pop();
        assert!(said(&fewer, None).is_err(), "a track more");
        let mut longer = movie.clone();
        longer.tracks[1].tables.chunk_offsets.pop();
        assert!(said(&longer, None).is_err(), "samples less");
        let changed = |change: &dyn Fn(&mut SampleTables)| {
            let mut other = movie.clone();
            change(&mut other.tracks[0].tables);
            said(&other, Some(0))
        };
        assert!(changed(&|t| t.chunk_offsets[3] += 1).is_err(), "a chunk elsewhere");
        assert!(changed(&|t| t.durations.lengthen_last(1)).is_err(), "a sample longer");
        assert!(changed(&|t| t.sync.as_mut().unwrap()[1] += 1).is_err(), "another sync sample");
        // The same samples, told in other runs and chunks.
        let runs = |t: &mut SampleTables| {
            let split = t
                .durations
                .as_slice()
                .iter()
                .flat_map(|r| [ValueRun { count: 1, ..*r }, ValueRun { count: r.count - 1, ..*r }]);
            t.durations = ValueRuns::new(split.collect());
        };
        assert_eq!(changed(&runs), Ok(()));
    }
}
