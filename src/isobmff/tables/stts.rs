//! `stts`: how long each sample lasts on the decoding timeline (ISO/IEC 14496-12 §8.6.1.2).

use super::runs::{Run, Runs};
use crate::isobmff::cursor::Child;
use crate::isobmff::encode::{full_boxed, put_count, put_u32};
use crate::isobmff::error::Notes;

/// Sample durations in units of the track's timescale.
pub type Durations = Runs<u32>;

pub(in super::super) fn read(table: &Child<'_>, notes: &mut Notes) -> Durations {
    let Some((_, count, mut cursor)) = super::open(table, notes, |_| 8) else { return Durations::default() };
    let entry = |_| Some(Run { count: cursor.u32()?, value: cursor.u32()? });
    Runs::new((0..count).map_while(entry).collect())
}

pub(in super::super) fn write(out: &mut Vec<u8>, durations: &Durations) {
    full_boxed(out, *b"stts", 0, 0, |out| {
        put_count(out, durations.as_slice().len());
        for run in durations.as_slice() {
            put_u32(out, run.count);
            put_u32(out, run.value);
        }
    });
}
