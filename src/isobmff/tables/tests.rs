//! Every table comes back as it was written, and no table believes a count that its bytes do not back.

use super::*;
use crate::isobmff::cursor::children;
use crate::isobmff::error::DefectLog;
use crate::recording::Defect;

/// Writes a box and hands the reader what it finds in it; asserts that nothing was noted.
fn again<T>(write: impl FnOnce(&mut Vec<u8>), read: impl FnOnce(&ChildBox<'_>, &mut DefectLog) -> T) -> T {
    let mut out = Vec::new();
    write(&mut out);
    let mut notes = DefectLog::default();
    let value = read(&children(&out, 0).next().unwrap(), &mut notes);
    assert_eq!(notes.into_defects(), []);
    value
}

#[test]
fn stts_comes_back() {
    let durations =
        runs::ValueRuns::new(vec![runs::ValueRun { count: 3, value: 512 }, runs::ValueRun { count: 1, value: 0 }]);
    assert_eq!(again(|out| stts::write(out, &durations), stts::read), durations);
}

#[test]
fn ctts_comes_back_with_negative_offsets_in_version_1() {
    let offsets =
        runs::ValueRuns::new(vec![runs::ValueRun { count: 2, value: -512 }, runs::ValueRun { count: 9, value: 1024 }]);
    assert_eq!(again(|out| ctts::write(out, &offsets), ctts::read), offsets);
    let mut out = Vec::new();
    ctts::write(&mut out, &offsets);
    assert_eq!(out[8], 1);
}

#[test]
fn stsc_stss_sdtp_come_back() {
    let runs = vec![stsc::ChunkRun { first_chunk: 1, samples_per_chunk: 7, description_index: 2 }];
    assert_eq!(again(|out| stsc::write(out, &runs), stsc::read), runs);
    assert_eq!(again(|out| stss::write(out, &[1, 250]), stss::read), [1, 250]);
    assert_eq!(again(|out| sdtp::write(out, &[0x10, 0x24]), sdtp::read), [0x10, 0x24]);
}

#[test]
fn stsz_comes_back_as_a_list_and_as_a_constant() {
    let list = stsz::SampleSizes::compacted(vec![4, 5]);
    assert_eq!(again(|out| stsz::write(out, &list), stsz::read), list);
    let constant = stsz::SampleSizes::compacted(vec![4, 4, 4]);
    assert_eq!(constant, stsz::SampleSizes::Constant { size_bytes: 4, count: 3 });
    assert_eq!(again(|out| stsz::write(out, &constant), stsz::read), constant);
}

#[test]
fn stz2_is_read_in_all_its_widths() {
    for (bits, bytes, sizes) in [(4, &[0x12, 0x30][..], [1, 2, 3]), (8, &[1, 2, 3], [1, 2, 3])] {
        let table = |out: &mut Vec<u8>| {
            crate::isobmff::encode::full_boxed(out, *b"stz2", 0, 0, |out| {
                out.extend([0, 0, 0, bits, 0, 0, 0, 3]);
                out.extend(bytes);
            });
        };
        assert_eq!(again(table, stsz::read), stsz::SampleSizes::List(sizes.to_vec()));
    }
}

#[test]
fn stco_becomes_co64_where_it_must() {
    for offsets in [vec![44, 1 << 31], vec![44, 1 << 32]] {
        assert_eq!(again(|out| stco::write(out, &offsets), stco::read), offsets);
    }
}

#[test]
fn elst_comes_back_in_both_versions() {
    let short = vec![elst::Edit::empty(40), elst::Edit::media(6000, 1024)];
    let long = vec![elst::Edit::empty(40), elst::Edit::media(1 << 40, 1 << 31)];
    for edits in [short, long] {
        let read = |edts: &ChildBox<'_>, notes: &mut DefectLog| {
            elst::read(&crate::isobmff::cursor::children_of(edts).next().unwrap(), notes)
        };
        assert_eq!(again(|out| elst::write(out, &edits), read), edits);
    }
}

#[test]
fn a_billion_entries_in_a_hundred_bytes_are_as_many_as_fit() {
    let mut out = Vec::new();
    stco::write(&mut out, &[7; 20]);
    out[12..16].copy_from_slice(&1_000_000_000_u32.to_be_bytes());
    let mut notes = DefectLog::default();
    let offsets = stco::read(&children(&out, 5000).next().unwrap(), &mut notes);
    assert_eq!(offsets.len(), 20);
    let defects = notes.into_defects();
    assert!(matches!(&defects[..], [Defect::Malformed { offset: Some(5000), .. }]), "{defects:?}");
}

/// A header of 512 MiB may be half a billion sizes of four bits, which take two gigabytes.
#[test]
fn sizes_of_four_bits_are_no_more_than_a_track_may_have() {
    let most = usize::try_from(crate::isobmff::build::sample_limit()).unwrap();
    let mut out = Vec::new();
    crate::isobmff::encode::full_boxed(&mut out, *b"stz2", 0, 0, |out| {
        out.extend([0, 0, 0, 4]);
        out.extend(u32::try_from(most + 10).unwrap().to_be_bytes());
        out.resize(out.len() + most / 2 + 5, 0x11);
    });
    let mut notes = DefectLog::default();
    let sizes = stsz::read(&children(&out, 0).next().unwrap(), &mut notes);
    assert_eq!((sizes.count(), notes.into_defects().len()), (most as u64, 1));
}
