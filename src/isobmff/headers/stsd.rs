//! `stsd`: what the samples of a track are (ISO/IEC 14496-12 §8.5.2, §12).
//!
//! The box is kept byte for byte; only what a summary says is taken out of it.

use super::esds::{self, Elementary};
use super::pasp::Aspect;
use crate::isobmff::boxes::FourCc;
use crate::isobmff::cursor::{Child, Children, Cursor, children};

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
    pub aspect: Option<Aspect>,
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

    /// Whether an entry says that its samples are encrypted (§8.12).
    pub fn is_encrypted(&self) -> bool {
        self.entries.iter().any(|e| matches!(&e.fourcc.0, b"encv" | b"enca" | b"enct" | b"encs" | b"drmi" | b"drms"))
    }
}

fn read_entry(entry: &Child<'_>, handler: FourCc) -> SampleEntry {
    let mut cursor = Cursor::new(entry.body);
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
fn configuration(entry: &Child<'_>, handler: FourCc) -> Vec<(FourCc, Vec<u8>)> {
    let nested = read_fixed(&mut read_entry(entry, handler), entry.body, handler);
    let boxes = children(nested.unwrap_or(entry.body), 0).filter(|b| b.fourcc.0 != *b"btrt");
    let body = |b: Child<'_>| if b.fourcc.0 == *b"esds" { esds::without_rates(b.body) } else { b.body.to_vec() };
    boxes.take(MAX_DESCRIPTIONS).map(|b| (b.fourcc, body(b))).collect()
}

fn read_visual<'a>(said: &mut SampleEntry, body: &'a [u8]) -> Option<&'a [u8]> {
    let mut cursor = Cursor::new(body.get(24..)?);
    said.dimensions = Some((cursor.u16()?, cursor.u16()?));
    body.get(VISUAL_BYTES..)
}

/// Versions 1 and 2 are QuickTime's (QuickTime File Format, "Sound Sample Descriptions").
fn read_audio<'a>(said: &mut SampleEntry, body: &'a [u8]) -> Option<&'a [u8]> {
    let mut cursor = Cursor::new(body.get(8..)?);
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

fn read_nested(said: &mut SampleEntry, boxes: Children<'_>, depth: u8) {
    for nested in boxes.take(MAX_DESCRIPTIONS) {
        match &nested.fourcc.0 {
            b"esds" => take_elementary(said, esds::read(nested.body)),
            b"pasp" => said.aspect = Aspect::read(nested.body).or(said.aspect),
            b"frma" => said.original = Cursor::new(nested.body).array().map_or(said.original, FourCc),
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
