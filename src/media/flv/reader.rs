//! The units of an FLV file, one after the other, each with its tag.
//!
//! A tag counts once its own length stands behind it, or another tag, or the end of the file. Where nothing fits, the
//! next place that looks like a tag and ends like one is searched for, so that a damaged stretch costs only itself.

use std::io::{self, BufReader, Read, Seek, SeekFrom};

use super::body::HEAD_BYTES;
use super::tag::{FlvTag, SCRIPT, TAG_HEADER_BYTES, TRAILER_BYTES, first_tag, read_up_to};
use super::{BodyContent, FlvBody};

/// What comes next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::media) enum FlvStep {
    /// Sound or pictures; [`FlvReader::take`] or [`FlvReader::skip`] comes next.
    Unit(FlvTag, FlvBody),
    /// The end of the file.
    End,
    /// A tag of sound or pictures whose head says nothing that can be read. The next step goes on behind it.
    Unread(FlvTag),
    /// Bytes that are no tag. The next step goes on behind them.
    Nonsense,
}

/// Reads an FLV file once, from front to back.
#[derive(Debug)]
pub(in crate::media) struct FlvReader<R> {
    file: BufReader<R>,
    size_bytes: u64,
    /// Offset of the next tag.
    next: u64,
    /// Whether `next` has to be searched for from where it stands.
    is_lost: bool,
}

const BUFFER_BYTES: usize = 256 << 10;
/// A header of version 1 and the length of no tag behind it.
const FILE_HEADER_BYTES: u64 = 13;
/// Commands and the like are no longer than this; a longer tag of sound or pictures whose head cannot be read held media.
const MOST_IDLE_BYTES: u64 = 16;

impl<R: Read + Seek> FlvReader<R> {
    pub(in crate::media) fn open(file: R, size_bytes: u64) -> io::Result<Self> {
        let mut reader =
            Self { file: BufReader::with_capacity(BUFFER_BYTES, file), size_bytes, next: 0, is_lost: false };
        reader.rewind()?;
        Ok(reader)
    }

    /// Goes back to the first tag.
    pub(in crate::media) fn rewind(&mut self) -> io::Result<()> {
        self.next = first_tag(&mut self.file)?;
        self.is_lost = false;
        Ok(())
    }

    /// Goes on behind the header of another recording (annex E.2) that begins at an offset; false if none does.
    pub(in crate::media) fn pass_header(&mut self, at: u64) -> io::Result<bool> {
        self.go_to(at)?;
        let is_header = read_up_to::<4>(&mut self.file)?.is_some_and(|bytes| bytes == *b"FLV\x01");
        if is_header {
            (self.next, self.is_lost) = (at + FILE_HEADER_BYTES, false);
        }
        Ok(is_header)
    }

    /// Offset of the next tag.
    pub(in crate::media) fn position(&self) -> u64 {
        self.next
    }

    /// Goes to the next tag with sound or pictures.
    pub(in crate::media) fn step(&mut self) -> io::Result<FlvStep> {
        if self.is_lost && !self.search()? {
            return Ok(FlvStep::End);
        }
        loop {
            self.go_to(self.next)?;
            let Some(tag) = read_up_to(&mut self.file)?.map(|header| FlvTag::parse(header, self.next)) else {
                return Ok(FlvStep::End);
            };
            if !tag.is_known() {
                return Ok(self.lose(self.next + 1));
            }
            if let Some(body) = self.read_head(&tag)? {
                return Ok(FlvStep::Unit(tag, body));
            }
            if !self.close(&tag)? {
                return Ok(self.lose(tag.at + 1));
            }
            if tag.kind != SCRIPT && tag.body_bytes > MOST_IDLE_BYTES {
                return Ok(FlvStep::Unread(tag));
            }
        }
    }

    /// Reads the content of the unit of the last step: how many bytes of it the file has, or none where the tag turns
    /// out to be no tag.
    pub(in crate::media) fn take(
        &mut self,
        tag: &FlvTag,
        body: &FlvBody,
        into: &mut [u8],
    ) -> io::Result<Option<usize>> {
        self.go_to(tag.at + TAG_HEADER_BYTES + body.head_bytes as u64)?;
        let mut have = 0;
        while have < into.len() {
            match self.file.read(&mut into[have..]) {
                Ok(0) => break,
                Ok(count) => have += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        if self.close(tag)? {
            return Ok(Some(have));
        }
        self.lose(tag.at + 1);
        Ok(None)
    }

    /// Passes over the content of the unit of the last step; false where the tag turns out to be no tag.
    pub(in crate::media) fn skip(&mut self, tag: &FlvTag) -> io::Result<bool> {
        let is_sound = self.close(tag)?;
        if !is_sound {
            self.lose(tag.at + 1);
        }
        Ok(is_sound)
    }

    fn read_head(&mut self, tag: &FlvTag) -> io::Result<Option<FlvBody>> {
        let mut head = [0; HEAD_BYTES];
        let length = usize::try_from(tag.body_bytes.min(self.size_bytes.saturating_sub(tag.at + TAG_HEADER_BYTES)))
            .map_or(HEAD_BYTES, |length| length.min(HEAD_BYTES));
        self.file.read_exact(&mut head[..length])?;
        Ok(FlvBody::parse(tag.kind, &head[..length])
            .filter(|body| body.head_bytes <= length || body.content == BodyContent::Nothing))
    }

    /// Goes behind a tag and says whether it was one.
    fn close(&mut self, tag: &FlvTag) -> io::Result<bool> {
        self.next = tag.end() + TRAILER_BYTES;
        if self.next + TAG_HEADER_BYTES > self.size_bytes {
            return Ok(true);
        }
        self.go_to(tag.end())?;
        let Some(trailer) = read_up_to(&mut self.file)?.map(u32::from_be_bytes) else { return Ok(true) };
        if u64::from(trailer) == tag.body_bytes + TAG_HEADER_BYTES {
            return Ok(true);
        }
        let next = read_up_to(&mut self.file)?.map(|header| FlvTag::parse(header, self.next));
        Ok(next.is_none_or(|next| next.is_plausible()))
    }

    /// Gives up the place before `from`.
    fn lose(&mut self, from: u64) -> FlvStep {
        self.next = from;
        self.is_lost = true;
        FlvStep::Nonsense
    }

    /// Finds the next place that looks like a tag and ends like one; false if there is none.
    fn search(&mut self) -> io::Result<bool> {
        self.is_lost = false;
        self.go_to(self.next)?;
        let Some(mut window) = read_up_to(&mut self.file)? else { return Ok(false) };
        loop {
            let tag = FlvTag::parse(window, self.next);
            if tag.is_plausible() && self.ends_well(&tag)? {
                return Ok(true);
            }
            let Some([byte]) = read_up_to(&mut self.file)? else { return Ok(false) };
            window.rotate_left(1);
            window[window.len() - 1] = byte;
            self.next += 1;
        }
    }

    fn ends_well(&mut self, tag: &FlvTag) -> io::Result<bool> {
        if tag.end() + TRAILER_BYTES > self.size_bytes {
            return Ok(false);
        }
        let back = self.file.stream_position()?;
        self.go_to(tag.end())?;
        let trailer = read_up_to(&mut self.file)?.map(u32::from_be_bytes);
        self.go_to(back)?;
        Ok(trailer.is_some_and(|length| u64::from(length) == tag.body_bytes + TAG_HEADER_BYTES))
    }

    /// Moves within the buffer where that is possible.
    fn go_to(&mut self, at: u64) -> io::Result<()> {
        let now = self.file.stream_position()?;
        match i64::try_from(i128::from(at) - i128::from(now)) {
            Ok(by) => self.file.seek_relative(by),
            Err(_) => self.file.seek(SeekFrom::Start(at)).map(drop),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use super::*;
    use crate::media::flv::tag::tests::{file, tag};

    /// Decoding time and content of every unit; none for nonsense.
    fn units(bytes: &[u8]) -> Vec<Option<(i64, Vec<u8>)>> {
        let mut reader = FlvReader::open(Cursor::new(bytes), bytes.len() as u64).unwrap();
        let mut found = Vec::new();
        loop {
            match reader.step().unwrap() {
                FlvStep::End => return found,
                FlvStep::Nonsense | FlvStep::Unread(_) => found.push(None),
                FlvStep::Unit(tag, body) => {
                    let mut content = vec![0; body.content_bytes(&tag)];
                    let have = reader.take(&tag, &body, &mut content).unwrap();
                    found.push(have.map(|have| (tag.time_ms, content[..have].to_vec())));
                }
            }
        }
    }

    fn three() -> Vec<u8> {
        file(&[
            tag(18, 0, b"\x02\0\x0AonMetaData"),
            tag(9, 0, b"\x90hvc1config"),
            tag(9, 40, b"\x93hvc1abc"),
            tag(8, 50, b"\xAF\x01xyz"),
        ])
    }

    #[test]
    fn units_come_in_order_with_their_times() {
        let some = |time, content: &[u8]| Some((time, content.to_vec()));
        assert_eq!(units(&three()), [some(0, b"config"), some(40, b"abc"), some(50, b"xyz")]);
    }

    #[test]
    fn every_cut_gives_the_units_before_it_and_at_most_a_part_of_one() {
        let bytes = three();
        let whole = units(&bytes);
        for length in 0..bytes.len() {
            let found = units(&bytes[..length]);
            let split = found.len().saturating_sub(1);
            assert_eq!(found[..split], whole[..split], "cut at {length}");
            if let Some(Some((_, content))) = found.last() {
                assert!(whole[split].as_ref().unwrap().1.starts_with(content), "cut at {length}");
            }
        }
    }

    #[test]
    fn a_damaged_stretch_costs_only_itself() {
        let mut bytes = three();
        let second = 13 + tag(18, 0, b"\x02\0\x0AonMetaData").len() + tag(9, 0, b"\x90hvc1config").len();
        bytes[second..second + 20].fill(0xEE);
        let found = units(&bytes);
        assert_eq!(found, [Some((0, b"config".to_vec())), None, Some((50, b"xyz".to_vec()))]);
    }

    #[test]
    fn a_damaged_length_is_no_tag() {
        let mut bytes = three();
        let second = 13 + tag(18, 0, b"\x02\0\x0AonMetaData").len() + tag(9, 0, b"\x90hvc1config").len();
        bytes[second + 3] += 2;
        let found = units(&bytes);
        assert_eq!(found.last(), Some(&Some((50, b"xyz".to_vec()))));
        assert!(found.contains(&None));
    }

    #[test]
    fn a_tag_whose_head_makes_no_sense_is_said_and_a_command_is_not() {
        let odd = tag(9, 20, &[&[0x97, 0xFF, 0xFF, 0xFF][..], &[1; 40]].concat());
        let bytes = file(&[tag(9, 0, b"\x90hvc1config"), odd, tag(9, 30, b"\x57\x01"), tag(8, 50, b"\xAF\x01xyz")]);
        let some = |time, content: &[u8]| Some((time, content.to_vec()));
        assert_eq!(units(&bytes), [some(0, b"config"), None, some(50, b"xyz")]);
    }

    #[test]
    fn zeros_at_the_end_are_said_once() {
        let mut bytes = three();
        bytes.resize(bytes.len() + 100_000, 0);
        let found = units(&bytes);
        assert_eq!(found.len(), 4);
        assert_eq!(found[3], None);
    }
}
