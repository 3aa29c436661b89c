//! The VoD record of a finished file, and when its recording began.

use std::path::{Path, PathBuf};

use super::Description;
use crate::recording::journey::{Candidate, Evidence, StartTime};
use crate::recording::{
    Defect, Fingerprint, Outcome, Pictures, SalvageReport, SpliceMethod, SpliceUndo, StartSource, VOD_VERSION,
    VodRecord, VodType, vod_id,
};

/// Container times before this are the epochs of writers that set none (2000-01-01, milliseconds).
const EARLIEST_BELIEVABLE_MS: i64 = 946_684_800_000;

/// What the container says and the samples say may differ by this much before it is a defect.
const DURATION_TOLERANCE_MS: i64 = 1_000;

/// When a recording began: from its name, else the container, else its last modification minus its duration.
pub fn start_of(candidate: &Candidate, created_ms: Option<i64>, duration_ms: i64) -> StartTime {
    let mtime_ms = candidate.fingerprint.mtime_ms();
    let is_believable = |ms: &i64| *ms >= EARLIEST_BELIEVABLE_MS && *ms <= mtime_ms;
    match (candidate.facts.start_ms, created_ms.filter(is_believable)) {
        (Some(start), _) => (start, StartSource::Name),
        (None, Some(start)) => (start, StartSource::Container),
        (None, None) => (mtime_ms - duration_ms, StartSource::Mtime),
    }
}

/// How the finished file came about.
#[derive(Debug, Clone)]
pub struct Provenance {
    /// What was done.
    pub outcome: Outcome,
    /// How its header came to the front.
    pub splice: Option<SpliceMethod>,
    /// What it takes to undo that, if it was done in place.
    pub undo: Option<SpliceUndo>,
    /// What was found and what was not, if its tables were rebuilt.
    pub salvage: Option<Box<SalvageReport>>,
    /// Whether the source stays beside it.
    pub keeps_original: bool,
}

/// A complete file and everything that is known of how it came about.
#[derive(Debug, Clone)]
pub struct FinishedFile {
    /// Its final path.
    pub path: PathBuf,
    /// Why its source counted as settled.
    pub evidence: Evidence,
    /// What it holds.
    pub description: Description,
    /// What was found to be wrong on the way to it.
    pub defects: Vec<Defect>,
    /// When the recording began.
    pub start: StartTime,
    /// Its fingerprint.
    pub fingerprint: Fingerprint,
    /// How it came about.
    pub provenance: Provenance,
}

/// Makes the record of a finished file.
pub fn record_of_finished(candidate: &Candidate, made: FinishedFile, now_ms: i64) -> VodRecord {
    let FinishedFile { path, evidence, description: file, defects, start, fingerprint, provenance } = made;
    let vod_name = name_of(&path);
    VodRecord {
        version: VOD_VERSION,
        vod_id: vod_id(&candidate.facts.stream_id, &vod_name, &file.id_tracks),
        stream_id: candidate.facts.stream_id.clone(),
        stream_name: candidate.facts.stream_id.clone(),
        vod_name,
        file_path: path,
        root: candidate.root.clone(),
        duration: file.duration_ms,
        creation_date: now_ms,
        start_time: start.0,
        start_source: start.1,
        file_size: fingerprint.size_bytes,
        preview_file_path: None,
        pictures: Pictures::default(),
        vod_type: VodType::Stream,
        container: file.container,
        bitrate: bits_per_second(fingerprint.size_bytes, file.duration_ms),
        declared_duration: file.declared_ms,
        wall_clock: (start.1 == StartSource::Name).then(|| candidate.fingerprint.mtime_ms() - start.0),
        defects: all_defects(defects, &file),
        tracks: file.tracks,
        outcome: provenance.outcome,
        splice: provenance.splice,
        splice_undo: provenance.undo,
        salvaged: provenance.outcome == Outcome::Salvaged,
        salvage: provenance.salvage,
        digest: None,
        server: candidate.server.clone(),
        rendition: candidate.facts.rendition.clone(),
        source_path: candidate.path.clone(),
        source: candidate.fingerprint,
        source_changed_ns: None,
        evidence,
        original_path: provenance.keeps_original.then(|| candidate.path.clone()),
        fingerprint,
        remote: Vec::new(),
        freed_at: None,
        description: None,
        metadata: std::collections::BTreeMap::new(),
    }
}

/// What was found on the way and in the file itself, each once.
fn all_defects(found: Vec<Defect>, file: &Description) -> Vec<Defect> {
    let mut all = found;
    let mismatch = duration_mismatch(file.declared_ms, file.duration_ms);
    for defect in file.defects.iter().cloned().chain(mismatch) {
        let is_said = |d: &Defect| {
            *d == defect || matches!((d, &defect), (Defect::DurationMismatch { .. }, Defect::DurationMismatch { .. }))
        };
        if !all.iter().any(is_said) {
            all.push(defect);
        }
    }
    all
}

fn name_of(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

fn bits_per_second(bytes: u64, duration_ms: i64) -> u64 {
    u64::try_from(duration_ms).ok().filter(|ms| *ms > 0).map_or(0, |ms| bytes.saturating_mul(8000) / ms)
}

/// A container that never got its duration (0 or none) is no contradiction; one that claims another is.
fn duration_mismatch(declared_ms: Option<i64>, measured_ms: i64) -> Option<Defect> {
    let declared_ms = declared_ms.filter(|ms| *ms > 0)?;
    let differs = (declared_ms - measured_ms).abs() > DURATION_TOLERANCE_MS.max(measured_ms / 100);
    differs.then_some(Defect::DurationMismatch { declared_ms, measured_ms })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::recording::journey::NameFacts;

    fn candidate(start_ms: Option<i64>, mtime_ms: i64) -> Candidate {
        Candidate {
            path: "/r/x.flv".into(),
            root: "/r".into(),
            server: "srs".into(),
            is_temporary: false,
            facts: NameFacts { stream_id: "x".into(), stem: "x".into(), start_ms, ..NameFacts::default() },
            fingerprint: Fingerprint { device: 0, inode: 0, size_bytes: 1, mtime_ns: mtime_ms * 1_000_000 },
        }
    }

    #[test]
    fn the_start_is_from_the_name_then_the_container_then_the_clock() {
        let now = 1_772_634_615_000;
        assert_eq!(start_of(&candidate(Some(5), now), Some(now - 9), 1000), (5, StartSource::Name));
        assert_eq!(start_of(&candidate(None, now), Some(now - 9), 1000), (now - 9, StartSource::Container));
        assert_eq!(start_of(&candidate(None, now), Some(0), 1000), (now - 1000, StartSource::Mtime));
        assert_eq!(start_of(&candidate(None, now), Some(now + 99), 1000), (now - 1000, StartSource::Mtime));
        assert_eq!(start_of(&candidate(None, now), None, 1000), (now - 1000, StartSource::Mtime));
    }

    #[test]
    fn only_a_claim_that_is_made_can_be_wrong() {
        assert_eq!(duration_mismatch(None, 10_000), None);
        assert_eq!(duration_mismatch(Some(0), 10_000), None);
        assert_eq!(duration_mismatch(Some(10_400), 10_000), None);
        let wrong = Defect::DurationMismatch { declared_ms: 536_400_000, measured_ms: 600_000 };
        assert_eq!(duration_mismatch(Some(536_400_000), 600_000), Some(wrong));
    }
}
