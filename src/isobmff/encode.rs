//! Writing boxes into a byte vector.
//!
//! Sizes are filled in when a box closes, so nobody counts bytes by hand. It must not know what any box means.

use super::error::IsoError;

/// Appends a box with the content that `content` writes (ISO/IEC 14496-12 §4.2.1).
///
/// A box of 4 GiB or more cannot stand inside a `moov` here; its size would wrap, which is refused by [`checked`].
pub(super) fn boxed(out: &mut Vec<u8>, fourcc: [u8; 4], content: impl FnOnce(&mut Vec<u8>)) {
    let start = out.len();
    out.extend([0; 4]);
    out.extend(fourcc);
    content(out);
    let size = u32::try_from(out.len() - start).unwrap_or(u32::MAX);
    out[start..start + 4].copy_from_slice(&size.to_be_bytes());
}

/// Appends a full box (§4.2.2).
pub(super) fn full_boxed(
    out: &mut Vec<u8>,
    fourcc: [u8; 4],
    version: u8,
    flags: u32,
    content: impl FnOnce(&mut Vec<u8>),
) {
    boxed(out, fourcc, |out| {
        put_u32(out, u32::from(version) << 24 | flags & 0x00FF_FFFF);
        content(out);
    });
}

pub(super) fn put_u16(out: &mut Vec<u8>, value: u16) {
    out.extend(value.to_be_bytes());
}

pub(super) fn put_u32(out: &mut Vec<u8>, value: u32) {
    out.extend(value.to_be_bytes());
}

pub(super) fn put_u64(out: &mut Vec<u8>, value: u64) {
    out.extend(value.to_be_bytes());
}

/// A number whose width the version of its box decides.
pub(super) fn put_wide(out: &mut Vec<u8>, version: u8, value: u64) {
    if version == 0 { put_u32(out, u32::try_from(value).unwrap_or(u32::MAX)) } else { put_u64(out, value) }
}

/// A count of entries; tables are held in memory and backed by at least four bytes each, so they fit.
pub(super) fn put_count(out: &mut Vec<u8>, count: usize) {
    put_u32(out, u32::try_from(count).unwrap_or(u32::MAX));
}

/// A table: the number of its entries, and the entries of `N` words each.
pub(super) fn put_table<const N: usize>(out: &mut Vec<u8>, entries: impl ExactSizeIterator<Item = [u32; N]>) {
    put_count(out, entries.len());
    let start = out.len();
    out.resize(start + 4 * N * entries.len(), 0);
    let (places, _) = out[start..].as_chunks_mut::<4>();
    for (place, entry) in places.as_chunks_mut::<N>().0.iter_mut().zip(entries) {
        *place = entry.map(u32::to_be_bytes);
    }
}

/// The version that holds all of the numbers: 0 for 32 bits, 1 for 64.
pub(super) fn version_for(values: &[u64]) -> u8 {
    u8::from(values.iter().any(|v| u32::try_from(*v).is_err()))
}

/// Refuses a header whose 32-bit box sizes would have wrapped.
pub(super) fn checked(bytes: &[u8]) -> Result<(), IsoError> {
    let limit = u64::from(u32::MAX);
    match bytes.len() as u64 {
        found if found > limit => Err(IsoError::Limit { what: "size of the movie header in bytes", found, limit }),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_box_knows_its_size_and_boxes_nest() {
        let mut out = Vec::new();
        boxed(&mut out, *b"outr", |out| full_boxed(out, *b"innr", 1, 0x02_0304, |out| put_u16(out, 7)));
        assert_eq!(out, b"\0\0\0\x16outr\0\0\0\x0Einnr\x01\x02\x03\x04\0\x07");
    }

    #[test]
    fn the_version_follows_the_largest_number() {
        assert_eq!(version_for(&[0, u64::from(u32::MAX)]), 0);
        assert_eq!(version_for(&[0, u64::from(u32::MAX) + 1]), 1);
    }
}
