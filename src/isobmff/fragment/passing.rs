//! The fragments of a file read in passing, while its boxes are walked: a header is looked at once and not twice.

use std::io::{Read, Seek};

use super::{FragmentReader, FragmentedMovie};
use crate::isobmff::boxes::{self, BoxHeader, FileShape, Layout, read_box};
use crate::isobmff::error::IsoError;
use crate::isobmff::movie::Movie;

/// A `moov` that announces fragments holds no samples, or few: a larger one is left for later.
const MAX_EMPTY_MOVIE_HEADER_BYTES: u64 = 1 << 20;

/// The top level of a file of `len` bytes, and what its fragments amount to where they could be read on the way. `None` says
/// nothing about them: [`read`](super::read) tells.
pub fn top_level<R: Read + Seek>(reader: &mut R, len: u64) -> Result<(Layout, Option<FragmentedMovie>), IsoError> {
    let mut passed = PassState { len, moov: None, reading: None };
    let layout = boxes::top_level_with(reader, len, |reader, header| passed.come_by(reader, header))?;
    let fragmented = passed.finish(&layout);
    Ok((layout, fragmented))
}

struct PassState {
    len: u64,
    /// The first whole `moov`.
    moov: Option<BoxHeader>,
    reading: Option<FragmentReader>,
}

impl PassState {
    /// Whatever is wrong is left for those who read with the whole layout at hand: they know how to say it.
    fn come_by<R: Read + Seek>(&mut self, reader: &mut R, header: &BoxHeader) {
        if header.end() > self.len {
            return;
        }
        self.reading.iter_mut().for_each(|reading| reading.come_by(header));
        if header.is(b"moov") && self.moov.is_none() {
            self.moov = Some(*header);
            self.reading = self.begin(reader, header);
        } else if header.is(b"moof") {
            self.reading = self.reading.take().and_then(|mut reading| {
                reading.take(reader, header).ok()?;
                Some(reading)
            });
        }
    }

    fn begin<R: Read + Seek>(&self, reader: &mut R, moov: &BoxHeader) -> Option<FragmentReader> {
        boxes::has_child(reader, moov, *b"mvex").ok().filter(|announces| *announces)?;
        let bytes = read_box(reader, moov, "size of the movie header in bytes", MAX_EMPTY_MOVIE_HEADER_BYTES).ok()?;
        let movie = Movie::from_moov_at(bytes, moov.offset).ok()?;
        FragmentReader::new(movie, self.len).ok()
    }

    fn finish(self, layout: &Layout) -> Option<FragmentedMovie> {
        let is_only_one = layout.all(b"moov").count() == 1 && layout.movie_header() == self.moov.as_ref();
        let is_whole = |reading: &FragmentReader| reading.fragments == super::whole_fragments(layout).count() as u64;
        let reading = self.reading.filter(is_whole)?;
        (is_only_one && layout.shape() == FileShape::Fragmented).then(|| reading.finish(layout))
    }
}
