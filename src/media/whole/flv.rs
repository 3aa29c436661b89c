//! The structure of Flash Video (Adobe FLV 10.1, annex E): what its head declares and whether its last tag is whole.

use std::io::{self, Read, Seek, SeekFrom};
use std::path::Path;

use super::FileTail;
use crate::isobmff::Tags;
use crate::media::flv::{
    FlvBody, FlvTag, SCRIPT, TAG_HEADER_BYTES, TRAILER_BYTES, first_tag, flv_said, read_tag, read_up_to,
};
use crate::recording::{Container, TrackKind};

/// How many tags are looked at for the first picture and `onMetaData`.
const HEAD_TAGS: usize = 256;
/// And how many more for further tracks, whose tags stand beside those of the first.
const FURTHER_TAGS: usize = 32;
const SCRIPT_BYTES: u64 = 64 << 10;
/// What a script begins with that says something of the whole file (annex E.4.4.1).
const METADATA: &[u8] = b"\x02\0\x0AonMetaData";
const BODY_HEAD_BYTES: u64 = 32;

/// What the first tags say.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct FlvHead {
    /// `duration` of `onMetaData`, milliseconds, if not zero.
    pub declared_ms: Option<i64>,
    /// `filesize` of `onMetaData`, bytes, if not zero.
    pub declared_bytes: Option<u64>,
    /// Whether the sound or the pictures are of a codec that libavformat misreads in FLV: codec ids 12 and 13, and
    /// everything of enhanced RTMP.
    pub is_foreign: bool,
    /// What `onMetaData` says of the recording.
    pub tags: Tags,
}

/// Reads the head of an FLV file; that of any other container is empty.
pub fn head(path: &Path, container: Container) -> io::Result<FlvHead> {
    if container != Container::Flv {
        return Ok(FlvHead::default());
    }
    let mut file = crate::durable::open_to_read(path).map_err(|e| e.source)?;
    read_head(&mut file)
}

/// Reads the head of an open FLV file.
pub(in crate::media) fn read_head(file: &mut (impl Read + Seek)) -> io::Result<FlvHead> {
    let mut head = FlvHead::default();
    let mut seen: Vec<TrackKind> = Vec::new();
    let mut at = first_tag(file)?;
    let (mut left, mut is_complete) = (HEAD_TAGS, false);
    while left > 0 {
        left -= 1;
        let Some(tag) = read_tag(file, at)?.filter(FlvTag::is_known) else { break };
        if tag.kind == SCRIPT {
            if head.declared_ms.is_none() && !is_complete {
                read_script(file, &tag, &mut head)?;
            }
        } else if let Some(body) = read_body(file, &tag)? {
            head.is_foreign |= body.is_foreign;
            seen.push(body.kind);
        }
        if !is_complete && seen.contains(&TrackKind::Video) && seen.contains(&TrackKind::Audio) {
            is_complete = true;
            left = left.min(FURTHER_TAGS);
        }
        if is_complete && head.is_foreign {
            break;
        }
        at = tag.end() + TRAILER_BYTES;
    }
    Ok(head)
}

fn read_body(file: &mut impl Read, tag: &FlvTag) -> io::Result<Option<FlvBody>> {
    let mut body = Vec::new();
    file.take(tag.body_bytes.min(BODY_HEAD_BYTES)).read_to_end(&mut body)?;
    Ok(FlvBody::parse(tag.kind, &body))
}

fn read_script(file: &mut impl Read, tag: &FlvTag, head: &mut FlvHead) -> io::Result<()> {
    let mut body = Vec::new();
    file.take(tag.body_bytes.min(SCRIPT_BYTES)).read_to_end(&mut body)?;
    let positive = |key: &str| number(&body, key).filter(|n| n.is_finite() && *n > 0.0 && *n < 1e12);
    #[expect(clippy::cast_possible_truncation, reason = "bounded above, and fractions of a millisecond say nothing")]
    let whole = |n: f64| n as i64;
    head.declared_ms = positive("duration").map(|seconds| whole(seconds * 1000.0));
    for (name, value) in flv_said(body.strip_prefix(METADATA).unwrap_or_default()).tags.entries() {
        head.tags.set(name, value.to_owned());
    }
    head.declared_bytes = positive("filesize").and_then(|bytes| u64::try_from(whole(bytes)).ok());
    Ok(())
}

/// The number under a key of an AMF0 object: length (2), key, marker 0, IEEE 754 double.
fn number(body: &[u8], key: &str) -> Option<f64> {
    let length = u8::try_from(key.len()).ok()?;
    let pattern = [&[0, length], key.as_bytes(), &[0]].concat();
    let at = body.windows(pattern.len()).position(|window| window == pattern)? + pattern.len();
    Some(f64::from_be_bytes(body.get(at..at + 8)?.try_into().ok()?))
}

/// Checks the last tag: from the trailer at the end of the file, else by walking from the last packet's tag.
pub fn tail(file: &mut (impl Read + Seek), size_bytes: u64, near: u64) -> io::Result<FileTail> {
    let head = read_head(file)?;
    let missing = match head.declared_bytes.filter(|declared| *declared > size_bytes) {
        Some(declared) => Some(format!("{} of the declared {declared} bytes", declared - size_bytes)),
        None if ends_with_trailer(file, size_bytes)? => None,
        None => walk(file, size_bytes, near)?,
    };
    Ok(FileTail { missing, declared_ms: head.declared_ms, cut_pids: Vec::new() })
}

/// Whether the last tag is whole, as the length behind it says.
pub fn ends_with_trailer(file: &mut (impl Read + Seek), size_bytes: u64) -> io::Result<bool> {
    let Some(at) = size_bytes.checked_sub(TRAILER_BYTES) else { return Ok(false) };
    file.seek(SeekFrom::Start(at))?;
    let Some(length) = read_up_to::<4>(file)?.map(|b| u64::from(u32::from_be_bytes(b))) else { return Ok(false) };
    let Some(tag_at) = at.checked_sub(length).filter(|_| length > TAG_HEADER_BYTES) else { return Ok(false) };
    Ok(read_tag(file, tag_at)?.is_some_and(|tag| tag.end() == at && tag.is_known()))
}

/// Walks tag headers to the end of the file and says what the last one lacks.
fn walk(file: &mut (impl Read + Seek), size_bytes: u64, near: u64) -> io::Result<Option<String>> {
    let mut at = if near == 0 { first_tag(file)? } else { near };
    while let Some(tag) = read_tag(file, at)? {
        crate::stop::check();
        if !tag.is_known() {
            return Ok(Some(format!("{} bytes from byte {at}, which are not a tag", size_bytes - at)));
        }
        if tag.end() > size_bytes {
            return Ok(Some(format!("{} bytes of the last tag", tag.end() - size_bytes)));
        }
        at = tag.end() + TRAILER_BYTES;
    }
    Ok((size_bytes > at).then(|| format!("the last tag, of which {} bytes are present", size_bytes - at)))
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use super::*;
    use crate::media::flv::tag::tests::file;

    fn tag(kind: u8, body: &[u8]) -> Vec<u8> {
        crate::media::flv::tag::tests::tag(kind, 0, body)
    }

    fn missing(bytes: &[u8]) -> Option<String> {
        tail(&mut Cursor::new(bytes), bytes.len() as u64, 0).unwrap().missing
    }

    #[test]
    fn every_cut_inside_a_tag_is_seen_and_none_at_a_border() {
        let whole = file(&[tag(9, b"\x17\x01abcdefgh"), tag(8, b"\xAF\x01sound")]);
        assert_eq!(missing(&whole), None);
        assert_eq!(missing(&whole[..whole.len() - 4]), None, "the trailer may be missing");
        let first_end = 13 + 11 + 10 + 4;
        for length in first_end + 1..whole.len() - 4 {
            assert!(missing(&whole[..length]).is_some(), "cut at {length}");
        }
        assert_eq!(missing(&whole[..first_end]), None);
    }

    #[test]
    fn zeros_after_a_power_loss_are_no_tags() {
        let mut bytes = file(&[tag(9, b"\x17\x01abc")]);
        bytes.extend([0; 4096]);
        assert!(missing(&bytes).unwrap().contains("are not a tag"));
    }

    #[test]
    fn the_metadata_declares_duration_and_size() {
        let mut script = b"\x02\0\x0AonMetaData\x08\0\0\0\x02\0\x08duration\0".to_vec();
        script.extend(8.5f64.to_be_bytes());
        script.extend(b"\0\x08filesize\0");
        script.extend(1e6f64.to_be_bytes());
        let bytes = file(&[tag(18, &script), tag(9, b"\x17\x01abc")]);
        let found = tail(&mut Cursor::new(&bytes), bytes.len() as u64, 0).unwrap();
        assert_eq!(found.declared_ms, Some(8500));
        assert!(found.missing.unwrap().ends_with("of the declared 1000000 bytes"));
    }

    #[test]
    fn metadata_that_comes_again_takes_nothing_away() {
        let script = |values: &[u8]| tag(18, &[b"\x02\0\x0AonMetaData\x03", values, b"\0\0\x09"].concat());
        let first = script(b"\0\x05title\x02\0\x01x\0\x06artist\x02\0\x01y");
        let bytes =
            file(&[first, script(b"\0\x05title\x02\0\x01z"), tag(18, b"\x02\0\x04onFI"), tag(9, b"\x17\x01abc")]);
        let head = read_head(&mut Cursor::new(&bytes)).unwrap();
        assert_eq!(head.tags.entries().collect::<Vec<_>>(), [("artist", "y"), ("title", "z")]);
    }

    #[test]
    fn codecs_that_libavformat_misreads_are_foreign() {
        let foreign = |tags: &[Vec<u8>]| read_head(&mut Cursor::new(file(tags))).unwrap().is_foreign;
        assert!(!foreign(&[tag(9, b"\x17\0\0\0\0\x01"), tag(8, b"\xAF\0\x12\x10")]));
        assert!(foreign(&[tag(9, b"\x1C\0\0\0\0\x01")]));
        assert!(foreign(&[tag(8, b"\xAF\0\x12\x10"), tag(9, b"\x90av01\x01")]));
        assert!(foreign(&[tag(9, b"\x17\0\0\0\0\x01"), tag(8, b"\x90OpusOpusHead")]));
    }
}
