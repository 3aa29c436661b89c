//! What a container holds beside its tracks: chapters, programmes, covers and attached files.

use ffmpeg_next::ffi::{AVMediaType, AVStream, avcodec_parameters_copy, avformat_new_stream};
use ffmpeg_next::format::context::{Input, Output};
use ffmpeg_next::{Error, Rational, Stream};

use super::facts::set_extradata;
use super::sink::{set_metadata, time_base};
use super::source::{checked, entries, stream_metadata};
use super::stream::TimeBase;

/// A chapter, by the clock of the recording's packets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::media) struct Chapter {
    /// Where it begins, microseconds.
    pub(in crate::media) start_us: i64,
    /// Where it ends, microseconds.
    pub(in crate::media) end_us: i64,
    pub(in crate::media) title: String,
}

/// The chapters of a recording.
#[expect(unsafe_code, reason = "ffmpeg-next takes metadata for UTF-8 unseen")]
pub(super) fn chapters(input: &Input) -> Vec<Chapter> {
    let read = |chapter: ffmpeg_next::format::chapter::Chapter<'_>| {
        let base = time_base(chapter.time_base());
        let us = |ticks: i64| base.rescale(ticks, TimeBase::MICROSECONDS);
        // SAFETY: the chapter and its dictionary live as long as the context, which `input` borrows.
        let said = unsafe { entries((*chapter.as_ptr()).metadata) };
        let title = said.into_iter().find(|(key, _)| key == "title").map_or(String::new(), |(_, value)| value);
        Chapter { start_us: us(chapter.start()), end_us: us(chapter.end()).max(us(chapter.start())), title }
    };
    input.chapters().map(read).collect()
}

/// What each programme of a transport stream says of itself (ISO/IEC 13818-1 §2.4.4, EN 300 468 §6.2.33), if it has tracks.
#[expect(unsafe_code, reason = "ffmpeg-next has no programmes")]
pub(super) fn programmes(input: &Input) -> Vec<Vec<(String, String)>> {
    // SAFETY: the context has so many programmes, which live as long as it, as `input` does; nothing is kept.
    unsafe {
        let context = &*input.as_ptr();
        let count = usize::try_from(context.nb_programs).unwrap_or(0);
        let all = (0..count).map(|number| &**context.programs.add(number));
        all.filter(|programme| programme.nb_stream_indexes > 0).map(|programme| entries(programme.metadata)).collect()
    }
}

/// Adds chapters to what is being written; for muxers that write them at the end.
pub(super) fn add_chapters(output: &mut Output, chapters: &[Chapter]) -> Result<(), Error> {
    for (id, chapter) in (1..).zip(chapters) {
        let micros = Rational::new(1, 1_000_000);
        output.add_chapter(id, micros, chapter.start_us, chapter.end_us, &chapter.title)?;
    }
    Ok(())
}

/// Adds a file that is attached to the source, or its cover, as a file attached to the output (Matroska).
#[expect(unsafe_code, reason = "makes a stream of a kind that ffmpeg-next does not make")]
pub(super) fn attach(output: &mut Output, from: &Stream<'_>) -> Result<(), Error> {
    // SAFETY: both contexts are alive and not touched by anyone else; the new stream belongs to the output, and its
    // parameters own the bytes that they are given.
    unsafe {
        let to = avformat_new_stream(output.as_mut_ptr(), std::ptr::null()).as_mut().ok_or(Error::Unknown)?;
        checked(avcodec_parameters_copy(to.codecpar, (*from.as_ptr()).codecpar))?;
        let cover = &(*from.as_ptr()).attached_pic;
        if !cover.data.is_null() {
            let length = usize::try_from(cover.size).unwrap_or(0);
            set_extradata(&mut *to.codecpar, std::slice::from_raw_parts(cover.data, length))?;
        }
        (*to.codecpar).codec_type = AVMediaType::AVMEDIA_TYPE_ATTACHMENT;
        (*to.codecpar).codec_tag = 0;
        name(from, to)
    }
}

/// A file that is attached has a name and a type (RFC 9559 §5.1.6.1).
fn name(from: &Stream<'_>, to: &mut AVStream) -> Result<(), Error> {
    let said = stream_metadata(from);
    let is_kept = |key: &str| ["filename", "mimetype", "title"].iter().any(|kept| kept.eq_ignore_ascii_case(key));
    let has_name = said.iter().any(|(key, _)| key.eq_ignore_ascii_case("filename"));
    let named = (!has_name).then(|| ("filename".to_owned(), "cover".to_owned()));
    set_metadata(to, said.into_iter().filter(|(key, _)| is_kept(key)).chain(named))
}
