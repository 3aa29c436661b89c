//! What is fuzzed: everything that reads bytes nobody here wrote. Each target is a plain function, so that `cargo fuzz`
//! (scripts/fuzz) and the test suite (tests/it/fuzz.rs, over seeds, findings and their mutations) run the same code.
//!
//! A target ends well for any input: no panic, and in time and memory that the input's own bytes pay for. Beyond that
//! each one states what must hold whatever the input is.

use std::fs;
use std::io::Cursor;
use std::path::Path;

use aftercast::durable::{InPlaceEditor, InPlaceOp, fingerprint};
use aftercast::finish::{ByteRecovery, SpliceRecovery, Tables, put_back_by_bytes, recover, tables_over_flv};
use aftercast::isobmff::{
    FileShape, FrontPlan, Layout, Movie, first_difference, fragment, relocated, top_level, validate,
};
use aftercast::recording::{Container, Fingerprint, Retirement, SpliceIntent};
use aftercast::salvage::{
    ExtraReaders, MOST_HEAD_BYTES, Origin, Reference, Salvaged, are_clusters_hit, head_of, mend, repair_clusters,
    salvage as salvage_media,
};

pub mod elements;

/// Bytes of an allocation unit of the file systems that insert ranges.
const BLOCK: u64 = 4096;
/// Samples that are walked of a track: a count that is claimed costs nothing to claim.
const SAMPLES: usize = 10_000;

/// The top level: boxes follow one another, none begins outside the file.
pub fn boxes(bytes: &[u8]) {
    let len = bytes.len() as u64;
    let layout = top_level(&mut Cursor::new(bytes), len).expect("memory can always be read");
    let mut at = 0;
    for found in &layout.boxes {
        assert_eq!(found.offset, at, "a box begins where the one before ends");
        assert!(found.size_bytes >= u64::from(found.header_bytes) && found.offset < len);
        at = found.end();
    }
    let media = layout.media_ranges();
    assert!(media.iter().all(|range| range.start <= range.end && range.end <= len));
    let _ = (layout.shape(), layout.torn(), layout.missing_bytes());
}

/// A movie from its header and its fragments, judged and written in every way. A header without a defect comes through
/// with every sample where its byte went.
pub fn movie(bytes: &[u8]) {
    let mut reader = Cursor::new(bytes);
    let Ok(layout) = top_level(&mut reader, bytes.len() as u64) else { return };
    let Ok(header) = Movie::read(&mut reader, &layout) else { return };
    let _ = relocated(header.raw(), &|offset| offset.saturating_add(1 << 32));
    let _ = header.to_moov(1 << 40);
    judge(&header, &layout);
    if layout.shape() != FileShape::Fragmented {
        let _ = FrontPlan::compact(&layout, &header, b"", 1);
        if let Ok(plan) = FrontPlan::whole(&layout, &header, b"", BLOCK) {
            assert_comes_through(&header, &layout, &plan);
        }
        return;
    }
    let in_passing = fragment::top_level(&mut Cursor::new(bytes), layout.len).expect("it was read before").1;
    let whole = fragment::read(&mut reader, &layout, header);
    assert!(in_passing.is_none() || in_passing.as_ref() == whole.as_ref().ok(), "read in passing, they are the same");
    let Ok(whole) = whole else { return };
    assert!(whole.whole_bytes <= layout.len);
    judge(&whole.movie, &layout);
    if let Ok(plan) = FrontPlan::spanning(&whole.movie, b"", layout.len, BLOCK) {
        assert_comes_through(&whole.movie, &layout, &plan);
    }
}

fn judge(movie: &Movie, layout: &Layout) {
    let _ = validate(movie, layout);
    for track in &movie.tracks {
        let _ = track.samples().take(SAMPLES).count();
    }
}

fn assert_comes_through(movie: &Movie, layout: &Layout, plan: &FrontPlan) {
    assert_eq!(plan.header.len() as u64 % BLOCK, 0, "whole blocks");
    if !movie.defects.is_empty() || !validate(movie, layout).defects.is_empty() {
        return;
    }
    let front = plan.header.len() as u64;
    let mut reader = Cursor::new(&plan.header);
    let written = top_level(&mut reader, front).expect("memory can always be read");
    let again = Movie::read(&mut reader, &written).expect("what was written can be read");
    assert_eq!(first_difference(movie, &again, &|offset| offset + front), None);
}

/// An FLV file: tables over its tags name nothing outside of it, and come through the header that is put in front of it.
pub fn flv(bytes: &[u8]) {
    let len = bytes.len() as u64;
    let tables = tables_over_flv(Cursor::new(bytes), len).expect("memory can always be read");
    let Tables::Of(movie, _) = tables else { return };
    let layout = Layout::without_boxes(len);
    judge(&movie, &layout);
    for sample in movie.tracks.iter().flat_map(|track| track.samples().take(SAMPLES)) {
        assert!(sample.offset + u64::from(sample.size_bytes) <= len, "a packet lies in the file");
        assert!(sample.size_bytes > 0 && sample.pts >= sample.dts);
    }
    let plan = FrontPlan::spanning(&movie, b"", len, BLOCK).expect("few tags give a small header");
    let front = plan.header.len() as u64;
    let mut reader = Cursor::new(&plan.header);
    let written = top_level(&mut reader, front).expect("memory can always be read");
    let again = Movie::read(&mut reader, &written).expect("what was written can be read");
    assert_eq!(first_difference(&movie, &again, &|offset| offset + front), None);
}

/// A file that a splice in place left in any state: afterwards it is what it was, what it was to become, or untouched.
///
/// The first eight bytes say where the cut was: block of the gap, blocks of the gap, what was written of the header,
/// what the journal knows. The rest is the recording.
pub fn in_place(bytes: &[u8]) {
    let Some((cut, recording)) = bytes.split_at_checked(8) else { return };
    let Ok(dir) = tempfile::tempdir() else { return };
    let path = dir.path().join("x.mp4");
    if recording.is_empty() || fs::write(&path, recording).is_err() {
        return;
    }
    let Some(intent) = intent_of(&path, recording, cut) else { return };
    if !leave_half_done(&path, &intent, cut) {
        return;
    }
    let left = fs::read(&path).expect("it was written a moment ago");
    let knows = cut[3] & 1 == 0;
    let is_untouched = if knows {
        match recover(&intent) {
            Ok(SpliceRecovery::AsBefore) => return assert_is(&path, recording, &intent.before),
            Ok(SpliceRecovery::Finished) => {
                return assert_eq!(fs::read(&path).ok().as_deref().map(<[u8]>::len), Some(left.len()));
            }
            Ok(SpliceRecovery::Gone) => unreachable!("nobody removed it"),
            Ok(SpliceRecovery::Unclear(_)) | Err(_) => true,
        }
    } else {
        // What is taken out is a gap of whole blocks, and never more than one.
        match put_back_by_bytes(&path) {
            Ok(ByteRecovery::PutBack) => {
                let now = fs::read(&path).expect("it was written a moment ago");
                return assert!(is_with_one_gap_less(&left, &now), "taken out is one run of whole blocks");
            }
            Ok(ByteRecovery::NotHalfDone | ByteRecovery::Unclear) | Err(_) => true,
        }
    };
    assert!(!is_untouched || fs::read(&path).is_ok_and(|now| now == left), "what is not explained is not touched");
}

fn assert_is(path: &Path, content: &[u8], before: &Fingerprint) {
    assert!(fs::read(path).is_ok_and(|now| now == content), "as before is to the byte");
    assert_eq!(fingerprint(path).ok().as_ref(), Some(before));
}

fn is_with_one_gap_less(left: &[u8], now: &[u8]) -> bool {
    let same = left.iter().zip(now).take_while(|(a, b)| a == b).count();
    let gone = left.len().saturating_sub(now.len());
    let ends_alike = |at: usize| left.get(at + gone..) == now.get(at..);
    let block = usize::try_from(BLOCK).unwrap_or(1);
    gone > 0 && gone.is_multiple_of(block) && (0..=same / block).any(|n| ends_alike(n * block))
}

fn intent_of(path: &Path, recording: &[u8], cut: &[u8]) -> Option<SpliceIntent> {
    let open = InPlaceEditor::open(path).ok()?;
    open.perform(InPlaceOp::Sync).ok()?;
    let before = fingerprint(path).ok()?;
    let inserted_bytes = BLOCK * (1 + u64::from(cut[1] % 8));
    let retirement = match cut[3] >> 1 & 3 {
        0 => Retirement::Nothing,
        1 => Retirement::Truncate { len: inserted_bytes + recording.len() as u64 / 2 },
        _ => Retirement::Free { at: inserted_bytes + 4 },
    };
    Some(SpliceIntent {
        path: path.to_owned(),
        before,
        after: Fingerprint { size_bytes: before.size_bytes + inserted_bytes, ..before },
        inserted_bytes,
        extents: open.extents().ok()??,
        header_digest: blake3::hash(&header_of(inserted_bytes, cut)).to_hex().to_string(),
        payload_digest: String::new(),
        retirement,
    })
}

fn header_of(inserted_bytes: u64, cut: &[u8]) -> Vec<u8> {
    vec![cut[4] | 1; usize::try_from(inserted_bytes).unwrap_or(0)]
}

/// Inserts at some block and writes some of the header; `false` where the file system does not insert.
fn leave_half_done(path: &Path, intent: &SpliceIntent, cut: &[u8]) -> bool {
    let Ok(open) = InPlaceEditor::open(path) else { return false };
    let blocks = intent.before.size_bytes / BLOCK;
    let at = BLOCK * (u64::from(cut[0]) % (blocks + 1));
    if open.perform(InPlaceOp::Insert { at, bytes: intent.inserted_bytes }).is_err() {
        return false;
    }
    let header = header_of(intent.inserted_bytes, cut);
    let written = match cut[2] & 3 {
        _ if at > 0 => Ok(()),
        0 => Ok(()),
        1 => open.perform(InPlaceOp::Write { at: 512, bytes: &header[512..] }),
        2 => open.perform(InPlaceOp::Write { at: 0, bytes: &header[..512] }),
        _ => open.perform(InPlaceOp::Write { at: 0, bytes: &header }),
    };
    written.is_ok()
}

/// A recording without a header, with itself as its own reference where it has one, and with none.
pub fn salvage(bytes: &[u8]) {
    let reference = reference_of(bytes);
    for references in [reference.as_slice(), &[]] {
        if let Ok(found) = salvage_media(Cursor::new(bytes), ExtraReaders::none(), bytes.len() as u64, references) {
            assert_is_sound(&found, bytes.len() as u64);
        }
    }
}

/// Media of any codec, or fragments, walked as another recording says: four bytes say how long that is, then it comes,
/// then the media.
pub fn walk(bytes: &[u8]) {
    let Some((other, media)) = parted(bytes) else { return };
    let reference = reference_of(other);
    if let Ok(found) = salvage_media(Cursor::new(media), ExtraReaders::none(), media.len() as u64, reference.as_slice())
    {
        assert_is_sound(&found, media.len() as u64);
    }
}

/// Matroska, WebM and FLV without their beginning, or with clusters that were hit: the first byte says which, then come a
/// sound recording and the hit one as in [`walk`].
pub fn heads(bytes: &[u8]) {
    let Some((kind, (other, hit))) = bytes.split_first().and_then(|(kind, rest)| Some((kind, parted(rest)?))) else {
        return;
    };
    let container = [Container::Matroska, Container::Webm, Container::Flv][usize::from(*kind % 3)];
    let len = hit.len() as u64;
    let head = head_of(Cursor::new(other), other.len() as u64, container);
    assert!(head.as_ref().is_none_or(|head| head.len() <= MOST_HEAD_BYTES));
    let reference = head.map(|head| Reference::of_head(head, Origin::Stream)).or_else(|| reference_of(other));
    let mended = mend(Cursor::new(hit), len, container, reference.as_slice()).expect("memory can always be read");
    assert!(mended.is_none_or(|mended| mended.from <= len), "what follows lies in the file");
    let repair = repair_clusters(Cursor::new(hit), len).expect("memory can always be read");
    assert!(repair.len <= len);
    let is_inside = |(at, bytes): &(u64, Vec<u8>)| at + bytes.len() as u64 <= repair.len;
    assert!(repair.patches.iter().all(is_inside), "patches lie in the file");
    let is_hit = are_clusters_hit(Cursor::new(hit), len).expect("memory can always be read");
    assert!(!is_hit || !repair.patches.is_empty(), "what is hit is mended");
}

fn parted(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = bytes.split_first_chunk()?;
    rest.split_at_checked(usize::try_from(u32::from_be_bytes(*length)).ok()?)
}

fn reference_of(bytes: &[u8]) -> Option<Reference> {
    let mut reader = Cursor::new(bytes);
    let layout = top_level(&mut reader, bytes.len() as u64).ok()?;
    Some(Reference::of(&Movie::read(&mut reader, &layout).ok()?, Origin::Given))
}

/// Samples lie in the file, and the tables can be written and read.
fn assert_is_sound(found: &Salvaged, len: u64) {
    for track in &found.movie.tracks {
        let is_inside = |offset: u64, size: u32| offset + u64::from(size) <= len;
        assert!(track.samples().take(SAMPLES).all(|s| is_inside(s.offset, s.size_bytes)), "samples lie in the file");
    }
    if let Ok(plan) = FrontPlan::spanning(&found.movie, b"", found.whole_bytes, 1) {
        let front = plan.header.len() as u64;
        let mut written = Cursor::new(&plan.header);
        let layout = top_level(&mut written, front).expect("memory can always be read");
        let again = Movie::read(&mut written, &layout).expect("what was written can be read");
        assert_eq!(first_difference(&found.movie, &again, &|offset| offset + front), None);
    }
}
