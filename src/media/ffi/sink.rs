//! A finished file as libavformat muxes it, written through a stream of ours.

use std::ffi::{CStr, CString, c_char, c_int, c_void};
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicPtr, Ordering};

use ffmpeg_next::ffi::{
    AVDictionary, AVERROR, AVFMT_FLAG_BITEXACT, AVFMT_FLAG_CUSTOM_IO, AVFormatContext, AVIO_FLAG_READ, AVIOContext,
    AVStream, EPERM, FF_COMPLIANCE_EXPERIMENTAL, av_dict_set, av_stream_new_side_data, av_write_trailer,
    avcodec_parameters_copy, avformat_alloc_output_context2, avformat_new_stream, avio_flush, avio_open2,
};
use ffmpeg_next::format::context::{Output, StreamIo};
use ffmpeg_next::{Error, Packet, Rational, Stream};

use super::Chapter;
use super::behind::{WriteBehind, WriteDrain};
use super::extras;
use super::library;
use super::log;
use super::source::{MediaSource, checked, stream_metadata};
use super::stream::{StreamMonitor, TimeBase};
use crate::media::MediaError;
use crate::recording::Container;

/// An output that is being written.
pub(in crate::media) struct Sink {
    output: Output,
    tap: StreamMonitor,
    /// After `output`, which still writes when it is dropped. Boxed, as `output` points to it.
    drain: Box<WriteDrain>,
    path: PathBuf,
    time_bases: Vec<TimeBase>,
    /// Ticks by which each track's packets must be said to come later, see [`delay`].
    delays: Vec<i64>,
}

const BUFFER_BYTES: usize = 512 << 10;
/// How far tracks may drift apart before the muxer stops waiting for the one that is silent; bounds its memory.
const INTERLEAVE_MICROSECONDS: i64 = 1_000_000;
/// `hvc1` in little-endian: the sample entry that Apple's players ask for.
const HVC1: u32 = u32::from_le_bytes(*b"hvc1");

impl Sink {
    /// Opens an existing file and empties it.
    pub(in crate::media) fn create(path: &Path, container: Container) -> Result<Self, MediaError> {
        library::ready()?;
        log::forget();
        let tap = StreamMonitor::default();
        let file = open_empty(path).map_err(write_error(path))?;
        let (behind, drain) = WriteBehind::start(file, tap.clone()).map_err(write_error(path))?;
        let drain = Box::new(drain);
        let made = StreamIo::from_write_seek_with_capacity(behind, BUFFER_BYTES)
            .and_then(|io| make_output(io, container, path, &drain));
        let output = made.map_err(|error| match error {
            Error::MuxerNotFound => {
                MediaError::Missing { part: format!("muxer {}", muxer(container).to_string_lossy()) }
            }
            error => MediaError::Refused { path: path.to_owned(), action: "open", detail: error.to_string() },
        })?;
        Ok(Self { output, tap, drain, path: path.to_owned(), time_bases: Vec::new(), delays: Vec::new() })
    }

    /// Adds a track like the source's and returns its index here.
    pub(in crate::media) fn add_track(&mut self, source: &MediaSource, index: usize) -> Result<usize, MediaError> {
        let stream =
            source.input().stream(index).ok_or_else(|| self.refused("add a track to", Error::StreamNotFound))?;
        add_stream(&mut self.output, &stream, source.container()).map_err(|e| self.refused("add a track to", e))?;
        Ok(self.output.nb_streams() as usize - 1)
    }

    /// Attaches a file that is attached to the source, or its cover.
    pub(in crate::media) fn attach(&mut self, source: &MediaSource, index: usize) -> Result<(), MediaError> {
        let stream =
            source.input().stream(index).ok_or_else(|| self.refused("attach a file to", Error::StreamNotFound))?;
        extras::attach(&mut self.output, &stream).map_err(|e| self.refused("attach a file to", e))
    }

    /// Adds chapters, which the muxer writes when the file is finished.
    pub(in crate::media) fn add_chapters(&mut self, chapters: &[Chapter]) -> Result<(), MediaError> {
        extras::add_chapters(&mut self.output, chapters).map_err(|e| self.refused("add chapters to", e))
    }

    /// Lets what the muxer writes go past libavformat's buffer. For a muxer that hands over long pieces.
    #[expect(unsafe_code, reason = "sets a field that has no safe face")]
    pub(in crate::media) fn write_unbuffered(&mut self) {
        // SAFETY: the output and its stream are alive and not used by anybody else; the field is the caller's to set.
        unsafe { (*(*self.output.as_mut_ptr()).pb).direct = 1 };
    }

    /// Writes the header.
    pub(in crate::media) fn begin(
        &mut self,
        metadata: &[(String, String)],
        options: &[(&str, &str)],
    ) -> Result<(), MediaError> {
        self.output.set_metadata(metadata.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect());
        let begun = self.output.write_header_with(options.iter().collect()).map(drop);
        begun.map_err(|error| self.refused("begin", error))?;
        self.time_bases = self.output.streams().map(|s| time_base(s.time_base())).collect();
        self.delays = self.output.streams().map(|s| delay(&s, self.output.format().name())).collect();
        Ok(())
    }

    /// By how many ticks of a track its packets must be said to come later than they are presented.
    pub(in crate::media) fn delay(&self, track: usize) -> i64 {
        self.delays.get(track).copied().unwrap_or(0)
    }

    /// Time base of a track, as the muxer chose it in [`Self::begin`].
    pub(in crate::media) fn time_base(&self, track: usize) -> TimeBase {
        self.time_bases.get(track).copied().unwrap_or(TimeBase::MILLISECONDS)
    }

    /// Hands a packet to the muxer, which takes its payload away.
    pub(in crate::media) fn write(&mut self, packet: &Packet) -> Result<(), MediaError> {
        packet.write_interleaved(&mut self.output).map_err(|error| self.refused("write", error))
    }

    /// Writes the trailer and all that is buffered; the file is complete afterwards, though not yet durable.
    pub(in crate::media) fn finish(mut self) -> Result<(), MediaError> {
        let finished = finish(&mut self.output);
        self.drain.wait();
        finished.map_err(|error| self.refused("complete", error))?;
        self.tap.take_error().map_or(Ok(()), |source| Err(write_error(&self.path)(source)))
    }

    fn refused(&self, action: &'static str, error: Error) -> MediaError {
        if let Some(source) = self.tap.take_error() {
            return write_error(&self.path)(source);
        }
        match error {
            Error::Other { errno } if is_of_system(errno) => {
                write_error(&self.path)(io::Error::from_raw_os_error(errno))
            }
            error => MediaError::Refused { path: self.path.clone(), action, detail: log::last_or(&error.to_string()) },
        }
    }
}

/// Whether an error that no write of ours reported can be the system's: it is met when the muxer reads back what it wrote.
/// Muxers use the other numbers for refusals of their own, EPERM as well, which say nothing about the file.
const fn is_of_system(errno: c_int) -> bool {
    matches!(errno, libc::EIO | libc::ENOMEM | libc::ESTALE | libc::ETIMEDOUT)
}

fn write_error(path: &Path) -> impl FnOnce(io::Error) -> MediaError {
    move |source| MediaError::Write { path: path.to_owned(), source }
}

fn open_empty(path: &Path) -> io::Result<File> {
    let file = OpenOptions::new().read(true).write(true).open(path)?;
    if file.metadata()?.is_file() {
        file.set_len(0)?;
    }
    Ok(file)
}

pub(super) fn time_base(rational: Rational) -> TimeBase {
    TimeBase { num: rational.numerator().max(1), den: rational.denominator().max(1) }
}

/// FFmpeg's name of the muxer.
pub(super) const fn muxer(container: Container) -> &'static CStr {
    match container {
        Container::Mp4 => c"mp4",
        Container::Mov => c"mov",
        Container::Webm => c"webm",
        Container::Matroska => c"matroska",
        Container::Flv => c"flv",
        Container::MpegTs => c"mpegts",
        Container::Ogg => c"ogg",
        Container::Wav => c"wav",
        Container::Avi => c"avi",
        Container::Ivf => c"ivf",
        Container::Mp3 => c"mp3",
        Container::Aac => c"adts",
    }
}

/// FFmpeg's muxer of Matroska states the delay of Opus (`CodecDelay`), which every reader takes away from the times of its blocks
/// (RFC 9559 §12.7.2), and does not add it to them.
#[expect(unsafe_code, reason = "reads a field that has no safe face")]
fn delay(stream: &Stream<'_>, muxer: &str) -> i64 {
    const OPUS_HZ: i32 = 48_000;
    // SAFETY: stream and parameters live as long as the context that `stream` borrows.
    let samples = unsafe { (*(*stream.as_ptr()).codecpar).initial_padding };
    let is_stated = stream.parameters().id() == ffmpeg_next::codec::Id::OPUS && matches!(muxer, "matroska" | "webm");
    let samples = if is_stated { i64::from(samples.max(0)) } else { 0 };
    TimeBase { num: 1, den: OPUS_HZ }.rescale(samples, time_base(stream.time_base()))
}

#[expect(unsafe_code, reason = "ffmpeg-next takes only UTF-8 names and panics on others")]
fn make_output(mut io: StreamIo, container: Container, path: &Path, drain: &WriteDrain) -> Result<Output, Error> {
    let url = [b"file:", path.as_os_str().as_bytes()].concat();
    let url = CString::new(url).map_err(|_| Error::InvalidData)?;
    let mut context: *mut AVFormatContext = std::ptr::null_mut();
    // SAFETY: names are terminated and live through the call; on success the context is ours and then `Output`'s,
    // which also keeps the stream alive. The drain lives in a box of the sink's that outlives the output.
    unsafe {
        let name = muxer(container).as_ptr();
        if avformat_alloc_output_context2(&raw mut context, std::ptr::null_mut(), name, url.as_ptr()) < 0 {
            return Err(Error::MuxerNotFound);
        }
        (*context).pb = io.as_mut_ptr();
        if let Some(write) = (*(*context).pb).write_packet {
            WRITE.store(write as *mut (), Ordering::Release);
            (*(*context).pb).write_packet = Some(write_what_there_is);
        }
        (*context).opaque = std::ptr::from_ref(drain).cast_mut().cast();
        (*context).io_open = Some(reopen);
        // Without bitexact Matroska gets a random segment UID: the same recording, finished again after a cut, must give
        // the same file, so that an object that is already there is recognised.
        (*context).flags |= AVFMT_FLAG_CUSTOM_IO | AVFMT_FLAG_BITEXACT;
        // Not a write call per packet: the buffer goes out when it is full.
        (*context).flush_packets = 0;
        (*context).max_interleave_delta = INTERLEAVE_MICROSECONDS;
        (*context).strict_std_compliance = FF_COMPLIANCE_EXPERIMENTAL;
        Ok(Output::wrap_with_custom_io(context, io))
    }
}

/// What writes for every sink, as ffmpeg-next made it: they are all of one type.
static WRITE: AtomicPtr<()> = AtomicPtr::new(std::ptr::null_mut());

/// Muxers write nothing at times, from nowhere: ffmpeg-next makes a slice of that, which no null pointer may be. `B` points to the
/// bytes, to change or not to change them, as FFmpeg's version has it.
#[expect(unsafe_code, reason = "called by libavformat, and calls what it would have called")]
unsafe extern "C" fn write_what_there_is<B>(opaque: *mut c_void, bytes: B, length: c_int) -> c_int {
    if length == 0 {
        return 0;
    }
    // SAFETY: stored from a function of this very type, before this one was named; the arguments are passed on as they came.
    unsafe {
        let write: unsafe extern "C" fn(*mut c_void, B, c_int) -> c_int =
            std::mem::transmute(WRITE.load(Ordering::Acquire));
        write(opaque, bytes, length)
    }
}

/// What a muxer gets that wants to read what it wrote (`+faststart`): its own file, once all of it is written.
#[expect(unsafe_code, reason = "called by libavformat, and calls it")]
unsafe extern "C" fn reopen(
    context: *mut AVFormatContext,
    stream: *mut *mut AVIOContext,
    url: *const c_char,
    flags: c_int,
    options: *mut *mut AVDictionary,
) -> c_int {
    if flags != AVIO_FLAG_READ {
        return AVERROR(EPERM);
    }
    // SAFETY: `opaque` is the drain that `make_output` was given and outlives the context; the other arguments are
    // libavformat's own and only handed on.
    unsafe {
        let drain = &*(*context).opaque.cast::<WriteDrain>();
        drain.wait();
        let opened = avio_open2(stream, url, flags, std::ptr::null(), options);
        if let Err(Error::Other { errno }) = checked(opened) {
            drain.note(&io::Error::from_raw_os_error(errno));
        }
        opened
    }
}

#[expect(unsafe_code, reason = "copies parameters, side data and metadata of a track, which has no safe face")]
fn add_stream(output: &mut Output, from: &Stream<'_>, container: Container) -> Result<(), Error> {
    // SAFETY: both contexts are alive and not touched by anyone else; the new stream belongs to the output.
    unsafe {
        let to = avformat_new_stream(output.as_mut_ptr(), std::ptr::null());
        if to.is_null() {
            return Err(Error::Unknown);
        }
        let (raw, to) = (&*from.as_ptr(), &mut *to);
        checked(avcodec_parameters_copy(to.codecpar, raw.codecpar))?;
        (*to.codecpar).codec_tag = if is_hevc_for_mp4(from, output) { HVC1 } else { 0 };
        to.time_base = raw.time_base;
        // Muxers take the shape of the samples from either place; what the container says goes first.
        let is_said = raw.sample_aspect_ratio.num > 0 && raw.sample_aspect_ratio.den > 0;
        to.sample_aspect_ratio = if is_said { raw.sample_aspect_ratio } else { (*raw.codecpar).sample_aspect_ratio };
        (*to.codecpar).sample_aspect_ratio = to.sample_aspect_ratio;
        to.avg_frame_rate = raw.avg_frame_rate;
        to.r_frame_rate = raw.r_frame_rate;
        to.disposition = raw.disposition;
        if container == Container::MpegTs {
            to.id = raw.id;
        }
        copy_side_data(from, to)?;
        copy_metadata(from, to)
    }
}

fn is_hevc_for_mp4(from: &Stream<'_>, output: &Output) -> bool {
    from.parameters().id() == ffmpeg_next::codec::Id::HEVC && matches!(output.format().name(), "mp4" | "mov")
}

/// Rotation (the display matrix), stereo and spherical layout, colour volume: whatever the track carries.
#[expect(unsafe_code, reason = "writes into memory that FFmpeg allocates for the new track")]
unsafe fn copy_side_data(from: &Stream<'_>, to: &mut AVStream) -> Result<(), Error> {
    for side in from.side_data() {
        let bytes = side.data();
        // SAFETY: FFmpeg returns null or room for so many bytes.
        unsafe {
            let room = av_stream_new_side_data(to, side.kind().into(), bytes.len());
            if room.is_null() {
                return Err(Error::Unknown);
            }
            std::ptr::copy_nonoverlapping(bytes.as_ptr(), room, bytes.len());
        }
    }
    Ok(())
}

/// Metadata of a track that stays true in another container; statistics and timecodes of the old one do not.
fn is_kept(key: &str) -> bool {
    matches!(key, "language" | "title" | "handler_name" | "creation_time" | "rotate" | "comment" | "alpha_mode")
}

fn copy_metadata(from: &Stream<'_>, to: &mut AVStream) -> Result<(), Error> {
    set_metadata(to, stream_metadata(from).into_iter().filter(|(key, _)| is_kept(key)))
}

/// Sets entries of a new track's metadata; what holds a zero byte is left out.
#[expect(unsafe_code, reason = "sets entries of a C dictionary")]
pub(super) fn set_metadata(to: &mut AVStream, entries: impl Iterator<Item = (String, String)>) -> Result<(), Error> {
    for (key, value) in entries {
        let (Ok(key), Ok(value)) = (CString::new(key), CString::new(value)) else { continue };
        // SAFETY: both strings are terminated and copied by the call; the dictionary is that of a stream that is borrowed.
        checked(unsafe { av_dict_set(&raw mut to.metadata, key.as_ptr(), value.as_ptr(), 0) })?;
    }
    Ok(())
}

#[expect(unsafe_code, reason = "the result of the flush is only in the stream's error field")]
fn finish(output: &mut Output) -> Result<(), Error> {
    // SAFETY: the header was written; context and stream are alive and ours.
    unsafe {
        checked(av_write_trailer(output.as_mut_ptr()))?;
        let stream = (*output.as_mut_ptr()).pb;
        avio_flush(stream);
        checked((*stream).error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fault::{Class, Fault, chain};

    fn sink(path: &Path) -> Sink {
        File::create(path).unwrap();
        Sink::create(path, Container::Matroska).unwrap()
    }

    #[test]
    fn a_refusal_of_the_muxer_is_not_called_a_problem_of_the_file() {
        let dir = tempfile::tempdir().unwrap();
        let sink = sink(&dir.path().join("x.mkv"));
        for errno in [libc::EPERM, libc::EACCES, libc::EINVAL, libc::ENOSYS, libc::ERANGE] {
            let error = sink.refused("write", Error::Other { errno });
            assert!(matches!(error, MediaError::Refused { .. }), "{error:?}");
            assert_eq!(error.class(), Class::Permanent);
        }
    }

    #[test]
    fn what_the_system_said_about_the_file_is_said_as_such() {
        let dir = tempfile::tempdir().unwrap();
        let sink = sink(&dir.path().join("x.mkv"));
        sink.tap.note(&io::Error::from_raw_os_error(libc::EPERM));
        let error = sink.refused("write", Error::Other { errno: libc::EPERM });
        assert!(matches!(error, MediaError::Write { .. }), "{error:?}");
        assert_eq!(error.class(), Class::Environment);
        assert!(chain(&error).contains("not permitted"), "{}", chain(&error));
        let error = sink.refused("complete", Error::Other { errno: libc::EIO });
        assert!(matches!(error, MediaError::Write { .. }), "{error:?}");
    }
}
