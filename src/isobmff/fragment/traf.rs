//! One `traf` (ISO/IEC 14496-12 §8.8.6): `tfhd`, `tfdt` and the `trun`s with their samples.
//!
//! Only reads; where the data lies and what the times mean for the track is decided in [`assembly`](super::assembly).

use super::trex::FragmentDefaults;
use crate::isobmff::cursor::{ByteCursor, ChildBox, children_of};
use crate::isobmff::error::DefectLog;

const TFHD_BASE_DATA_OFFSET: u32 = 0x01;
const TFHD_DESCRIPTION: u32 = 0x02;
const TFHD_DURATION: u32 = 0x08;
const TFHD_SIZE: u32 = 0x10;
const TFHD_FLAGS: u32 = 0x20;
const TFHD_DEFAULT_BASE_IS_MOOF: u32 = 0x02_0000;

const TRUN_DATA_OFFSET: u32 = 0x001;
const TRUN_FIRST_FLAGS: u32 = 0x004;
const TRUN_DURATION: u32 = 0x100;
const TRUN_SIZE: u32 = 0x200;
const TRUN_FLAGS: u32 = 0x400;
const TRUN_COMPOSITION: u32 = 0x800;

/// `sample_is_non_sync_sample` in sample flags (§8.8.3.1).
const NON_SYNC: u32 = 0x01_0000;

/// `tfhd` (§8.8.7) over the defaults of `trex`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct TrackFragmentHeader {
    /// Where data offsets count from, if the fragment says it itself.
    pub(super) base: DataOffsetBase,
    pub(super) defaults: FragmentDefaults,
}

/// What the data offsets of a fragment count from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum DataOffsetBase {
    /// A byte offset of the file.
    File(u64),
    /// The `moof`.
    Moof,
    /// The `moof` in the first fragment of it, in later ones the end of the one before.
    Implicit,
}

/// Which track a `traf` belongs to.
pub(super) fn track_id(traf: &ChildBox<'_>) -> Option<u32> {
    let tfhd = children_of(traf).find(|b| b.fourcc.0 == *b"tfhd")?;
    let mut cursor = ByteCursor::new(tfhd.body);
    cursor.full()?;
    cursor.u32()
}

/// Reads the `tfhd` of a `traf`.
pub(super) fn header(traf: &ChildBox<'_>, trex: FragmentDefaults) -> Option<TrackFragmentHeader> {
    let tfhd = children_of(traf).find(|b| b.fourcc.0 == *b"tfhd")?;
    let mut cursor = ByteCursor::new(tfhd.body);
    let (_, flags) = cursor.full()?;
    let mut defaults = FragmentDefaults { track_id: cursor.u32()?, ..trex };
    let base = match flags {
        _ if flags & TFHD_BASE_DATA_OFFSET != 0 => DataOffsetBase::File(cursor.u64()?),
        _ if flags & TFHD_DEFAULT_BASE_IS_MOOF != 0 => DataOffsetBase::Moof,
        _ => DataOffsetBase::Implicit,
    };
    let fields = [
        (TFHD_DESCRIPTION, &mut defaults.description_index),
        (TFHD_DURATION, &mut defaults.duration),
        (TFHD_SIZE, &mut defaults.size_bytes),
        (TFHD_FLAGS, &mut defaults.flags),
    ];
    for (flag, field) in fields {
        if flags & flag != 0 {
            *field = cursor.u32()?;
        }
    }
    Some(TrackFragmentHeader { base, defaults })
}

/// `tfdt` (§8.8.12): decoding time of the fragment's first sample.
pub(super) fn decode_time(traf: &ChildBox<'_>) -> Option<u64> {
    let tfdt = children_of(traf).find(|b| b.fourcc.0 == *b"tfdt")?;
    let mut cursor = ByteCursor::new(tfdt.body);
    let (version, _) = cursor.full()?;
    cursor.wide(version)
}

/// A sample as `trun` says it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct RunSample {
    pub(super) size_bytes: u32,
    pub(super) duration: u32,
    pub(super) composition: i32,
    pub(super) is_sync: bool,
    pub(super) dependency: u8,
}

/// The samples of a `trun` (§8.8.8).
#[derive(Debug, Clone)]
pub(super) struct TrackRun<'a> {
    /// Relative to the base, if said.
    pub(super) data_offset: Option<i32>,
    flags: u32,
    left: u32,
    first_flags: Option<u32>,
    defaults: FragmentDefaults,
    entries: ByteCursor<'a>,
}

/// Begins a `trun`; entries that its bytes do not hold are noted and left out.
pub(super) fn run<'a>(trun: &ChildBox<'a>, defaults: FragmentDefaults, notes: &mut DefectLog) -> Option<TrackRun<'a>> {
    let mut entries = ByteCursor::new(trun.body);
    let (_, flags) = entries.full()?;
    let declared = entries.u32()?;
    let data_offset = if flags & TRUN_DATA_OFFSET == 0 { None } else { Some(entries.i32()?) };
    let first_flags = if flags & TRUN_FIRST_FLAGS == 0 { None } else { Some(entries.u32()?) };
    let left = match entry_bytes(flags) {
        // Nothing but the count says that there are samples: they must at least take room in the file.
        0 if defaults.size_bytes == 0 && declared > 0 => {
            notes.malformed(trun.offset, format!("`trun` declares {declared} samples of no size (§8.8.8)"));
            0
        }
        0 => declared,
        bytes => backed(trun, notes, declared, entries.remaining() / bytes),
    };
    Some(TrackRun { data_offset, flags, left, first_flags, defaults, entries })
}

fn entry_bytes(flags: u32) -> usize {
    let fields = [TRUN_DURATION, TRUN_SIZE, TRUN_FLAGS, TRUN_COMPOSITION];
    4 * fields.iter().filter(|field| flags & **field != 0).count()
}

fn backed(trun: &ChildBox<'_>, notes: &mut DefectLog, declared: u32, possible: usize) -> u32 {
    let possible = u32::try_from(possible).unwrap_or(u32::MAX);
    if declared > possible {
        notes.malformed(trun.offset, format!("`trun` declares {declared} samples, its bytes hold {possible} (§8.8.8)"));
    }
    declared.min(possible)
}

impl TrackRun<'_> {
    /// How many samples are left.
    pub(super) const fn left(&self) -> u32 {
        self.left
    }

    fn field(&mut self, flag: u32, default: u32) -> Option<u32> {
        if self.flags & flag == 0 { Some(default) } else { self.entries.u32() }
    }
}

impl Iterator for TrackRun<'_> {
    type Item = RunSample;

    fn next(&mut self) -> Option<RunSample> {
        self.left = self.left.checked_sub(1)?;
        let duration = self.field(TRUN_DURATION, self.defaults.duration)?;
        let size_bytes = self.field(TRUN_SIZE, self.defaults.size_bytes)?;
        let own_flags = self.field(TRUN_FLAGS, self.defaults.flags)?;
        let flags = self.first_flags.take().unwrap_or(own_flags);
        // Signed in version 1; writers of version 0 store negative offsets all the same.
        let composition = self.field(TRUN_COMPOSITION, 0)?.cast_signed();
        let [dependency, ..] = (flags << 4).to_be_bytes();
        Some(RunSample { size_bytes, duration, composition, is_sync: flags & NON_SYNC == 0, dependency })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::isobmff::cursor::children;
    use crate::isobmff::encode::{full_boxed, put_u32};

    const DEFAULTS: FragmentDefaults =
        FragmentDefaults { track_id: 1, description_index: 1, duration: 40, size_bytes: 0, flags: 0x0101_0000 };

    #[test]
    fn first_flags_count_for_the_first_sample_only() {
        let mut out = Vec::new();
        full_boxed(&mut out, *b"trun", 1, TRUN_FIRST_FLAGS | TRUN_SIZE | TRUN_COMPOSITION, |out| {
            for word in [2, 0x0200_0000, 100, 0xFFFF_FFF0, 50, 8] {
                put_u32(out, word);
            }
        });
        let samples: Vec<_> =
            run(&children(&out, 0).next().unwrap(), DEFAULTS, &mut DefectLog::default()).unwrap().collect();
        let first = RunSample { size_bytes: 100, duration: 40, composition: -16, is_sync: true, dependency: 0x20 };
        let second = RunSample { size_bytes: 50, duration: 40, composition: 8, is_sync: false, dependency: 0x10 };
        assert_eq!(samples, [first, second]);
    }

    #[test]
    fn a_billion_samples_need_bytes_or_a_size() {
        for flags in [TRUN_SIZE, 0] {
            let mut out = Vec::new();
            full_boxed(&mut out, *b"trun", 0, flags, |out| {
                for word in [1_000_000_000, 7, 7] {
                    put_u32(out, word);
                }
            });
            let mut notes = DefectLog::default();
            let run = run(&children(&out, 0).next().unwrap(), DEFAULTS, &mut notes).unwrap();
            assert!(run.left() <= 2);
            assert_eq!(notes.into_defects().len(), 1);
        }
    }
}
