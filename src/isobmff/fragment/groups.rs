//! Sample groups of fragments (ISO/IEC 14496-12 §8.9) joined into those of a track.
//!
//! A fragment's `sbgp` may name descriptions of its own `sgpd` (indices above 0x10000, §8.9.4); they are added to the
//! track's, each once. What is not version 1 has no lengths to go by, and is noted and left out.

use std::ops::Range;

use crate::isobmff::boxes::FourCc;
use crate::isobmff::cursor::{ByteCursor, ChildBox, children, children_of};
use crate::isobmff::encode::{full_boxed, put_count, put_u32};
use crate::isobmff::error::DefectLog;
use crate::isobmff::tables::runs::{ValueRun, ValueRuns};

/// Most kinds of groups of one track that are joined.
pub const MAX_GROUP_KINDS: usize = 16;
/// Most descriptions of one kind that are joined.
pub const MAX_GROUP_DESCRIPTIONS: usize = 1024;
/// Indices from here on name descriptions of the same fragment.
const LOCAL: u32 = 0x1_0000;

/// One kind of groups: what there is, and which samples are in it.
#[derive(Debug, Clone)]
struct SampleGroup {
    kind: FourCc,
    parameter: Option<u32>,
    descriptions: Vec<Vec<u8>>,
    indices: ValueRuns<u32>,
}

/// All groups of a track that its fragments add to.
#[derive(Debug, Clone, Default)]
pub(super) struct SampleGroups(Vec<SampleGroup>);

/// An `sbgp` box (§8.9.2).
struct GroupAssignment {
    kind: FourCc,
    parameter: Option<u32>,
    runs: Vec<ValueRun<u32>>,
}

impl SampleGroups {
    /// Takes the groups of a `traf` with these samples of the track; `stbl` holds the boxes that the track came with.
    pub(super) fn take(&mut self, traf: &ChildBox<'_>, stbl: &[u8], samples: Range<u64>, notes: &mut DefectLog) {
        for sbgp in children_of(traf).filter(|b| b.fourcc.0 == *b"sbgp").take(MAX_GROUP_KINDS) {
            let Some(assignment) = read_assignment(&sbgp) else {
                notes.malformed(sbgp.offset, "`sbgp` is shorter than its own header (§8.9.2)");
                continue;
            };
            let local = read_descriptions(children_of(traf), assignment.kind);
            let Some(group) = self.of(&assignment, stbl) else { continue };
            group.fill_to(samples.start);
            if !group.assign(&assignment.runs, local.as_deref(), samples.end - samples.start) {
                let detail = format!("sample groups of kind `{}` are left out for a fragment (§8.9)", assignment.kind);
                notes.malformed(sbgp.offset, detail);
            }
            group.fill_to(samples.end);
        }
    }

    fn of(&mut self, assignment: &GroupAssignment, stbl: &[u8]) -> Option<&mut SampleGroup> {
        let is_it = |g: &SampleGroup| g.kind == assignment.kind && g.parameter == assignment.parameter;
        if let Some(at) = self.0.iter().position(is_it) {
            return self.0.get_mut(at);
        }
        let mut indices = ValueRuns::default();
        let existing = children(stbl, 0).filter(|b| b.fourcc.0 == *b"sbgp").filter_map(|b| read_assignment(&b));
        for run in existing.filter(|a| is_same(a, assignment)).flat_map(|a| a.runs) {
            indices.push_many(run.value, run.count);
        }
        let descriptions = read_descriptions(children(stbl, 0), assignment.kind).unwrap_or_default();
        let group = SampleGroup { kind: assignment.kind, parameter: assignment.parameter, descriptions, indices };
        if self.0.len() < MAX_GROUP_KINDS {
            self.0.push(group);
            return self.0.last_mut();
        }
        None
    }

    /// Replaces the boxes of these groups in the track's own; `samples` is the number of its samples.
    pub(super) fn write(mut self, stbl: &mut Vec<u8>, samples: u64) {
        if self.0.is_empty() {
            return;
        }
        let is_ours = |b: &ChildBox<'_>| match &b.fourcc.0 {
            b"sbgp" => read_assignment(b)
                .is_some_and(|a| self.0.iter().any(|g| g.kind == a.kind && g.parameter == a.parameter)),
            b"sgpd" => self.0.iter().any(|g| Some(g.kind) == kind_of(b)),
            _ => false,
        };
        let mut out: Vec<u8> = children(stbl, 0).filter(|b| !is_ours(b)).flat_map(|b| b.raw).copied().collect();
        for group in &mut self.0 {
            group.fill_to(samples);
            group.write(&mut out);
        }
        *stbl = out;
    }
}

fn is_same(a: &GroupAssignment, b: &GroupAssignment) -> bool {
    a.kind == b.kind && a.parameter == b.parameter
}

impl SampleGroup {
    /// Samples up to here that nothing was said of are in no group.
    fn fill_to(&mut self, samples: u64) {
        let missing = samples.saturating_sub(self.indices.count());
        self.indices.push_many(0, u32::try_from(missing).unwrap_or(u32::MAX));
    }

    /// Appends the indices of `count` samples; `false` if one of them names no description.
    fn assign(&mut self, runs: &[ValueRun<u32>], local: Option<&[Vec<u8>]>, count: u64) -> bool {
        let mut left = u32::try_from(count).unwrap_or(u32::MAX);
        let mut is_whole = true;
        for run in runs {
            let index = self.global(run.value, local.unwrap_or_default());
            is_whole &= index.is_some();
            let taken = run.count.min(left);
            self.indices.push_many(index.unwrap_or(0), taken);
            left -= taken;
        }
        is_whole
    }

    /// The track's index for a fragment's, 0 being no group.
    fn global(&mut self, index: u32, local: &[Vec<u8>]) -> Option<u32> {
        let Some(own) = index.checked_sub(LOCAL + 1) else {
            let is_there = usize::try_from(index).is_ok_and(|i| i <= self.descriptions.len());
            return is_there.then_some(index);
        };
        let description = local.get(usize::try_from(own).ok()?)?;
        let known = self.descriptions.iter().position(|d| d == description);
        let at = known.unwrap_or(self.descriptions.len());
        if at == self.descriptions.len() {
            (at < MAX_GROUP_DESCRIPTIONS).then(|| self.descriptions.push(description.clone()))?;
        }
        u32::try_from(at + 1).ok()
    }

    fn write(&self, out: &mut Vec<u8>) {
        full_boxed(out, *b"sgpd", 1, 0, |out| {
            out.extend(self.kind.0);
            put_u32(out, 0); // each description says its own length
            put_count(out, self.descriptions.len());
            for description in &self.descriptions {
                put_count(out, description.len());
                out.extend(description);
            }
        });
        full_boxed(out, *b"sbgp", u8::from(self.parameter.is_some()), 0, |out| {
            out.extend(self.kind.0);
            if let Some(parameter) = self.parameter {
                put_u32(out, parameter);
            }
            put_count(out, self.indices.as_slice().len());
            for run in self.indices.as_slice() {
                put_u32(out, run.count);
                put_u32(out, run.value);
            }
        });
    }
}

fn kind_of(group_box: &ChildBox<'_>) -> Option<FourCc> {
    let mut cursor = ByteCursor::new(group_box.body);
    cursor.full()?;
    cursor.array().map(FourCc)
}

fn read_assignment(sbgp: &ChildBox<'_>) -> Option<GroupAssignment> {
    let mut cursor = ByteCursor::new(sbgp.body);
    let (version, _) = cursor.full()?;
    let kind = FourCc(cursor.array()?);
    let parameter = if version == 1 { Some(cursor.u32()?) } else { None };
    let count = usize::try_from(cursor.u32()?).ok()?.min(cursor.remaining() / 8);
    let entry = |_| Some(ValueRun { count: cursor.u32()?, value: cursor.u32()? });
    Some(GroupAssignment { kind, parameter, runs: (0..count).map_while(entry).collect() })
}

/// The descriptions of a kind in the `sgpd` among some boxes (§8.9.3); `None` if there is none that can be read.
fn read_descriptions<'a>(boxes: impl Iterator<Item = ChildBox<'a>>, kind: FourCc) -> Option<Vec<Vec<u8>>> {
    let sgpd = boxes.filter(|b| b.fourcc.0 == *b"sgpd").find(|b| kind_of(b) == Some(kind))?;
    let mut cursor = ByteCursor::new(sgpd.body);
    let (version, _) = cursor.full()?;
    cursor.u32()?;
    let default_length = if version == 1 { cursor.u32()? } else { return None };
    let count = usize::try_from(cursor.u32()?).ok()?.min(MAX_GROUP_DESCRIPTIONS);
    let mut description = || {
        let length = if default_length == 0 { cursor.u32()? } else { default_length };
        cursor.take(usize::try_from(length).ok()?).map(<[u8]>::to_vec)
    };
    (0..count).map(|_| description()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::isobmff::encode::boxed;

    fn group(descriptions: &[&[u8]], runs: &[(u32, u32)]) -> SampleGroup {
        SampleGroup {
            kind: FourCc(*b"rap "),
            parameter: None,
            descriptions: descriptions.iter().map(|d| d.to_vec()).collect(),
            indices: ValueRuns::new(runs.iter().map(|&(count, value)| ValueRun { count, value }).collect()),
        }
    }

    fn traf(group: &SampleGroup) -> Vec<u8> {
        let mut out = Vec::new();
        boxed(&mut out, *b"traf", |out| group.write(out));
        out
    }

    #[test]
    fn descriptions_of_fragments_are_added_once_and_renumbered() {
        let mut stbl = b"\0\0\0\x08keep".to_vec();
        group(&[b"a"], &[(2, 1)]).write(&mut stbl);
        let first = traf(&group(&[b"b", b"a"], &[(1, LOCAL + 1), (1, LOCAL + 2), (9, 0)]));
        let second = traf(&group(&[b"b"], &[(1, 1), (2, LOCAL + 1)]));
        let (mut groups, mut notes) = (SampleGroups::default(), DefectLog::default());
        for (bytes, samples) in [(&first, 2..5), (&second, 6..9)] {
            groups.take(&children(bytes, 0).next().unwrap(), &stbl, samples, &mut notes);
        }
        groups.write(&mut stbl, 10);
        assert_eq!(notes.into_defects(), []);
        let boxes: Vec<_> = children(&stbl, 0).collect();
        assert_eq!(boxes.iter().map(|b| b.fourcc.0).collect::<Vec<_>>(), [*b"keep", *b"sgpd", *b"sbgp"]);
        let descriptions = read_descriptions(children(&stbl, 0), FourCc(*b"rap "));
        assert_eq!(descriptions, Some(vec![b"a".to_vec(), b"b".to_vec()]));
        let indices: Vec<_> = ValueRuns::new(read_assignment(&boxes[2]).unwrap().runs).cursor().collect();
        assert_eq!(indices, [1, 1, 2, 1, 0, 0, 1, 2, 2, 0]);
    }

    #[test]
    fn an_index_of_nothing_is_noted() {
        let bytes = traf(&group(&[], &[(1, LOCAL + 7)]));
        let (mut groups, mut notes) = (SampleGroups::default(), DefectLog::default());
        groups.take(&children(&bytes, 0).next().unwrap(), &[], 0..1, &mut notes);
        assert_eq!(notes.into_defects().len(), 1);
    }
}
