//! Whole recordings, by every way.

use std::path::PathBuf;
use std::sync::atomic::AtomicBool;

use super::*;
use crate::cpu_permits::CpuPermit;
use crate::discover::Settled;
use crate::finish::{
    Conclusion, FinishError, FinishJob, FinishOptions, FinishPhase, Finished, SpliceMode, UndoOutcome, ValidationLevel,
    prepare, undo,
};
use crate::media::MediaError;
use crate::progress::Progress;
use crate::recording::journey::{Candidate, NameFacts};
use crate::recording::{Outcome, SpliceIntent, SpliceMethod};

pub(super) fn settled(path: &Path, is_temporary: bool) -> Settled {
    Settled::for_test(Candidate {
        path: path.to_owned(),
        root: path.parent().unwrap().to_owned(),
        server: "template".into(),
        is_temporary,
        facts: NameFacts { stream_id: "room".into(), stem: "room".into(), ..NameFacts::default() },
        fingerprint: durable::fingerprint(path).unwrap(),
    })
}

/// Finishes a file as far as its final name; also what was journalled meanwhile.
pub(super) fn finished(
    settled: &Settled,
    options: &FinishOptions,
) -> Result<(Finished, Option<SpliceIntent>), FinishError> {
    finished_unless(settled, options, &AtomicBool::new(false))
}

/// The same, unless it is told to stop.
fn finished_unless(
    settled: &Settled,
    options: &FinishOptions,
    stop: &AtomicBool,
) -> Result<(Finished, Option<SpliceIntent>), FinishError> {
    let now_ms = settled.candidate().fingerprint.mtime_ms() + 3_600_000;
    let work = FinishJob {
        settled,
        options,
        stop,
        now_ms,
        progress: &Progress::default(),
        cpu_permit: &CpuPermit::alone(),
        owner: &durable::PartialOwner::of_process(),
        decoder: None,
    };
    let (mut phase, mut journal) = (prepare(work)?.begin(&[])?, None);
    loop {
        phase = match phase {
            FinishPhase::Unnamed(unnamed) => {
                let name = format!("room.{}", unnamed.name_request().extension);
                unnamed.named(settled.path().with_file_name(name))?
            }
            FinishPhase::Change(change) => {
                journal = Some(change.intent.clone());
                change.perform()?
            }
            FinishPhase::Ended(Conclusion::Finished(finished)) => return Ok((*finished, journal)),
            FinishPhase::Ended(Conclusion::Quarantined(defects)) => panic!("{defects:?}"),
        }
    }
}

pub(super) fn options(splice: SpliceMode) -> FinishOptions {
    FinishOptions { splice, ..FinishOptions::default() }
}

fn ffprobe(path: &Path) -> String {
    let run = Command::new("ffprobe")
        .args(["-v", "error", "-ignore_editlist", "1", "-show_packets", "-show_data_hash", "md5"])
        .args(["-show_entries", "packet=codec_type,dts,size,data_hash", "-of", "compact=p=0"])
        .arg(path)
        .output()
        .unwrap();
    assert!(run.status.success(), "{}", String::from_utf8_lossy(&run.stderr));
    let mut lines: Vec<_> = String::from_utf8_lossy(&run.stdout).lines().map(str::to_owned).collect();
    lines.sort();
    lines.join("\n")
}

#[test]
fn in_place_every_packet_is_the_same_and_the_header_is_in_front() {
    for (kind, image) in images() {
        for recipe in RECIPES {
            let source = put(&image, recipe, "room.mp4.tmp");
            let (before, probed) = (holdings(&source), ffprobe(&source));
            let settled = settled(&source, true);
            let (finished, intent) = finished(&settled, &options(SpliceMode::InsertRange)).unwrap();
            let intent = intent.unwrap_or_else(|| panic!("{kind} {recipe}: not in place: {finished:?}"));
            assert_eq!(finished.written_path, source);
            assert_eq!(
                (finished.record.outcome, finished.record.splice),
                (Outcome::Spliced, Some(SpliceMethod::InsertRange))
            );
            assert_eq!(durable::fingerprint(&source).unwrap(), finished.written);
            assert_eq!(finished.written, intent.after);
            assert_eq!(finished.written.mtime_ns, settled.candidate().fingerprint.mtime_ns);
            assert!(!finished.removes_source && finished.record.original_path.is_none());
            assert_eq!(shape(&source), FileShape::HeaderFirst, "{kind} {recipe}");
            assert!(holdings(&source) == before && ffprobe(&source) == probed, "{kind} {recipe}");
            let inspection = inspect(&source).unwrap();
            assert_eq!(inspection.defects, [], "{kind} {recipe}");
            // What a rebuild of the catalogue would say of it.
            let watch = crate::media::PassControl { cancel: None, progress: None };
            let again = crate::finish::describe(&source, Container::Mp4, &watch).unwrap();
            assert_eq!((again.tracks, again.duration_ms), (finished.record.tracks, finished.record.duration));
            std::fs::remove_file(&source).unwrap();
        }
    }
}

#[test]
fn a_finished_splice_is_undone_to_the_byte() {
    for (kind, image) in images() {
        for recipe in RECIPES {
            let source = put(&image, recipe, "room.mp4");
            let original = std::fs::read(&source).unwrap();
            let (done, intent) = finished(&settled(&source, false), &options(SpliceMode::InsertRange)).unwrap();
            assert_eq!(done.record.file_path, source);
            let reader = std::fs::File::open(&source).unwrap();
            assert_eq!(undo(&done.record).unwrap(), UndoOutcome::Refused, "somebody has it open");
            drop(reader);
            assert_eq!(undo(&done.record).unwrap(), UndoOutcome::AsBefore, "{kind} {recipe}");
            assert!(std::fs::read(&source).unwrap() == original, "{kind} {recipe}");
            assert_eq!(durable::fingerprint(&source).unwrap(), intent.unwrap().before);
            // Where no old header had to come back, it is told that it was done already.
            let again = if recipe == "fragmented" { UndoOutcome::AsBefore } else { UndoOutcome::Refused };
            assert_eq!(undo(&done.record).unwrap(), again, "{kind} {recipe}: it is not that file any more");
            assert!(std::fs::read(&source).unwrap() == original, "{kind} {recipe}");
        }
    }
}

#[test]
fn each_way_gives_the_same_packets_and_says_its_name() {
    let btrfs = Image::mount("btrfs", 256, &[]).map(|image| ("btrfs", image));
    for (kind, image) in images().into_iter().chain(btrfs) {
        for (splice, way) in [
            (SpliceMode::Copy, SpliceMethod::Copy),
            (SpliceMode::CopyRange, SpliceMethod::CopyRange),
            (SpliceMode::Reflink, if kind == "ext4" { SpliceMethod::CopyRange } else { SpliceMethod::Reflink }),
            (
                SpliceMode::InsertRange,
                if kind == "btrfs" { SpliceMethod::CopyRange } else { SpliceMethod::InsertRange },
            ),
        ] {
            for recipe in RECIPES {
                let source = put(&image, recipe, "room.mp4.tmp");
                let before = holdings(&source);
                let (finished, _) = finished(&settled(&source, false), &options(splice)).unwrap();
                assert_eq!(finished.record.splice, Some(way), "{kind} {recipe}");
                assert!(holdings(&finished.written_path) == before, "{kind} {recipe} {splice:?}");
                assert_eq!(shape(&finished.written_path), FileShape::HeaderFirst, "{kind} {recipe} {splice:?}");
                assert_eq!(inspect(&finished.written_path).unwrap().defects, [], "{kind} {recipe} {splice:?}");
                std::fs::remove_file(&finished.written_path).unwrap();
                let _ = std::fs::remove_file(&source);
            }
        }
    }
}

/// A recording of 40 MiB: a box behind all others makes it large.
fn large(image: &Image, name: &str) -> PathBuf {
    let source = put(image, "last", name);
    let mut bytes = std::fs::read(&source).unwrap();
    bytes.extend([&(40_u32 << 20).to_be_bytes()[..], b"skip"].concat());
    bytes.resize(bytes.len() + (40 << 20) - 8, 0x5A);
    std::fs::write(&source, &bytes).unwrap();
    settle(&source);
    source
}

#[test]
fn by_itself_a_large_recording_of_any_age_and_name_is_finished_without_copying_it() {
    for (kind, mb, way) in [("ext4", 192, SpliceMethod::InsertRange), ("xfs", 320, SpliceMethod::Reflink)] {
        let Some(image) = Image::mount(kind, mb, &[]) else { continue };
        for (name, is_temporary) in [("old.mp4", false), ("new.mp4.tmp", true)] {
            let source = large(&image, name);
            assert!(durable::free_bytes(&source).unwrap() > 41 << 20, "there is room for a copy");
            let before = holdings(&source);
            let (done, _) = finished(&settled(&source, is_temporary), &options(SpliceMode::Auto)).unwrap();
            assert_eq!(done.record.splice, Some(way), "{kind} {name}");
            assert!(holdings(&done.written_path) == before, "{kind} {name}");
            std::fs::remove_file(&done.written_path).unwrap();
            let small = put(&image, "last", &format!("small-{name}"));
            let (done, intent) = finished(&settled(&small, is_temporary), &options(SpliceMode::Auto)).unwrap();
            assert!(intent.is_none() && done.record.splice != Some(SpliceMethod::InsertRange), "{kind} {name}");
            std::fs::remove_file(&done.written_path).unwrap();
        }
    }
}

#[test]
fn a_large_recording_that_is_being_read_is_copied_past_the_cache_to_the_byte_or_not_at_all() {
    let Some(image) = Image::mount("ext4", 128, &[]) else { return };
    let source = large(&image, "room.mp4");
    let before = holdings(&source);
    let settled = settled(&source, false);
    let _reader = std::fs::File::open(&source).unwrap();
    let (finished, _) = finished(&settled, &options(SpliceMode::Auto)).unwrap();
    assert_eq!(finished.record.splice, Some(SpliceMethod::Copy));
    assert!(holdings(&finished.written_path) == before);
    let written = std::fs::read(&finished.written_path).unwrap();
    assert!(written.ends_with(&[0x5A; 1000]) && written.len() >= 40 << 20, "{}", written.len());
    std::fs::remove_file(&finished.written_path).unwrap();
    let stopped = finished_unless(&settled, &options(SpliceMode::Auto), &AtomicBool::new(true)).unwrap_err();
    assert!(matches!(stopped, FinishError::Media(MediaError::Cancelled)), "{stopped}");
    let left: Vec<_> = std::fs::read_dir(image.path()).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert!(!left.iter().any(|name| durable::is_partial(name)), "{left:?}");
}

#[test]
fn a_full_disk_is_no_reason_not_to_finish() {
    let Some(image) = Image::mount("ext4", 64, &[]) else { return };
    let sources: Vec<PathBuf> = ["last", "fragmented"].map(|r| put(&image, r, &format!("{r}.mp4"))).into();
    image.fill_up_to(600 << 10);
    for source in sources {
        let size_bytes = std::fs::metadata(&source).unwrap().len();
        assert!(durable::free_bytes(&source).unwrap() < size_bytes, "the disk is full enough");
        let before = holdings(&source);
        let mut aside = options(SpliceMode::CopyRange);
        assert!(matches!(finished(&settled(&source, false), &aside), Err(FinishError::NoSpace { .. })));
        aside.splice = SpliceMode::Auto;
        let (finished, _) = finished(&settled(&source, false), &aside).unwrap();
        assert_eq!(finished.record.splice, Some(SpliceMethod::InsertRange));
        assert!(holdings(&source) == before);
        assert_eq!(shape(&source), FileShape::HeaderFirst);
    }
}

#[test]
fn a_disk_without_room_for_the_header_leaves_the_recording_as_it_was() {
    let Some(image) = Image::mount("ext4", 64, &["-m", "0"]) else { return };
    let source = put(&image, "last", "room.mp4.tmp");
    let before = std::fs::read(&source).unwrap();
    image.fill_up_to(256 << 10);
    let mut more = 0_u32;
    while std::fs::write(image.path().join(format!("more{more}")), [1; 4096]).is_ok() {
        more += 1;
    }
    let fingerprint = durable::fingerprint(&source).unwrap();
    let error = finished(&settled(&source, true), &options(SpliceMode::Auto)).unwrap_err();
    assert!(matches!(error, FinishError::NoSpace { .. } | FinishError::File(_)), "{error:?}");
    assert!(std::fs::read(&source).unwrap() == before);
    assert_eq!(durable::fingerprint(&source).unwrap(), fingerprint);
}

#[test]
fn a_file_that_somebody_reads_is_finished_beside_itself() {
    for (kind, image) in images() {
        let source = put(&image, "last", "room.mp4.tmp");
        let reader = std::fs::File::open(&source).unwrap();
        let (finished, intent) = finished(&settled(&source, true), &options(SpliceMode::InsertRange)).unwrap();
        assert_eq!(intent, None, "{kind}: nothing is journalled that cannot be done");
        assert_ne!(finished.written_path, source, "{kind}");
        assert!(std::fs::read(&source).unwrap() == std::fs::read(made("last")).unwrap(), "{kind}");
        drop(reader);
    }
}

#[test]
fn a_file_that_is_opened_while_its_splice_is_planned_is_given_back_as_it_was() {
    for (kind, image) in images() {
        for recipe in RECIPES {
            let source = put(&image, recipe, "room.mp4.tmp");
            let inspection = inspect(&source).unwrap();
            let prepared = prepared(&source, &inspection);
            let _reader = std::fs::File::open(&source).unwrap();
            let performed = prepared.perform().unwrap();
            assert!(
                matches!(performed, crate::finish::splice::InPlaceOutcome::Aside(_)),
                "{kind} {recipe}: {performed:?}"
            );
            assert!(std::fs::read(&source).unwrap() == std::fs::read(made(recipe)).unwrap(), "{kind} {recipe}");
            assert_eq!(durable::fingerprint(&source).unwrap(), prepared.intent.before);
        }
    }
}

#[test]
fn a_hard_link_and_a_kept_original_are_never_changed() {
    for (_, image) in images() {
        let source = put(&image, "last", "room.mp4.tmp");
        let original = std::fs::read(&source).unwrap();
        let keep = FinishOptions { keep_original: true, ..options(SpliceMode::InsertRange) };
        let (_, intent) = finished(&settled(&source, true), &keep).unwrap();
        assert_eq!(intent, None);
        std::fs::hard_link(&source, image.path().join("link")).unwrap();
        let (_, intent) = finished(&settled(&source, true), &options(SpliceMode::InsertRange)).unwrap();
        assert_eq!(intent, None);
        assert!(std::fs::read(&source).unwrap() == original);
    }
}

/// Every packet with its times, as players see them: edit lists applied.
fn presented(path: &Path) -> Vec<String> {
    let run = Command::new("ffprobe")
        .args(["-v", "error", "-show_packets", "-show_data_hash", "md5", "-of", "compact=p=0"])
        .args(["-show_entries", "packet=stream_index,pts_time,dts_time,size,flags,data_hash"])
        .arg(path)
        .output()
        .unwrap();
    assert!(run.status.success(), "{}", String::from_utf8_lossy(&run.stderr));
    let mut lines: Vec<_> = String::from_utf8_lossy(&run.stdout)
        .lines()
        .filter(|line| line.starts_with("stream_index"))
        .map(str::to_owned)
        .collect();
    // Tracks are interleaved in another way; within each the order is that of decoding.
    lines.sort_by_key(|line| line.split('|').next().map(str::to_owned));
    lines
}

#[test]
fn a_remuxed_recording_gets_its_header_in_front_of_fragments_and_is_the_same() {
    for (kind, image) in images() {
        for (format, extension) in [("mpegts", "ts"), ("matroska", "mkv")] {
            let source = image.path().join(format!("room.{extension}"));
            let run = Command::new("ffmpeg")
                .args(["-nostdin", "-v", "error", "-i"])
                .arg(made("last"))
                .args(["-c", "copy", "-f", format])
                .arg(&source)
                .output()
                .unwrap();
            assert!(run.status.success());
            let mut presentations = Vec::new();
            for (splice, expected) in [(SpliceMode::Auto, Some(SpliceMethod::InsertRange)), (SpliceMode::Copy, None)] {
                let (finished, _) = finished(&settled(&source, false), &options(splice)).unwrap();
                let path = &finished.written_path;
                assert_eq!((finished.record.outcome, finished.record.splice), (Outcome::Remuxed, expected), "{kind}");
                assert_eq!(shape(path), FileShape::HeaderFirst, "{kind} {format}");
                assert_eq!(inspect(path).unwrap().defects, [], "{kind} {format}");
                presentations.push((presented(path), finished.record.vod_id, finished.record.tracks));
                std::fs::remove_file(path).unwrap();
            }
            let (inserted, moved) = (&presentations[0], &presentations[1]);
            assert!(inserted.0.len() > 200, "{kind} {format}: {}", inserted.0.len());
            for (ours, theirs) in inserted.0.iter().zip(&moved.0) {
                assert_eq!(ours, theirs, "{kind} {format}");
            }
            assert_eq!((inserted.0.len(), &inserted.1), (moved.0.len(), &moved.1), "{kind} {format}");
            let counted = |tracks: &[crate::recording::TrackSummary]| {
                tracks.iter().map(|t| (t.codec.clone(), t.packets, t.bytes, t.start_ms)).collect::<Vec<_>>()
            };
            assert_eq!(counted(&inserted.2), counted(&moved.2), "{kind} {format}");
            std::fs::remove_file(&source).unwrap();
        }
    }
}

#[test]
fn validate_packets_puts_digests_into_the_record_whatever_the_outcome() {
    for (_, image) in images() {
        let mut said = Vec::new();
        for splice in [SpliceMode::InsertRange, SpliceMode::CopyRange] {
            let source = put(&image, "last", "room.mp4.tmp");
            let options = FinishOptions { validate: ValidationLevel::Packets, ..options(splice) };
            let (finished, _) = finished(&settled(&source, true), &options).unwrap();
            said.push(finished.record.tracks.into_iter().map(|t| t.digest.unwrap()).collect::<Vec<_>>());
            std::fs::remove_file(&finished.written_path).unwrap();
        }
        assert_eq!(said[0], said[1]);
    }
}
