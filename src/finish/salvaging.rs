//! Salvage as a way of finishing: the rebuilt tables in front of the media of the crashed file, which nobody copies where
//! its blocks can be shared or the kernel copies them. The original stays, or is inside the finished file to the last byte.

use std::fs;
use std::io::{BufReader, Read as _, Seek as _};
use std::iter;
use std::num::NonZero;
use std::ops::Range;
use std::path::{Path, PathBuf};

use tracing::info;

use super::closer::{CloserLook, Validation, look_closer};
use super::container::finished_container;
use super::decoding::decoded;
use super::front::{HeaderMove, RebuiltMovie};
use super::identity::start_of;
use super::inspect::{header_error, salvage_error};
use super::proof::{ExcerptScope, begins_clean, prove};
use super::remux::remux_whole;
use super::splice;
use super::window::FileWindow;
use super::work::{FinishAttempt, FinishJob, FinishPhase, watch, without_repeats};
use super::{FinishError, Inspection, Iso, ValidationLevel};
use crate::durable::{self, FileError, Partial, ReadAhead, ReadAheadReader};
use crate::isobmff::{self, FileShape, FrontPlan, Movie};
use crate::media::{self, Remux};
use crate::memory;
use crate::recording::name::printable;
use crate::recording::{Container, Defect, TrackKind};
use crate::salvage::{self, ExtraReaders, MovieJudge, Origin, Reference, SalvageVerdict, Salvaged};

/// Bytes of a file that are looked at to recognise its container.
const HEAD_BYTES: u64 = 1024;
/// Most siblings that are looked at as references.
const MOST_SIBLINGS: usize = 4;

/// Most threads that look through one recording: the disk is not faster than so many.
const MOST_SCOUTS: usize = 3;
/// A crashed recording is read past the cache, up to 60 MiB of it at a time, by a process that may have so much memory.
const READ_AHEAD_FROM_BYTES: u64 = 512 << 20;

/// What salvage found, before anything final is written.
pub(super) enum SalvageFindings {
    /// Sample tables over the media of an MP4, and what the finished file will lack.
    Tables(Box<Salvaged>, Vec<Defect>),
    /// A file of ours that holds the packets and can be read, and what it is.
    Whole(Partial, Box<Inspection>),
}

/// Looks through a recording, or says why it stays where it is.
pub(super) fn salvage(
    work: &FinishJob<'_>,
    inspection: &Inspection,
    container: Container,
    references: &[Reference],
) -> Result<Result<SalvageFindings, Vec<Defect>>, FinishError> {
    if !container.is_iso() {
        return foreign(work, inspection, container, references);
    }
    let source = work.settled.path();
    let mut salvaged = proven(source, inspection.size_bytes, references, work.options.jobs)?;
    if salvaged.verdict == SalvageVerdict::NeedsParameters
        && let Some(segments) = reference_of_segments(work)
    {
        let again = proven(source, inspection.size_bytes, &[segments], work.options.jobs)?;
        salvaged = if again.verdict == SalvageVerdict::Playable { again } else { salvaged };
    }
    log(source, &salvaged);
    let defects = defects_of(&salvaged, container);
    let all = without_repeats(inspection.defects.iter().chain(&defects).cloned());
    if salvaged.verdict != SalvageVerdict::Playable {
        return Ok(Err(all));
    }
    Ok(Ok(SalvageFindings::Tables(Box::new(salvaged), all)))
}

/// Goes on with what was found.
pub(super) fn write_salvaged(
    attempt: FinishAttempt<'_>,
    inspection: Inspection,
    container: Container,
    found: SalvageFindings,
) -> Result<FinishPhase<'_>, FinishError> {
    match found {
        SalvageFindings::Tables(salvaged, defects) => write(attempt, inspection, container, *salvaged, defects),
        SalvageFindings::Whole(whole, again) => {
            let target = finished_container(container, &again.codecs(), attempt.work.options, media::fits);
            Ok(remux_whole(attempt, *again, target, whole))
        }
    }
}

/// Looks through a recording with the likeliest parameters; where decoders refuse what comes of it, again, and each that is tried
/// must show pictures first. Mostly the first are right: then FFmpeg is not in memory while the media is looked through.
fn proven(source: &Path, size_bytes: u64, references: &[Reference], jobs: usize) -> Result<Salvaged, FinishError> {
    let first = tried(source, salvaged(source, size_bytes, references, &|_| true, jobs)?)?;
    // Without tables for any of it: where the file names its own parameters, there are no others to try.
    let is_refused = first.verdict == SalvageVerdict::NeedsParameters && first.report.decode_errors.is_some();
    if !is_refused || first.found.is_some() {
        return Ok(first);
    }
    let judge = |movie: &Movie| prove(source, movie, ExcerptScope::Beginning).is_ok_and(|proof| proof.is_clean);
    let again = tried(source, salvaged(source, size_bytes, references, &judge, jobs)?)?;
    Ok(if again.verdict == SalvageVerdict::Playable { again } else { first })
}

/// Asks decoders whether what salvage made is right.
fn tried(source: &Path, mut salvaged: Salvaged) -> Result<Salvaged, FinishError> {
    if salvaged.verdict != SalvageVerdict::Playable {
        return Ok(salvaged);
    }
    let parts = salvaged.found.as_deref().map_or(ExcerptScope::All, ExcerptScope::Found);
    let proof = prove(source, &salvaged.movie, parts)?;
    salvaged.report.decode_errors = Some(proof.errors);
    if !proof.is_clean {
        let parameters = salvaged.report.source;
        info!(path = %printable(source), parameters = parameters.name(), errors = proof.errors, "the parameters do not decode the recording");
        salvaged.verdict = SalvageVerdict::NeedsParameters;
    }
    Ok(salvaged)
}

/// A Matroska, WebM or FLV file without its beginning gets that of another recording of its stream, the first with which it
/// decodes; clusters that were hit become whole. Then it is remuxed.
fn foreign(
    work: &FinishJob<'_>,
    inspection: &Inspection,
    container: Container,
    references: &[Reference],
) -> Result<Result<SalvageFindings, Vec<Defect>>, FinishError> {
    let (source, size_bytes) = (work.settled.path(), inspection.size_bytes);
    // One that has its beginning needs none.
    for references in iter::once(&references[..0]).chain(references.chunks(1)) {
        let mended = salvage::mend(durable::open_to_read(source)?, size_bytes, container, references);
        let Some(mended) = mended.map_err(|error| salvage_error(source, error))? else { continue };
        // Beside the source, under the name that a cut attempt is cleared away by.
        let whole = Partial::scratch(source, work.owner)?;
        let rest = mended.from..size_bytes;
        if !(rest.start == 0 && durable::share_behind(source, whole.path(), &[])?) {
            durable::copy_ranges(source, whole.path(), &mended.head, std::slice::from_ref(&rest))?;
        }
        let offset = |at: u64| at.checked_sub(mended.head.len() as u64).map(|at| at + mended.from);
        let mut defects = clusters_made_whole(&whole, container, &offset)?;
        if rest.start > 0 {
            if !begins_clean(whole.path(), container)? {
                info!(path = %printable(source), parameters = mended.source.name(), "the parameters do not decode the recording");
                continue;
            }
            info!(path = %printable(source), parameters = mended.source.name(), from = rest.start, "restored the beginning of the recording");
            defects.push(Defect::Truncated { missing: format!("the first {} bytes", rest.start) });
        }
        return found_whole(whole, defects);
    }
    Ok(Err(vec![Defect::NeedsParameters { pictures: 0, codec: container.extension().to_owned() }]))
}

/// A copy of the recording that is whole again.
fn found_whole(whole: Partial, defects: Vec<Defect>) -> Result<Result<SalvageFindings, Vec<Defect>>, FinishError> {
    let mut again = super::inspect(whole.path())?;
    again.defects.extend(defects);
    if again.is_hopeless() {
        return Ok(Err(again.defects));
    }
    Ok(Ok(SalvageFindings::Whole(whole, Box::new(again))))
}

/// Mends the clusters of our copy of a Matroska or WebM file; what was wrong with them, and where in the original.
fn clusters_made_whole(
    whole: &Partial,
    container: Container,
    offset: &dyn Fn(u64) -> Option<u64>,
) -> Result<Vec<Defect>, FinishError> {
    let path = whole.path();
    if !matches!(container, Container::Matroska | Container::Webm) {
        return Ok(Vec::new());
    }
    let file = durable::open_to_read(path)?;
    let len = file.metadata().map_err(FileError::on("read the metadata of", path))?.len();
    let repair = salvage::repair_clusters(file, len).map_err(|error| salvage_error(path, error))?;
    durable::overwrite(whole, &repair.patches, repair.len)?;
    let (places, bytes) = repair.hit;
    let offset = repair.patches.iter().map(|(at, _)| *at).min().and_then(offset);
    let hit = (places > 0).then_some(Defect::Unexplained { bytes, places, offset, lost_packets: 0 });
    let missing = format!("the data in the last {} bytes", len - repair.len);
    let cut = (repair.len < len).then_some(Defect::Truncated { missing });
    Ok(hit.into_iter().chain(cut).collect())
}

/// Threads that look through a crashed recording: one for each processor, but for a single one, and no more than may finish
/// recordings at once.
fn scouts(jobs: usize) -> usize {
    let processors = std::thread::available_parallelism().map_or(1, NonZero::get);
    let most = if jobs == 0 { MOST_SCOUTS } else { jobs.min(MOST_SCOUTS) };
    if processors > 1 { processors.min(most) } else { 0 }
}

fn salvaged(
    source: &Path,
    size_bytes: u64,
    references: &[Reference],
    judge: &MovieJudge<'_>,
    jobs: usize,
) -> Result<Salvaged, FinishError> {
    let file = durable::open_to_read(source)?;
    let scouts = scouts(jobs);
    let has_memory = memory::limit_bytes() >= READ_AHEAD_FROM_BYTES;
    let ahead = if scouts > 0 && has_memory && splice::is_local_disk(source)? {
        ReadAhead::open(source, scouts + 1)
    } else {
        None
    };
    let look = || {
        // It is read from front to back, a window at a time: the disk works while that is looked through.
        let window = || match &ahead {
            Some(_) => FileWindow::new(&file, size_bytes),
            None => FileWindow::new(&file, size_bytes).asking_ahead(),
        };
        let reader = || ReadAheadReader::new(ahead.as_ref(), window());
        let begins = |scout, range: &Range<u64>| ahead.iter().for_each(|ahead| ahead.begins(scout, range));
        let others = ExtraReaders { readers: (0..scouts).map(|_| reader()).collect(), begins: &begins };
        salvage::salvage_judged(reader(), others, size_bytes, (references, judge))
    };
    let salvaged = match &ahead {
        Some(ahead) => ahead.during(look),
        None => look(),
    };
    salvaged.map_err(|error| salvage_error(source, error))
}

fn log(path: &Path, salvaged: &Salvaged) {
    let report = &salvaged.report;
    info!(
        path = %printable(path),
        verdict = salvaged.verdict.name(),
        confidence = report.confidence.name(),
        parameters = report.source.name(),
        packets = report.packets(),
        lost_packets = report.lost(),
        unexplained_bytes = report.unexplained_bytes,
        gaps = report.gap_count,
        "analysed recording without header",
    );
}

/// What the finished file lacks, or why there is none.
fn defects_of(salvaged: &Salvaged, container: Container) -> Vec<Defect> {
    let report = &salvaged.report;
    let pictures = report.tracks.iter().find(|track| track.kind == TrackKind::Video);
    let verdict = match (salvaged.verdict, pictures) {
        (SalvageVerdict::NeedsParameters, Some(track)) => {
            Some(Defect::NeedsParameters { pictures: track.packets, codec: track.codec.clone() })
        }
        // Fragments whose header is lost: how they are coded is all that is not known.
        (SalvageVerdict::NeedsParameters, None) => {
            Some(Defect::NeedsParameters { pictures: 0, codec: container.extension().to_owned() })
        }
        (SalvageVerdict::NotCovered, _) => {
            report.tracks.first().map(|track| Defect::NotRebuilt { codec: track.codec.clone() })
        }
        (SalvageVerdict::Nothing, _) => Some(Defect::NoPackets),
        _ => None,
    };
    let unexplained = (report.unexplained_bytes > 0).then(|| Defect::Unexplained {
        bytes: report.unexplained_bytes,
        places: report.gap_count as u64,
        offset: report.gaps.first().map(|gap| gap.offset),
        lost_packets: report.lost().unsigned_abs(),
    });
    verdict.into_iter().chain(unexplained).collect()
}

fn write(
    attempt: FinishAttempt<'_>,
    inspection: Inspection,
    container: Container,
    salvaged: Salvaged,
    defects: Vec<Defect>,
) -> Result<FinishPhase<'_>, FinishError> {
    let work = attempt.work;
    let source = work.settled.path();
    let layout = inspection.iso.as_ref().map(|iso| iso.layout.clone());
    let layout = layout.ok_or_else(|| FinishError::Changed { path: source.to_owned() })?;
    let Salvaged { movie, report, whole_bytes, .. } = salvaged;
    let verdict = isobmff::validate(&movie, &layout);
    let iso =
        Iso { whole_bytes, layout, movie: None, stays_fragmented: None, is_rebuilt: true, has_others: false, verdict };
    let declared_ms = movie.declared_duration_ms();
    let start = start_of(work.settled.candidate(), None, declared_ms.unwrap_or(0));
    let closer = look_closer_at(&work, &inspection, container, &movie, whole_bytes)?;
    let front = HeaderMove {
        attempt,
        inspection,
        rebuilt: Some(Box::new(RebuiltMovie { iso, movie })),
        container,
        start,
        defects,
        closer,
        declared_ms,
        salvage: Some(report),
        falls_back: false,
    };
    Ok(front.phase())
}

/// There is no file yet that a decoder could open by its name: it gets the header from here.
fn look_closer_at(
    work: &FinishJob<'_>,
    inspection: &Inspection,
    container: Container,
    movie: &Movie,
    whole_bytes: u64,
) -> Result<CloserLook, FinishError> {
    let source = work.settled.path();
    let read = |bytes| work.progress.set(bytes, inspection.size_bytes);
    let asked = work.validation();
    let level = if asked.level == ValidationLevel::Decode { ValidationLevel::Packets } else { asked.level };
    let mut closer = look_closer(source, container, Some(movie), Validation { level, ..asked }, watch(work, &read))?;
    if work.options.validate == ValidationLevel::Decode {
        let plan = FrontPlan::spanning(movie, &movie.to_ftyp(&[]), whole_bytes, 1);
        let header = plan.map_err(|error| header_error(source, error))?.header;
        let part = Some((header, whole_bytes));
        closer.take_decoded(decoded((source, Container::Mp4), part, asked.decoder, watch(work, &read))?);
    }
    Ok(closer)
}

/// What a sound recording tells about others of its stream; `None` for one that tells nothing that is needed.
pub fn reference_of(path: &Path, origin: Origin) -> Option<Reference> {
    reference_in(&durable::open_to_read(path).ok()?, origin)
}

/// The same of a recording that is open; it is read from its beginning.
pub fn reference_in(mut file: &fs::File, origin: Origin) -> Option<Reference> {
    let size = file.metadata().ok().filter(fs::Metadata::is_file)?.len();
    let mut start = Vec::new();
    file.rewind().ok()?;
    file.take(HEAD_BYTES).read_to_end(&mut start).ok()?;
    match Container::sniff(&start)? {
        Container::Mp4 | Container::Mov => {}
        container => return salvage::head_of(file, size, container).map(|head| Reference::of_head(head, origin)),
    }
    let mut reader = BufReader::new(file);
    let layout = isobmff::top_level(&mut reader, size).ok()?;
    let mut movie = Movie::read(&mut reader, &layout).ok()?;
    if layout.shape() == FileShape::Fragmented {
        movie = isobmff::fragment::read(&mut reader, &layout, movie).ok()?.movie;
    }
    taught_by(&movie, origin)
}

/// What a sound movie tells about others of its stream.
pub(super) fn taught_by(movie: &Movie, origin: Origin) -> Option<Reference> {
    let reference = Reference::of(movie, origin);
    (!reference.tracks.is_empty()).then_some(reference)
}

/// What HLS segments of the same stream beside a recording tell: a transport stream repeats its parameter sets.
fn reference_of_segments(work: &FinishJob<'_>) -> Option<Reference> {
    let source = work.settled.path();
    let segment = segment_beside(source, &work.settled.candidate().facts.stream_id)?;
    let remade = Partial::scratch(source, work.owner).ok()?;
    let request = Remux::new(&segment, Container::MpegTs, remade.path(), Container::Mp4);
    media::remux(&request).ok()?;
    reference_of(remade.path(), Origin::Sibling)
}

/// More is not read of a playlist: a day of segments of a second in 32 MiB has 380 bytes for each.
const MAX_PLAYLIST_BYTES: u64 = 32 << 20;

/// The newest segment of the playlist that bears the name of the stream. A last one may still be being written.
fn segment_beside(source: &Path, stream_id: &str) -> Option<PathBuf> {
    let directory = source.parent()?;
    let playlist = durable::open_to_read(&directory.join(stream_id).with_extension("m3u8")).ok()?;
    let mut text = String::new();
    playlist.take(MAX_PLAYLIST_BYTES).read_to_string(&mut text).ok()?;
    let segments = text.lines().map(str::trim).filter(|line| !line.starts_with('#'));
    let is_segment = |path: &PathBuf| path.extension().is_some_and(|extension| extension == "ts") && path.is_file();
    let beside: Vec<PathBuf> = segments
        .filter(|line| Path::new(line).components().count() == 1)
        .map(|line| directory.join(line))
        .filter(is_segment)
        .collect();
    beside.iter().nth_back(1).or(beside.last()).cloned()
}

fn may_teach(path: &Path) -> bool {
    let extension = path.extension().unwrap_or_default().to_string_lossy();
    let may_tell = |container: Container| container != Container::MpegTs && !container.is_kept();
    Container::from_extension(&extension).is_some_and(may_tell)
}

/// Sound recordings beside a file: those whose names begin most like its own first (its stream, and of that its rendition),
/// then the newest.
pub fn siblings(path: &Path, stream_id: &str) -> Vec<Reference> {
    let Some(entries) = path.parent().and_then(|directory| fs::read_dir(directory).ok()) else { return Vec::new() };
    let own = path.file_name().unwrap_or_default().to_string_lossy();
    let mut found: Vec<_> = entries
        .flatten()
        .filter(|entry| entry.path() != path && may_teach(&entry.path()))
        .filter_map(|entry| {
            let name = entry.file_name().to_string_lossy().into_owned();
            let alike = name.bytes().zip(own.bytes()).take_while(|(a, b)| a == b).count();
            let rank = (name.starts_with(stream_id), if name.starts_with(stream_id) { alike } else { 0 });
            Some((rank, entry.metadata().ok()?.modified().ok()?, entry.path()))
        })
        .collect();
    found.sort_by(|a, b| b.cmp(a));
    found.iter().take(MOST_SIBLINGS).filter_map(|(.., path)| reference_of(path, Origin::Sibling)).collect()
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::io::Cursor;
    use std::os::unix::fs::FileExt;
    use std::process::Command;

    use super::*;
    use crate::durable::image::Image;

    /// Media of a few chunks whose header was never written, and what tells how it is coded.
    fn crashed(directory: &Path) -> (Vec<u8>, Reference) {
        let whole = directory.join("whole.mp4");
        let noise = ["-f", "lavfi", "-i", "testsrc2=s=1280x720:r=25:d=4,noise=alls=30:allf=t"];
        let sound =
            ["-f", "lavfi", "-i", "sine=f=440:r=48000:d=4", "-c:v", "libx264", "-preset", "ultrafast", "-qp", "20"];
        let run = Command::new("ffmpeg").args(["-nostdin", "-v", "error"]).args(noise).args(sound).arg(&whole).status();
        assert!(run.unwrap().success());
        let mut bytes = fs::read(&whole).unwrap();
        let layout = isobmff::top_level(&mut Cursor::new(&bytes), bytes.len() as u64).unwrap();
        let movie = Movie::read(&mut Cursor::new(&bytes), &layout).unwrap();
        bytes.truncate(usize::try_from(layout.first(b"moov").unwrap().offset).unwrap());
        (bytes, Reference::of(&movie, Origin::Given))
    }

    #[test]
    fn what_lies_on_the_disk_is_salvaged_alike_and_brought_into_memory_by_nobody() {
        let Some(image) = Image::mount("ext4", 300, &[]) else { return };
        let (whole, reference) = crashed(&image.path());
        assert!(whole.len() > 16 << 20, "{}", whole.len());
        let references = [reference];
        for holes in [0, 400] {
            let mut bytes = whole.clone();
            for hole in 0..holes {
                let at = 1000 + hole * (bytes.len() - 30_000) / 400;
                bytes[at..at + 500 + hole * 37 % 15_000].fill(0);
            }
            let path = image.path().join(format!("{holes}.mp4.tmp"));
            let file = File::create(&path).unwrap();
            file.write_all_at(&bytes, 0).unwrap();
            file.sync_all().unwrap();
            rustix::fs::fadvise(&file, 0, None, rustix::fs::Advice::DontNeed).unwrap();
            let lies_on_the_disk = || ReadAhead::open(&path, 3).is_some();
            assert!(lies_on_the_disk());
            let found = salvaged(&path, bytes.len() as u64, &references, &|_| true, 0).unwrap();
            assert!(lies_on_the_disk(), "{holes} holes");
            let alone =
                salvage::salvage(Cursor::new(&bytes), ExtraReaders::none(), bytes.len() as u64, &references).unwrap();
            assert_eq!(found.movie, alone.movie, "{holes} holes");
            assert_eq!(serde_json::to_value(&found.report).unwrap(), serde_json::to_value(&alone.report).unwrap());
            assert!(found.movie.tracks[0].tables.count() > 60);
        }
    }
}
