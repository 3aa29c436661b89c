//! What a recording is and what is wrong with it, as far as headers tell. Nothing is written.

use std::fs::File;
use std::io::{Read, Seek};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use super::window::FileWindow;
use super::{FinishError, indexing};
use crate::durable::{self, FileError};
use crate::isobmff::{self, AppendedRecordings, FileShape, FragmentedMovie, IsoError, Layout, Movie, ValidationResult};
use crate::media::{self, MediaError, Probe};
use crate::recording::{Container, Defect, TrackKind};
use crate::salvage::{self, SalvageError};
use crate::threads::alongside;

/// Bytes of the head that are looked at to recognise a container.
pub const HEAD_BYTES: u64 = 1024;
/// Bytes that most headers of fragments are shorter than.
const FRAGMENT_HEADER_BYTES: u64 = 4 << 10;

/// A file longer than [`SPARSE_FROM_BYTES`] has at least one byte on the disk for so many that it claims: a hole of a terabyte
/// costs its writer nothing, and whoever reads it hours.
const MAX_SPARSE_RATIO: u64 = 64;
const SPARSE_FROM_BYTES: u64 = 2 << 40;

/// What headers tell about a file.
#[derive(Debug)]
pub struct Inspection {
    /// Length of the file in bytes.
    pub size_bytes: u64,
    /// Its container, told from its bytes.
    pub container: Option<Container>,
    /// Its header and boxes, for ISO base media.
    pub iso: Option<Iso>,
    /// Its tracks as FFmpeg sees them, where there is no movie header that can be read here.
    pub probe: Option<Probe>,
    /// What is wrong with it so far.
    pub defects: Vec<Defect>,
    /// Whether there are only zeros where its head should be.
    pub is_headless: bool,
    /// Whether its head or the headers of its fragments were hit, so that more is in it than they lead to.
    pub is_hit: bool,
    /// Media that no sample table lists and that salvage is to look through; a defect if it finds nothing.
    pub unexplained: Option<Defect>,
    /// Whether sample tables over its packets make an MP4 of it, as far as its beginning tells.
    pub is_indexable: bool,
    /// Byte offsets at which further recordings begin behind the first, of a file that is not ISO base media. Those in FLV are
    /// found when it is read.
    pub recordings: Vec<u64>,
}

/// The header of an ISO base media file.
#[derive(Debug)]
pub struct Iso {
    /// Where its boxes lie.
    pub layout: Layout,
    /// Its movie header, where there is a whole one that can be read; of a fragmented file with the samples of all
    /// its fragments.
    pub movie: Option<Movie>,
    /// Where the last whole sample of a fragmented file ends; the whole file for others.
    pub whole_bytes: u64,
    /// Why a fragmented file must stay so, if it must.
    pub stays_fragmented: Option<&'static str>,
    /// Whether its movie is not what its header says, but was put together from more.
    pub is_rebuilt: bool,
    /// Whether other recordings lie behind it in the same file, which are coded in another way.
    pub has_others: bool,
    /// What the movie was found to be.
    pub verdict: ValidationResult,
}

/// The boxes of a file and the movie that they hold, or that stands in for it.
#[derive(Debug, Clone, Copy)]
pub struct IsoHeader<'a> {
    /// The boxes.
    pub iso: &'a Iso,
    /// The movie.
    pub movie: &'a Movie,
}

impl Iso {
    /// Whether a header is written anew in front of all of it, because its own is not one of sample tables, or is gone.
    pub(super) fn gets_new_header(&self) -> bool {
        self.is_rebuilt
            || matches!(self.layout.shape(), FileShape::Fragmented | FileShape::NoMovieHeader | FileShape::NotMedia)
    }

    /// Whether a file with the same samples and this header moved to its front is described by what was read here.
    pub(super) fn describes_moved(&self) -> bool {
        !self.gets_new_header() && self.verdict.defects.is_empty()
    }
}

impl Inspection {
    const fn new(size_bytes: u64, container: Option<Container>) -> Self {
        Self {
            size_bytes,
            container,
            iso: None,
            probe: None,
            defects: Vec::new(),
            is_headless: false,
            is_hit: false,
            unexplained: None,
            is_indexable: false,
            recordings: Vec::new(),
        }
    }

    /// How header and media lie, for ISO base media.
    pub fn shape(&self) -> Option<FileShape> {
        self.iso.as_ref().map(|iso| iso.layout.shape())
    }

    /// Whether it cannot be finished.
    pub fn is_hopeless(&self) -> bool {
        self.defects.iter().any(Defect::is_fatal)
    }

    /// Its boxes and its movie, where there is a header that can be read here.
    pub fn header(&self) -> Option<IsoHeader<'_>> {
        self.iso.as_ref().and_then(|iso| Some(IsoHeader { iso, movie: iso.movie.as_ref()? }))
    }

    /// Its movie, where there is a header that can be read here.
    pub fn movie(&self) -> Option<&Movie> {
        self.header().map(|header| header.movie)
    }

    /// Names of its codecs, as FFmpeg says them, sound and pictures only; of tracks that can be read.
    pub fn codecs(&self) -> Vec<&str> {
        let of_movie = self.iso.iter().flat_map(|iso| &iso.verdict.tracks).map(|t| (t.kind, t.codec.as_str()));
        let tracks = self.probe.iter().flat_map(|p| &p.tracks).filter(|t| !t.is_cover && t.is_readable);
        let probed = tracks.map(|t| (t.kind, t.codec.as_str()));
        let is_media = |(kind, _): &(TrackKind, &str)| matches!(kind, TrackKind::Video | TrackKind::Audio);
        of_movie.chain(probed).filter(is_media).map(|(_, codec)| codec).collect()
    }

    /// When its container says that it was made, milliseconds since the Unix epoch.
    pub fn created_ms(&self) -> Option<i64> {
        self.movie().map_or_else(|| self.probe.as_ref().and_then(|p| p.created_ms), Movie::created_ms)
    }

    /// The duration that its container claims, milliseconds.
    pub fn declared_ms(&self) -> Option<i64> {
        self.movie().map_or_else(|| self.probe.as_ref().and_then(|p| p.declared_ms), Movie::declared_duration_ms)
    }
}

/// Looks at a file's headers.
pub fn inspect(path: &Path) -> Result<Inspection, FinishError> {
    let file = durable::open_to_read(path)?;
    let metadata = file.metadata().map_err(FileError::on("read the metadata of", path))?;
    let size_bytes = metadata.len();
    let mut head = Vec::new();
    (&file).take(HEAD_BYTES).read_to_end(&mut head).map_err(FileError::on("read", path))?;
    let is_headless = head.iter().all(|byte| *byte == 0);
    // The name is the last resort where the head of a file is lost.
    let container = Container::sniff_named(&head, path).or_else(|| Container::from_name(path).filter(|_| is_headless));
    let mut found = Inspection { is_headless: is_headless && size_bytes > 0, ..Inspection::new(size_bytes, container) };
    let on_disk_bytes = metadata.blocks().saturating_mul(512);
    if let Some(defect) = holes(size_bytes, on_disk_bytes) {
        found.defects.push(defect);
        return Ok(found);
    }
    match container {
        _ if size_bytes == 0 => found.defects.push(Defect::Empty),
        None => found.defects.push(Defect::NotMedia),
        Some(container) if container.is_iso() => inspect_iso(path, &file, container, &mut found)?,
        // What a demuxer needs to know stood there; a transport stream repeats it.
        Some(container) if is_headless && container != Container::MpegTs => found.is_hit = true,
        Some(container) => {
            if is_headless {
                found.defects.push(beginning_lost());
            }
            found.probe = indexing::looks_indexable(path, &file, container)?;
            found.is_indexable = found.probe.is_some();
            if !found.is_indexable {
                probe(path, container, &mut found)?;
            }
            if matches!(container, Container::Matroska | Container::Webm) {
                let is_hit = salvage::are_clusters_hit(&file, size_bytes);
                found.is_hit = is_hit.map_err(|source| salvage_error(path, source))?;
                if found.is_hit {
                    look_for_recordings(path, &file, &mut found)?;
                }
            }
        }
    }
    Ok(found)
}

/// A header where no cluster is may be that of another recording; then each is looked at on its own.
fn look_for_recordings(path: &Path, file: &File, found: &mut Inspection) -> Result<(), FinishError> {
    let len = found.size_bytes;
    let recordings = media::whole::matroska::recordings(&mut FileWindow::new(file, len), len);
    let recordings = recordings.map_err(FileError::on("read", path))?;
    let begins = || [0].into_iter().chain(recordings.iter().copied());
    let ends = recordings.iter().copied().chain([len]);
    let mut is_hit = recordings.is_empty();
    for (begin, end) in begins().zip(ends) {
        let part = FileWindow::behind(file, begin, end - begin);
        is_hit =
            is_hit || salvage::are_clusters_hit(part, end - begin).map_err(|source| salvage_error(path, source))?;
    }
    if !is_hit {
        (found.is_hit, found.recordings) = (false, recordings);
    }
    Ok(())
}

fn beginning_lost() -> Defect {
    Defect::Truncated { missing: "the beginning of the file".to_owned() }
}

/// A file that is a hole for nearly all of its length. A file system that names no blocks at all says nothing.
fn holes(size_bytes: u64, on_disk_bytes: u64) -> Option<Defect> {
    let ratio = size_bytes.checked_div(on_disk_bytes)?;
    let what = "bytes of the file for each byte that is allocated on disk".to_owned();
    (size_bytes > SPARSE_FROM_BYTES && ratio > MAX_SPARSE_RATIO).then_some(Defect::BeyondLimit {
        what,
        found: ratio,
        limit: MAX_SPARSE_RATIO,
    })
}

fn inspect_iso(path: &Path, file: &File, container: Container, found: &mut Inspection) -> Result<(), FinishError> {
    let mut reader = FileWindow::new(file, found.size_bytes);
    let fragments = isobmff::fragment::indexed_places(&mut reader, found.size_bytes);
    let asked: Vec<_> = fragments.into_iter().map(|offset| (offset, FRAGMENT_HEADER_BYTES)).collect();
    let mut inspect = || inspect_boxes(path, &mut reader, found, &mut |found| probe(path, container, found));
    if asked.is_empty() { inspect() } else { alongside(inspect, || durable::ask_for(file, &asked)).0 }
}

/// Looks at the headers of an ISO base media file that is read from elsewhere, a range at a time. `None` if it is something else, or
/// if only a demuxer can tell: such a file is inspected when it is here. `name` is its path, for messages.
pub fn inspect_headers<R: Read + Seek>(
    name: &Path,
    head: &[u8],
    reader: &mut R,
    size_bytes: u64,
) -> Result<Option<Inspection>, FinishError> {
    let container = Container::sniff_named(head, name).filter(|container| container.is_iso());
    let Some(container) = container.filter(|_| head.iter().any(|byte| *byte != 0)) else { return Ok(None) };
    let mut found = Inspection::new(size_bytes, Some(container));
    let mut is_told = true;
    inspect_boxes(name, reader, &mut found, &mut |_| {
        is_told = false;
        Ok(())
    })?;
    Ok(is_told.then_some(found))
}

/// `probe` has a demuxer look at a file whose movie header cannot be read here.
fn inspect_boxes<R: Read + Seek>(
    path: &Path,
    reader: &mut R,
    found: &mut Inspection,
    probe: &mut dyn FnMut(&mut Inspection) -> Result<(), FinishError>,
) -> Result<(), FinishError> {
    let top = isobmff::fragment::top_level(reader, found.size_bytes);
    let (layout, fragmented) = match top {
        Ok(read) => read,
        Err(error) => return take_defect(path, error, found),
    };
    let astray = isobmff::find_header(reader, &layout).map_err(|e| header_error(path, e))?;
    let is_rebuilt = astray.is_some();
    let layout = match astray {
        Some((layout, defect)) => {
            found.defects.push(defect);
            // What samples lie there is as lost as the boxes are.
            found.defects.extend(found.is_headless.then(beginning_lost));
            layout
        }
        None => layout,
    };
    if let Err(error) = isobmff::check_headers(&layout) {
        return take_defect(path, error, found);
    }
    found.is_hit = salvage::is_hit(reader, &layout).map_err(|source| salvage_error(path, source))?;
    let whole_bytes = layout.len;
    let verdict = ValidationResult::default();
    let mut iso =
        Iso { whole_bytes, layout, movie: None, stays_fragmented: None, is_rebuilt, has_others: false, verdict };
    match iso.layout.shape() {
        FileShape::HeaderFirst | FileShape::HeaderLast | FileShape::Fragmented => {
            read_movie(reader, &mut iso, fragmented, found).or_else(|e| take_defect(path, e, found))?;
            match &iso.movie {
                Some(movie) => account(reader, &iso, movie, found).map_err(|e| header_error(path, e))?,
                // What is beyond a limit of ours is not given to a reader that has none.
                None if found.is_hopeless() => {}
                None => probe(found)?,
            }
        }
        FileShape::Empty | FileShape::NotMedia | FileShape::NoMovieHeader => {
            found.defects.extend(isobmff::validate::file_defects(&iso.layout).into_iter().filter(Defect::is_fatal));
        }
    }
    found.iso = Some(iso);
    Ok(())
}

/// Reads and checks the movie header, and of a fragmented file all fragments.
fn read_movie<R: Read + Seek>(
    reader: &mut R,
    iso: &mut Iso,
    fragmented: Option<FragmentedMovie>,
    found: &mut Inspection,
) -> Result<(), IsoError> {
    let parts = isobmff::appended::recordings(&iso.layout);
    let mut movie = if !parts.is_empty() {
        read_appended(reader, iso, &parts, found)?
    } else if iso.layout.shape() == FileShape::Fragmented {
        let whole = if let Some(whole) = fragmented {
            whole
        } else {
            let header = Movie::read(reader, &iso.layout)?;
            isobmff::fragment::read(reader, &iso.layout, header)?
        };
        iso.whole_bytes = whole.whole_bytes;
        iso.stays_fragmented = whole.stays_fragmented;
        whole.movie
    } else {
        read_whole(reader, iso, found)?
    };
    if iso.layout.shape() == FileShape::HeaderLast && !iso.is_rebuilt {
        // The header is written anew, and says no more what its samples refute.
        movie.mend_durations();
    }
    iso.verdict = isobmff::validate(&movie, &iso.layout);
    found.defects.extend(iso.verdict.defects.iter().cloned());
    let has_packets = iso.verdict.tracks.iter().any(|track| track.packets > 0);
    if !has_packets && !found.defects.contains(&Defect::NoPackets) {
        found.defects.push(Defect::NoPackets);
    }
    iso.movie = Some(movie);
    Ok(())
}

/// Reads a movie header of sample tables.
fn read_whole<R: Read + Seek>(reader: &mut R, iso: &mut Iso, found: &mut Inspection) -> Result<Movie, IsoError> {
    let mut movie = Movie::read(reader, &iso.layout)?;
    if isobmff::unwrap_offsets(reader, &iso.layout, &mut movie)? {
        iso.is_rebuilt = true;
        let detail =
            "chunk offsets beyond 4 GiB are stored modulo 2^32 (§8.7.5); they follow from the order of the chunks";
        let offset = iso.layout.movie_header().map(|moov| moov.offset);
        found.defects.push(Defect::Malformed { offset, detail: detail.to_owned() });
    }
    Ok(movie)
}

/// Reads recordings that lie behind one another: all of them as one, or the first and the others by name.
fn read_appended<R: Read + Seek>(
    reader: &mut R,
    iso: &mut Iso,
    parts: &[Layout],
    found: &mut Inspection,
) -> Result<Movie, IsoError> {
    let (read, what) = match isobmff::appended::read(reader, &iso.layout, parts)? {
        AppendedRecordings::Joined(read) => {
            iso.is_rebuilt = true;
            (read, "another recording begins here; it is joined to the previous one")
        }
        AppendedRecordings::First(read) => {
            iso.has_others = true;
            (read, "another recording with different parameters begins here; it remains in the original")
        }
    };
    for part in &parts[1..] {
        let offset = part.boxes.first().map(|b| b.offset);
        found.defects.push(Defect::Malformed { offset, detail: what.to_owned() });
    }
    iso.stays_fragmented = read.stays_fragmented;
    Ok(read.movie)
}

/// Names the media that no sample table lists. Where a writer died in front of the tables, it may be salvaged.
fn account<R: Read + Seek>(reader: &mut R, iso: &Iso, movie: &Movie, found: &mut Inspection) -> Result<(), IsoError> {
    let layout = &iso.layout;
    let is_said = |d: &Defect| matches!(d, Defect::Truncated { .. } | Defect::SamplesOutside { .. });
    let is_cut = found.defects.iter().any(is_said);
    let bodies = isobmff::media_bodies(&layout.boxes, layout.len);
    let mut gaps = isobmff::unexplained(reader, layout, movie)?;
    // The part of a sample that the end of the file cuts is said as truncated.
    gaps.retain(|gap| !(is_cut && gap.end == layout.len) || bodies.contains(gap));
    let Some(first) = gaps.first() else { return Ok(()) };
    let defect = Defect::Unexplained {
        bytes: gaps.iter().map(|gap| gap.end - gap.start).sum(),
        places: gaps.len() as u64,
        offset: Some(first.start),
        lost_packets: 0,
    };
    let is_without_tables = match layout.shape() {
        FileShape::Fragmented => iso.stays_fragmented.is_none() && gaps.iter().any(|gap| bodies.contains(gap)),
        shape => shape == FileShape::HeaderFirst && !is_cut && salvage::has_open_tail(layout, &gaps),
    };
    if is_without_tables && !iso.has_others && salvage::is_walked(movie) {
        found.is_hit = true;
        found.unexplained = Some(defect);
    } else if !found.is_hit {
        found.defects.push(defect);
    }
    Ok(())
}

/// A header that contradicts itself is a defect; FFmpeg may still read the file.
fn take_defect(path: &Path, error: IsoError, found: &mut Inspection) -> Result<(), FinishError> {
    let Some(defect) = error.defect() else { return Err(header_error(path, error)) };
    found.defects.push(defect);
    Ok(())
}

fn probe(path: &Path, container: Container, found: &mut Inspection) -> Result<(), FinishError> {
    match media::probe(path, container) {
        Ok(probe) => found.probe = Some(probe),
        Err(error) if !error.defects().is_empty() => found.defects.extend(error.defects().iter().cloned()),
        // It bears the marks of its container and nothing can be got out of it: a writer that ended with its header.
        Err(MediaError::NotReadable { detail, .. }) => {
            let words = (!detail.is_empty()).then_some(Defect::Malformed { offset: None, detail });
            found.defects.extend(words.into_iter().chain([Defect::NoPackets]));
        }
        Err(error) => return Err(error.into()),
    }
    Ok(())
}

pub(super) fn salvage_error(path: &Path, source: SalvageError) -> FinishError {
    FinishError::Salvage { path: path.to_owned(), source }
}

pub(super) fn header_error(path: &Path, source: IsoError) -> FinishError {
    FinishError::Header { path: path.to_owned(), source }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_of_holes_is_beyond_a_limit_and_a_preallocated_one_is_not() {
        assert!(holes(4 << 40, 4096).is_some());
        assert!(holes(4 << 40, (4 << 40) / 65).is_some());
        assert_eq!(holes(4 << 40, (4 << 40) / 64), None);
        assert_eq!(holes(2 << 40, 4096), None, "looked through in minutes, beside the others");
        assert_eq!(holes(4 << 40, 0), None, "a file system that does not say");
        assert_eq!(holes(0, 0), None);
    }
}
