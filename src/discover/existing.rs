//! What is taken of the recordings that were there before the first start, and the summary that is printed first.
//!
//! Pure. What is left out is remembered by the caller and can be given to `process`.

use std::collections::BTreeMap;
use std::path::Path;

use crate::recording::Container;
use crate::recording::journey::Candidate;

use super::candidate::NameRules;
use super::hls::{Unit, UnitKind};
use super::options::Existing;

/// How many files of one kind, and their bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KindCount {
    /// Container by the name's extension (`mp4`, `flv`, …), `other` where it has none.
    pub kind: &'static str,
    /// Whether they bear temporary names.
    pub is_temporary: bool,
    /// Number of files.
    pub files: u64,
    /// Their sizes together.
    pub size_bytes: u64,
}

/// Counts per kind, in a fixed order.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Summary {
    /// One entry per kind that occurs.
    pub kinds: Vec<KindCount>,
}

impl Summary {
    /// Counts candidates by kind.
    pub fn of(candidates: &[Candidate]) -> Self {
        let rules = NameRules::default();
        let mut counts: BTreeMap<(&'static str, bool), (u64, u64)> = BTreeMap::new();
        for candidate in candidates {
            let count = counts.entry((kind_of(&rules, &candidate.path), candidate.is_temporary)).or_default();
            count.0 += 1;
            count.1 = count.1.saturating_add(candidate.fingerprint.size_bytes);
        }
        let count = |((kind, is_temporary), (files, size_bytes))| KindCount { kind, is_temporary, files, size_bytes };
        Self { kinds: counts.into_iter().map(count).collect() }
    }

    /// Number of files of all kinds.
    pub fn files(&self) -> u64 {
        self.kinds.iter().map(|k| k.files).sum()
    }

    /// Bytes of all kinds.
    pub fn size_bytes(&self) -> u64 {
        self.kinds.iter().map(|k| k.size_bytes).sum()
    }
}

/// The kind by the extension; a custom temporary suffix is skipped over.
fn kind_of(rules: &NameRules, path: &Path) -> &'static str {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let (base, _) = rules.strip_temporary(&name);
    let known = base.rsplit('.').find_map(Container::from_extension);
    known.filter(|_| base.contains('.')).map_or("other", Container::extension)
}

/// Candidates taken and left out on the first start.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Split {
    /// What is worked on.
    pub taken: Vec<Candidate>,
    /// What is remembered as left out.
    pub left_out: Vec<Candidate>,
    /// Counts of what is taken.
    pub taken_summary: Summary,
    /// Counts of what is left out.
    pub left_out_summary: Summary,
}

/// Splits what was found on the first start by the operator's choice.
pub fn split(candidates: Vec<Candidate>, existing: Existing) -> Split {
    let (taken, left_out): (Vec<_>, Vec<_>) = candidates.into_iter().partition(|c| existing.takes(c));
    let (taken_summary, left_out_summary) = (Summary::of(&taken), Summary::of(&left_out));
    Split { taken, left_out, taken_summary, left_out_summary }
}

impl Existing {
    /// Whether a candidate found on the first start is taken.
    pub fn takes(self, candidate: &Candidate) -> bool {
        match self {
            Self::All => true,
            Self::Orphans => candidate.is_temporary,
            Self::None => false,
            Self::Since(since_ms) => candidate.fingerprint.mtime_ms() >= since_ms,
        }
    }

    /// Whether a unit found on the first start is taken. A live unit always is: it is not an old recording.
    pub fn takes_unit(self, unit: &Unit) -> bool {
        match self {
            Self::All => true,
            Self::Orphans | Self::None => !unit.ready.is_ready(),
            Self::Since(since_ms) => unit.changed_ms >= since_ms,
        }
    }
}

impl UnitKind {
    /// The name in summaries and records.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Hls => "hls",
            Self::Dash => "dash",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::recording::Fingerprint;
    use crate::recording::journey::NameFacts;

    fn candidate(name: &str, is_temporary: bool, mtime_ms: i64) -> Candidate {
        Candidate {
            path: Path::new("/r").join(name),
            root: "/r".into(),
            server: "antmedia".into(),
            is_temporary,
            facts: NameFacts::default(),
            fingerprint: Fingerprint { device: 1, inode: 2, size_bytes: 10, mtime_ns: mtime_ms * 1_000_000 },
        }
    }

    fn all() -> Vec<Candidate> {
        vec![
            candidate("a.mp4", false, 100),
            candidate("b.mp4", false, 200),
            candidate("c.flv.tmp", true, 50),
            candidate("tmp_x", true, 300),
        ]
    }

    fn taken(existing: Existing) -> Vec<String> {
        let name = |c: &Candidate| c.relative_path().to_string_lossy().into_owned();
        split(all(), existing).taken.iter().map(name).collect()
    }

    #[test]
    fn the_operator_chooses_what_is_taken() {
        assert_eq!(taken(Existing::All).len(), 4);
        assert_eq!(taken(Existing::Orphans), ["c.flv.tmp", "tmp_x"]);
        assert!(taken(Existing::None).is_empty());
        assert_eq!(taken(Existing::Since(200)), ["b.mp4", "tmp_x"]);
    }

    #[test]
    fn nothing_is_lost_between_taken_and_left_out() {
        let split = split(all(), Existing::Orphans);
        assert_eq!(split.taken.len() + split.left_out.len(), 4);
        let mp4 = KindCount { kind: "mp4", is_temporary: false, files: 2, size_bytes: 20 };
        assert_eq!(split.left_out_summary.kinds, [mp4]);
        assert_eq!(split.taken_summary.kinds.iter().map(|k| k.kind).collect::<Vec<_>>(), ["flv", "other"]);
        assert_eq!((split.taken_summary.files(), split.taken_summary.size_bytes()), (2, 20));
    }
}
