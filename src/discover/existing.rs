//! What is taken of the recordings that were there before the first start, and the summary that is printed first.
//!
//! Pure. What is left out is remembered by the caller and can be given to `process`. A count never holds what it counts.

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
pub struct ExistingSummary {
    /// One entry per kind that occurs.
    pub kinds: Vec<KindCount>,
}

impl ExistingSummary {
    /// Counts one more.
    pub fn add(&mut self, candidate: &Candidate) {
        let (kind, is_temporary) = (kind_of(&NameRules::default(), &candidate.path), candidate.is_temporary);
        let place = self.kinds.binary_search_by(|count| (count.kind, count.is_temporary).cmp(&(kind, is_temporary)));
        let at = place.unwrap_or_else(|at| {
            self.kinds.insert(at, KindCount { kind, is_temporary, files: 0, size_bytes: 0 });
            at
        });
        self.kinds[at].files += 1;
        self.kinds[at].size_bytes = self.kinds[at].size_bytes.saturating_add(candidate.fingerprint.size_bytes);
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
        all().iter().filter(|candidate| existing.takes(candidate)).map(name).collect()
    }

    #[test]
    fn the_operator_chooses_what_is_taken() {
        assert_eq!(taken(Existing::All).len(), 4);
        assert_eq!(taken(Existing::Orphans), ["c.flv.tmp", "tmp_x"]);
        assert!(taken(Existing::None).is_empty());
        assert_eq!(taken(Existing::Since(200)), ["b.mp4", "tmp_x"]);
    }

    #[test]
    fn files_are_counted_by_kind_in_a_fixed_order() {
        let mut summary = ExistingSummary::default();
        all().iter().rev().for_each(|candidate| summary.add(candidate));
        let kinds = summary.kinds.iter().map(|k| (k.kind, k.is_temporary, k.files, k.size_bytes)).collect::<Vec<_>>();
        assert_eq!(kinds, [("flv", true, 1, 10), ("mp4", false, 2, 20), ("other", true, 1, 10)]);
        assert_eq!((summary.files(), summary.size_bytes()), (4, 40));
    }
}
