//! `stsd`: what the samples of a track are (ISO/IEC 14496-12 §8.5.2, §12).
//!
//! The box is kept byte for byte; only what a summary says is taken out of it.

use super::esds::{self, Elementary};
use super::pasp::PixelAspect;
use crate::isobmff::boxes::FourCc;
use crate::isobmff::cursor::{ByteCursor, ChildBox, ChildBoxes, children};
use crate::isobmff::encode::{full_boxed, put_count};

/// Most sample descriptions that are read; a recorder that changes parameters writes a handful.
pub const MAX_DESCRIPTIONS: usize = 1024;
/// Fixed fields of a visual sample entry after its header (§12.1.3).
const VISUAL_BYTES: usize = 78;
/// Fixed fields of an audio sample entry after its header (§12.2.3).
const AUDIO_BYTES: usize = 28;
/// Deepest nesting of boxes in an entry that is searched (`wave` in QuickTime, `sinf` in encrypted entries).
const MAX_DEPTH: u8 = 3;

/// One sample description.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SampleEntry {
    /// The coding name as it stands there (`avc1`, `mp4a`, `encv`, …).
    pub fourcc: FourCc,
    /// The coding name under encryption, else the same.
    pub original: FourCc,
    /// Which entry of `dref` its samples lie in, starting at 1.
    pub data_reference_index: u16,
    /// Picture size in pixels; of video only.
    pub dimensions: Option<(u16, u16)>,
    /// Width to height of a sample of the picture, if that is said.
    pub aspect: Option<PixelAspect>,
    /// Samples per second; of audio only.
    pub sample_rate_hz: Option<u32>,
    /// Channels; of audio only.
    pub channels: Option<u32>,
    /// `objectTypeIndication` of MPEG-4 codecs (ISO/IEC 14496-1 §7.2.6.6).
    pub object_type: Option<u8>,
    /// Bytes of the length field in front of each NAL unit; of unencrypted H.264 and H.265 only.
    pub nal_length_bytes: Option<u8>,
    /// Whether sound that is not coded has its lowest byte first (`enda`, QuickTime File Format).
    pub is_little_endian: bool,
}

/// All sample descriptions of a track.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SampleDescriptions {
    raw: Vec<u8>,
    entries: Vec<SampleEntry>,
}

impl SampleDescriptions {
    /// Takes a whole `stsd` box; `handler` says how its entries are laid out. `None` if it is no such box.
    pub fn new(raw: &[u8], handler: FourCc) -> Option<Self> {
        let table = children(raw, 0).next().filter(|b| b.fourcc.0 == *b"stsd")?;
        let entries = children(table.body.get(8..)?, 0).take(MAX_DESCRIPTIONS);
        Some(Self { raw: table.raw.to_vec(), entries: entries.map(|entry| read_entry(&entry, handler)).collect() })
    }

    /// The box, byte for byte.
    pub fn raw(&self) -> &[u8] {
        &self.raw
    }

    /// The entries in order; `description_index` 1 is the first.
    pub fn entries(&self) -> &[SampleEntry] {
        &self.entries
    }

    /// Whether samples of another track of this kind decode with these descriptions just as with their own.
    pub fn decode_like(&self, other: &Self, handler: FourCc) -> bool {
        let configurations = |of: &Self| -> Vec<_> {
            let table = children(&of.raw, 0).next();
            let entries = children(table.and_then(|table| table.body.get(8..)).unwrap_or_default(), 0);
            entries.take(MAX_DESCRIPTIONS).map(|entry| configuration(&entry, handler)).collect()
        };
        self.entries == other.entries && configurations(self) == configurations(other)
    }

    /// These descriptions with those of another track of this kind behind them, as far as they differ, and for each of the other's
    /// its number here, from 1.
    ///
    /// `None` if the other has a coding name that is not here: no player takes two of them in one track.
    pub fn joined(&self, other: &Self, handler: FourCc) -> Option<(Self, Vec<u32>)> {
        let mut raw: Vec<Vec<u8>> = self.raw_entries().map(ChildBox::to_vec).collect();
        let mut entries = self.entries.clone();
        let mut numbers = Vec::with_capacity(other.entries.len());
        for (entry, said) in other.raw_entries().zip(&other.entries) {
            if !entries.iter().any(|known| known.fourcc == said.fourcc) {
                return None;
            }
            let said = SampleEntry { data_reference_index: 1, ..said.clone() };
            let is_same = |(known, of): (&Vec<u8>, &SampleEntry)| {
                let known = children(known, 0).next();
                let like = SampleEntry { data_reference_index: 1, ..of.clone() };
                like == said
                    && known.is_some_and(|known| configuration(&known, handler) == configuration(&entry, handler))
            };
            let known = raw.iter().zip(&entries).position(is_same);
            let at = known.unwrap_or(entries.len());
            if known.is_none() {
                raw.push(in_this_file(&entry));
                entries.push(said);
            }
            numbers.push(u32::try_from(at + 1).ok()?);
        }
        if entries.len() > MAX_DESCRIPTIONS {
            return None;
        }
        Some((Self { raw: table_of(&raw), entries }, numbers))
    }

    /// One of these descriptions alone, by its number from 1; `None` if there is none of that number.
    pub fn only(&self, number: u32, handler: FourCc) -> Option<Self> {
        let index = usize::try_from(number).ok()?.checked_sub(1)?;
        let entry = self.raw_entries().nth(index)?.to_vec();
        Self::new(&table_of(&[entry]), handler)
    }

    fn raw_entries(&self) -> impl Iterator<Item = ChildBox<'_>> {
        let table = children(&self.raw, 0).next();
        children(table.and_then(|table| table.body.get(8..)).unwrap_or_default(), 0).take(MAX_DESCRIPTIONS)
    }

    /// Whether an entry says that its samples are encrypted (§8.12).
    pub fn is_encrypted(&self) -> bool {
        self.entries.iter().any(|e| matches!(&e.fourcc.0, b"encv" | b"enca" | b"enct" | b"encs" | b"drmi" | b"drms"))
    }
}

/// `stsd` of whole entries.
fn table_of(entries: &[Vec<u8>]) -> Vec<u8> {
    let mut table = Vec::new();
    full_boxed(&mut table, *b"stsd", 0, 0, |out| {
        put_count(out, entries.len());
        out.extend(entries.concat());
    });
    table
}

/// A sample entry whose samples lie in the first file of `dref` (§8.5.2.2).
fn in_this_file(entry: &ChildBox<'_>) -> Vec<u8> {
    let mut bytes = entry.to_vec();
    let at = entry.raw.len() - entry.body.len() + 6;
    if let Some(index) = bytes.get_mut(at..at + 2) {
        index.copy_from_slice(&1_u16.to_be_bytes());
    }
    bytes
}

fn read_entry(entry: &ChildBox<'_>, handler: FourCc) -> SampleEntry {
    let mut cursor = ByteCursor::new(entry.body);
    let data_reference_index = cursor.take(6).and_then(|_| cursor.u16()).unwrap_or(1);
    let mut said = SampleEntry {
        fourcc: entry.fourcc,
        original: entry.fourcc,
        data_reference_index,
        dimensions: None,
        aspect: None,
        sample_rate_hz: None,
        channels: None,
        object_type: None,
        nal_length_bytes: None,
        is_little_endian: false,
    };
    let nested = read_fixed(&mut said, entry.body, handler);
    read_nested(&mut said, children(nested.unwrap_or_default(), 0), 0);
    said
}

/// Reads the fields of an entry that are not boxes; gives the boxes.
fn read_fixed<'a>(said: &mut SampleEntry, body: &'a [u8], handler: FourCc) -> Option<&'a [u8]> {
    match &handler.0 {
        b"vide" => read_visual(said, body),
        b"soun" => read_audio(said, body),
        _ => None,
    }
}

/// The boxes of an entry that say how its samples are decoded; not what they weigh.
fn configuration(entry: &ChildBox<'_>, handler: FourCc) -> Vec<(FourCc, Vec<u8>)> {
    let nested = read_fixed(&mut read_entry(entry, handler), entry.body, handler);
    let boxes = children(nested.unwrap_or(entry.body), 0).filter(|b| b.fourcc.0 != *b"btrt");
    let body = |b: ChildBox<'_>| if b.fourcc.0 == *b"esds" { esds::without_rates(b.body) } else { b.body.to_vec() };
    boxes.take(MAX_DESCRIPTIONS).map(|b| (b.fourcc, body(b))).collect()
}

fn read_visual<'a>(said: &mut SampleEntry, body: &'a [u8]) -> Option<&'a [u8]> {
    let mut cursor = ByteCursor::new(body.get(24..)?);
    said.dimensions = Some((cursor.u16()?, cursor.u16()?));
    body.get(VISUAL_BYTES..)
}

/// Versions 1 and 2 are QuickTime's (QuickTime File Format, "Sound Sample Descriptions").
fn read_audio<'a>(said: &mut SampleEntry, body: &'a [u8]) -> Option<&'a [u8]> {
    let mut cursor = ByteCursor::new(body.get(8..)?);
    let version = cursor.u16()?;
    cursor.take(6)?;
    said.channels = Some(u32::from(cursor.u16()?));
    cursor.take(6)?;
    said.sample_rate_hz = Some(cursor.u32()? >> 16).filter(|hz| *hz > 0);
    match version {
        1 => body.get(AUDIO_BYTES + 16..),
        2 => {
            cursor.take(4)?;
            said.sample_rate_hz = float_hz(cursor.u64()?);
            said.channels = Some(cursor.u32()?);
            body.get(AUDIO_BYTES + 36..)
        }
        _ => body.get(AUDIO_BYTES..),
    }
}

/// A rate stored as a 64-bit float; `None` if it is no audio rate.
fn float_hz(bits: u64) -> Option<u32> {
    let hz = f64::from_bits(bits);
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "the range is checked")]
    (1.0..1e7).contains(&hz).then_some(hz as u32)
}

fn read_nested(said: &mut SampleEntry, boxes: ChildBoxes<'_>, depth: u8) {
    for nested in boxes.take(MAX_DESCRIPTIONS) {
        match &nested.fourcc.0 {
            b"esds" => take_elementary(said, esds::read(nested.body)),
            b"pasp" => said.aspect = PixelAspect::read(nested.body).or(said.aspect),
            b"frma" => said.original = ByteCursor::new(nested.body).array().map_or(said.original, FourCc),
            b"dOps" => said.channels = nested.body.get(1).map(|c| u32::from(*c)).or(said.channels),
            b"avcC" if said.fourcc.0 != *b"encv" => said.nal_length_bytes = nal_length_bytes(nested.body.get(4)),
            b"hvcC" if said.fourcc.0 != *b"encv" => said.nal_length_bytes = nal_length_bytes(nested.body.get(21)),
            b"enda" => said.is_little_endian = nested.body.get(1) == Some(&1),
            b"wave" | b"sinf" if depth < MAX_DEPTH => read_nested(said, children(nested.body, 0), depth + 1),
            _ => {}
        }
    }
}

/// `lengthSizeMinusOne` of a decoder configuration (ISO/IEC 14496-15 §5.3.3.1, §8.3.3.1); 3 bytes are not allowed.
fn nal_length_bytes(field: Option<&u8>) -> Option<u8> {
    field.map(|field| (field & 3) + 1).filter(|bytes| *bytes != 3)
}

fn take_elementary(said: &mut SampleEntry, elementary: Option<Elementary>) {
    let Some(found) = elementary else { return };
    said.object_type = Some(found.object_type);
    said.sample_rate_hz = found.sample_rate_hz.or(said.sample_rate_hz);
    said.channels = found.channels.or(said.channels);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::isobmff::encode::{boxed, put_u16};

    const VIDEO: FourCc = FourCc(*b"vide");

    /// A description for each coding name with a configuration, its samples in the first file but one.
    fn descriptions(entries: &[(&[u8; 4], u8)]) -> SampleDescriptions {
        let mut raw = Vec::new();
        full_boxed(&mut raw, *b"stsd", 0, 0, |out| {
            put_count(out, entries.len());
            for (name, configured) in entries {
                boxed(out, **name, |out| {
                    out.extend([0; 6]);
                    put_u16(out, 2);
                    out.extend([0; VISUAL_BYTES - 8]);
                    boxed(out, *b"avcC", |out| out.extend([1, 0, 0, 0, 3, *configured]));
                });
            }
        });
        SampleDescriptions::new(&raw, VIDEO).unwrap()
    }

    #[test]
    fn descriptions_of_two_tracks_are_joined_and_those_that_are_alike_are_one() {
        let (first, second) = (descriptions(&[(b"avc1", 1)]), descriptions(&[(b"avc1", 7), (b"avc1", 1)]));
        let (joined, numbers) = first.joined(&second, VIDEO).unwrap();
        assert_eq!(numbers, [2, 1]);
        let again = SampleDescriptions::new(joined.raw(), VIDEO).unwrap();
        assert_eq!(again, joined, "what is said is what is written");
        assert_eq!(again.entries()[1].data_reference_index, 1, "there is one file only");
        assert_eq!(
            joined.joined(&second, VIDEO).map(|(all, numbers)| (all.entries().len(), numbers)),
            Some((2, vec![2, 1]))
        );
    }

    #[test]
    fn one_description_is_taken_out_of_several() {
        let both = descriptions(&[(b"avc1", 7), (b"avc1", 1)]);
        assert_eq!(
            [1, 2].map(|number| both.only(number, VIDEO)),
            [7, 1].map(|of| Some(descriptions(&[(b"avc1", of)])))
        );
        assert_eq!([0, 3].map(|number| both.only(number, VIDEO)), [None, None]);
    }

    #[test]
    fn another_coding_name_is_not_joined() {
        assert_eq!(descriptions(&[(b"avc1", 1)]).joined(&descriptions(&[(b"avc3", 1)]), VIDEO), None);
    }
}
