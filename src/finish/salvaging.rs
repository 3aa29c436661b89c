//! Salvage as a way of finishing: the rebuilt tables in front of a copy of the crashed file. The original always stays.

use std::fs::{self, File};
use std::io::{BufReader, Read as _};
use std::path::Path;

use tracing::info;

use super::container::finished_container;
use super::describe::describe;
use super::identity::start_of;
use super::inspect::{header_error, salvage_error};
use super::produce::{Work, Written, extension_of, partial_with_room, seal, watch, without_repeats};
use super::remux::remux_from;
use super::splice::file_type;
use super::{FinishError, Inspection, Wish, sameness};
use crate::durable::{self, FileError, Partial};
use crate::isobmff::{self, FrontPlan, Layout, Movie, Shape};
use crate::media;
use crate::recording::{Container, Defect, Outcome, TrackKind};
use crate::salvage::{self, Origin, Reference, Salvaged, Verdict};

/// Bytes of a file that are looked at to recognise its container.
const HEAD_BYTES: u64 = 1024;
/// Most siblings that are looked at as references.
const MOST_SIBLINGS: usize = 4;

/// Salvages a recording, or says why it stays where it is.
pub fn salvage(
    work: &Work<'_>,
    inspection: &Inspection,
    container: Container,
) -> Result<Result<Box<Written>, Vec<Defect>>, FinishError> {
    if !container.is_iso() {
        return headless(work, inspection, container);
    }
    let source = work.settled.path();
    let salvaged = salvaged(source, inspection.size_bytes, &(work.references)())?;
    log(source, &salvaged);
    let defects = defects_of(&salvaged);
    let all = without_repeats(inspection.defects.iter().chain(&defects).cloned());
    if salvaged.verdict != Verdict::Playable {
        return Ok(Err(all));
    }
    write(work, inspection, container, &salvaged, all).map(|written| Ok(Box::new(written)))
}

/// A Matroska, WebM or FLV file without its beginning gets that of another recording of its stream, and is remuxed.
fn headless(
    work: &Work<'_>,
    inspection: &Inspection,
    container: Container,
) -> Result<Result<Box<Written>, Vec<Defect>>, FinishError> {
    let (source, size_bytes) = (work.settled.path(), inspection.size_bytes);
    let file = File::open(source).map_err(FileError::on("open", source))?;
    let mended = salvage::mend(file, size_bytes, container, &(work.references)());
    let Some(mended) = mended.map_err(|error| salvage_error(source, error))? else {
        return Ok(Err(vec![Defect::NeedsParameters { pictures: 0, codec: container.extension().to_owned() }]));
    };
    info!(path = %source.display(), parameters = ?mended.source, from = mended.from, "Gave a recording its beginning again.");
    // Beside the source, under the name that a cut attempt is cleared away by.
    let whole = Partial::create(source)?;
    durable::copy_ranges(source, whole.path(), &mended.head, std::slice::from_ref(&(mended.from..size_bytes)))?;
    let mut again = super::inspect(whole.path())?;
    again.defects.push(Defect::Truncated { missing: format!("the first {} bytes", mended.from) });
    if again.is_hopeless() {
        return Ok(Err(again.defects));
    }
    let target = finished_container(container, &again.codecs(), work.options, media::fits);
    let written = remux_from(work, &again, target, whole.path())?;
    Ok(Ok(Box::new(Written { outcome: Outcome::Salvaged, ..written })))
}

fn salvaged(source: &Path, size_bytes: u64, references: &[Reference]) -> Result<Salvaged, FinishError> {
    let file = File::open(source).map_err(FileError::on("open", source))?;
    salvage::salvage(file, size_bytes, references).map_err(|error| salvage_error(source, error))
}

fn log(path: &Path, salvaged: &Salvaged) {
    let report = &salvaged.report;
    info!(
        path = %path.display(),
        verdict = ?salvaged.verdict,
        confidence = ?report.confidence,
        parameters = ?report.source,
        packets = report.packets(),
        lost_packets = report.lost(),
        unexplained_bytes = report.unexplained_bytes,
        gaps = report.gap_count,
        "Looked through a recording without a header.",
    );
}

/// What the finished file lacks, or why there is none.
fn defects_of(salvaged: &Salvaged) -> Vec<Defect> {
    let report = &salvaged.report;
    let pictures = report.tracks.iter().find(|track| track.kind == TrackKind::Video);
    let verdict = match (salvaged.verdict, pictures) {
        (Verdict::NeedsParameters, Some(track)) => {
            Some(Defect::NeedsParameters { pictures: track.packets, codec: track.codec.clone() })
        }
        (Verdict::Nothing, _) => Some(Defect::NoPackets),
        _ => None,
    };
    let unexplained = (report.unexplained_bytes > 0).then(|| Defect::Unexplained {
        bytes: report.unexplained_bytes,
        places: report.gap_count as u64,
        lost_packets: report.lost().unsigned_abs(),
    });
    verdict.into_iter().chain(unexplained).collect()
}

fn write(
    work: &Work<'_>,
    inspection: &Inspection,
    container: Container,
    salvaged: &Salvaged,
    defects: Vec<Defect>,
) -> Result<Written, FinishError> {
    let source = work.settled.path();
    let duration_ms = salvaged.movie.declared_duration_ms().unwrap_or(0);
    let start = start_of(work.settled, None, duration_ms);
    let wish = Wish { extension: extension_of(source, container), start_ms: start.0, may_be_own: false };
    let final_path = (work.choose_path)(&wish)?;
    let plan = plan(source, inspection.iso.as_ref().map(|iso| &iso.layout), salvaged)?;
    let partial = partial_with_room(work, &final_path, plan.len())?;
    durable::copy_ranges(source, partial.path(), &plan.header, &plan.body_ranges)?;
    sameness::compare(source, &salvaged.movie, partial.path(), sameness::Payloads::All)?;
    let description = describe(partial.path(), container, &watch(work, &|_| ()))?;
    let (path, fingerprint, warnings) = seal(work, partial)?;
    Ok(Written {
        path,
        fingerprint,
        final_path,
        description,
        defects,
        start,
        outcome: Outcome::Salvaged,
        splice: None,
        undo: None,
        warnings,
    })
}

fn plan(source: &Path, layout: Option<&Layout>, salvaged: &Salvaged) -> Result<FrontPlan, FinishError> {
    let file = File::open(source).map_err(FileError::on("open", source))?;
    let old = layout.map(|layout| file_type(&file, layout)).transpose().map_err(FileError::on("read", source))?;
    let ftyp = salvaged.movie.to_ftyp(&old.unwrap_or_default());
    let plan = FrontPlan::spanning(&salvaged.movie, &ftyp, salvaged.whole_bytes, 1);
    plan.map_err(|error| header_error(source, error))
}

/// What a sound recording tells about others of its stream; `None` for one that tells nothing that is needed.
pub fn reference_of(path: &Path, origin: Origin) -> Option<Reference> {
    let size = fs::metadata(path).ok().filter(fs::Metadata::is_file)?.len();
    let mut file = File::open(path).ok()?;
    let mut start = Vec::new();
    file.by_ref().take(HEAD_BYTES).read_to_end(&mut start).ok()?;
    match Container::sniff(&start)? {
        Container::Mp4 | Container::Mov => {}
        container => return salvage::head_of(&file, size, container).map(|head| Reference::of_head(head, origin)),
    }
    let mut reader = BufReader::new(&file);
    let layout = isobmff::top_level(&mut reader, size).ok()?;
    let mut movie = Movie::read(&mut reader, &layout).ok()?;
    if layout.shape() == Shape::Fragmented {
        movie = isobmff::fragment::read(&mut reader, &layout, movie).ok()?.movie;
    }
    let reference = Reference::of(&movie, origin);
    (!reference.tracks.is_empty()).then_some(reference)
}

fn may_teach(path: &Path) -> bool {
    let extension = path.extension().unwrap_or_default().to_string_lossy();
    Container::from_extension(&extension).is_some_and(|container| container != Container::MpegTs)
}

/// Sound recordings beside a file, those of its stream first, then the newest.
pub fn siblings(path: &Path, stream_id: &str) -> Vec<Reference> {
    let Some(entries) = path.parent().and_then(|directory| fs::read_dir(directory).ok()) else { return Vec::new() };
    let mut found: Vec<_> = entries
        .flatten()
        .filter(|entry| entry.path() != path && may_teach(&entry.path()))
        .filter_map(|entry| {
            let is_of_stream = entry.file_name().to_string_lossy().starts_with(stream_id);
            Some((is_of_stream, entry.metadata().ok()?.modified().ok()?, entry.path()))
        })
        .collect();
    found.sort_by(|a, b| b.cmp(a));
    found.iter().take(MOST_SIBLINGS).filter_map(|(.., path)| reference_of(path, Origin::Sibling)).collect()
}
