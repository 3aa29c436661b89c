//! A recording as libavformat demuxes it: opened by us, by a named demuxer, allowed to open nothing else.

use std::ffi::{CStr, c_char, c_int};
use std::fs::File;
use std::io::{self, Seek};
use std::ops::Range;
use std::path::{Path, PathBuf};

use ffmpeg_next::ffi::{
    AV_DICT_IGNORE_SUFFIX, AV_NOPTS_VALUE, AVDictionary, AVERROR, AVFMT_FLAG_CUSTOM_IO, AVFMT_FLAG_NOBUFFER,
    AVFormatContext, AVIOContext, AVSEEK_FLAG_BYTE, EPERM, av_dict_get, av_find_input_format, av_seek_frame,
    avformat_alloc_context, avformat_find_stream_info, avformat_open_input,
};
use ffmpeg_next::format::context::{Input, StreamIo};
use ffmpeg_next::{Dictionary, Error, Packet, Stream};

use super::ahead::ReadAheadInput;
pub(in crate::media) use super::facts::StreamFacts;
use super::facts::facts;
use super::headed::HeadedInput;
use super::stream::{StreamMonitor, TimeBase};
use super::tags::TagFeed;
use super::{Chapter, extras, library, log};
use crate::durable;
use crate::isobmff::{self, IsoError, Tags};
use crate::media::{MediaError, whole};
use crate::recording::Container;

/// How far a file is looked into for tracks and their parameters before packets are handed out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::media) enum ProbeDepth {
    /// As far as memory for the buffered packets should go.
    Usual,
    /// So many bytes, and the packets seen on the way are forgotten: for parameters only.
    ParametersOnly(u64),
    /// The same, and all of them, also where the tracks that are known so far are described: for tracks that begin late.
    LateTracks(u64),
    /// Not at all: the header says enough to open a decoder.
    HeaderOnly,
}

impl ProbeDepth {
    /// Bytes that are looked into at most.
    pub(super) fn bytes(self) -> u64 {
        match self {
            Self::Usual => USUAL_BYTES.unsigned_abs(),
            Self::ParametersOnly(bytes) | Self::LateTracks(bytes) => bytes,
            Self::HeaderOnly => 0,
        }
    }
}

const USUAL_BYTES: i64 = 5 << 20;
const USUAL_MICROSECONDS: i64 = 10_000_000;
/// What a look for parameters alone reads of any file.
pub(in crate::media) const PARAMETER_BYTES: u64 = 32 << 20;
const BUFFER_BYTES: usize = 128 << 10;

/// What the next read gave.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::media) enum ReadOutcome {
    /// A packet.
    Packet,
    /// The end of the file; it need not be the end of the recording.
    End,
    /// Bytes that make no sense here; reading on may find sense again.
    Nonsense,
}

/// An open recording.
pub(in crate::media) struct MediaSource {
    input: Input,
    /// Where the packets come from if not from libavformat's demuxer.
    feed: Option<TagFeed>,
    /// What the recording says of itself, where libavformat's demuxer does not read it.
    tags: Tags,
    tap: StreamMonitor,
    path: PathBuf,
    container: Container,
    declared_us: Option<i64>,
    /// Length of the file when it was opened.
    pub(in crate::media) size_bytes: u64,
}

impl MediaSource {
    /// Opens a recording with the demuxer of its container.
    pub(in crate::media) fn open(path: &Path, container: Container, depth: ProbeDepth) -> Result<Self, MediaError> {
        Self::open_part(path, container, depth, 0..u64::MAX)
    }

    /// Opens the recording that lies in a part of a file, which may end with the file.
    pub(in crate::media) fn open_part(
        path: &Path,
        container: Container,
        depth: ProbeDepth,
        part: Range<u64>,
    ) -> Result<Self, MediaError> {
        library::ready()?;
        log::forget();
        let (file, size_bytes) = open_regular(path)?;
        Self::over_part(file, size_bytes, path, (container, depth, part))
    }

    /// Opens a recording that is open already, under a name for messages. Reads it at places of its own: where the file stands
    /// is neither heeded nor kept.
    pub(in crate::media) fn over(
        file: File,
        name: &Path,
        container: Container,
        depth: ProbeDepth,
    ) -> Result<Self, MediaError> {
        library::ready()?;
        log::forget();
        let size_bytes = file.metadata().map_err(MediaError::open(name))?.len();
        Self::over_part(file, size_bytes, name, (container, depth, 0..u64::MAX))
    }

    fn over_part(
        file: File,
        size_bytes: u64,
        path: &Path,
        (container, depth, part): (Container, ProbeDepth, Range<u64>),
    ) -> Result<Self, MediaError> {
        if container.is_iso() {
            check_headers(path, &file, size_bytes)?;
        }
        let end = whole::data_end(&mut &file, container, size_bytes).min(part.end);
        let tap = StreamMonitor::default();
        let mut ahead = ReadAheadInput::new(file, part.start..end, tap.clone());
        let head = head(&mut ahead, container).map_err(MediaError::open(path))?;
        let (input, feed, declared_us) = if head.is_foreign {
            let (input, feed) = TagFeed::open(ahead, end.saturating_sub(part.start), depth)
                .map_err(|error| refusal(path, container, &tap, error))?;
            (input, Some(feed), None)
        } else {
            let (input, declared_us) = StreamIo::from_read_seek_with_capacity(ahead, BUFFER_BYTES)
                .and_then(|io| open_input(io, container, depth))
                .map_err(|error| refusal(path, container, &tap, error))?;
            (input, None, declared_us)
        };
        let tags = head.tags;
        Ok(Self { input, feed, tags, tap, path: path.to_owned(), container, declared_us, size_bytes })
    }

    /// Opens the first `len` bytes of a file behind a header of ISO base media that is only in memory.
    pub(in crate::media) fn open_headed(path: &Path, header: Vec<u8>, len: u64) -> Result<Self, MediaError> {
        let (file, _) = open_regular(path)?;
        Self::over_headed(file, path, header, len)
    }

    /// The same for a file that is open already, under a name for messages.
    pub(in crate::media) fn over_headed(
        file: File,
        path: &Path,
        header: Vec<u8>,
        len: u64,
    ) -> Result<Self, MediaError> {
        library::ready()?;
        log::forget();
        let size_bytes = file.metadata().map_err(MediaError::open(path))?.len();
        let (container, tap) = (Container::Mp4, StreamMonitor::default());
        let both = HeadedInput::new(header, file, len.min(size_bytes), tap.clone());
        let (input, declared_us) = StreamIo::from_read_seek_with_capacity(both, BUFFER_BYTES)
            .and_then(|io| open_input(io, container, ProbeDepth::HeaderOnly))
            .map_err(|error| refusal(path, container, &tap, error))?;
        let (path, tags) = (path.to_owned(), Tags::default());
        Ok(Self { input, feed: None, tags, tap, path, container, declared_us, size_bytes })
    }

    /// Back to the first packet of a transport stream that was looked through for tracks that begin late: their packets get
    /// times and durations only from a demuxer that knows their parameters.
    #[expect(unsafe_code, reason = "ffmpeg-next seeks by time only")]
    pub(in crate::media) fn rewound(mut self) -> Result<Self, MediaError> {
        // SAFETY: the context lives as long as the input.
        let sought = unsafe { av_seek_frame(self.input.as_mut_ptr(), -1, 0, AVSEEK_FLAG_BYTE) };
        checked(sought).map_err(|error| self.refused("go back in", error))?;
        Ok(self)
    }

    /// Reads the next packet into a blank one.
    pub(in crate::media) fn next(&mut self, packet: &mut Packet) -> Result<ReadOutcome, MediaError> {
        let outcome = match &mut self.feed {
            Some(feed) => feed.next(packet, &mut self.input),
            None => packet.read(&mut self.input).map(|()| ReadOutcome::Packet),
        };
        let Err(error) = outcome else { return outcome.map_err(|error| self.refused("read", error)) };
        match (self.tap.take_error(), error) {
            (Some(source), _) => Err(MediaError::Read { path: self.path.clone(), offset: self.tap.furthest(), source }),
            (None, Error::Eof) => Ok(ReadOutcome::End),
            (None, Error::Other { errno }) if is_of_the_process(errno) => Err(MediaError::Read {
                path: self.path.clone(),
                offset: self.tap.furthest(),
                source: io::Error::from_raw_os_error(errno),
            }),
            (None, Error::InvalidData | Error::Other { .. } | Error::PatchWelcome | Error::Unknown) => {
                Ok(ReadOutcome::Nonsense)
            }
            (None, error) => Err(self.refused("read", error)),
        }
    }

    pub(in crate::media) fn path(&self) -> &Path {
        &self.path
    }

    pub(in crate::media) fn container(&self) -> Container {
        self.container
    }

    /// The furthest byte that was read.
    pub(in crate::media) fn bytes_read(&self) -> u64 {
        self.tap.furthest()
    }

    /// The duration that the header itself claims, milliseconds.
    pub(in crate::media) fn declared_ms(&self) -> Option<i64> {
        self.declared_us.map(|us| TimeBase::MICROSECONDS.to_ms(us)).filter(|ms| *ms > 0)
    }

    /// First timestamp of the container, microseconds.
    pub(in crate::media) fn start_us(&self) -> Option<i64> {
        context_start(&self.input)
    }

    /// The container's metadata, made UTF-8.
    pub(in crate::media) fn metadata(&self) -> Vec<(String, String)> {
        match self.feed {
            Some(_) => self.tags.entries().map(|(name, value)| (name.to_owned(), value.to_owned())).collect(),
            None => context_metadata(&self.input),
        }
    }

    /// Its chapters, by the clock of its packets.
    pub(in crate::media) fn chapters(&self) -> Vec<Chapter> {
        extras::chapters(&self.input)
    }

    /// What each of its programmes that has tracks says of itself.
    pub(in crate::media) fn programmes(&self) -> Vec<Vec<(String, String)>> {
        extras::programmes(&self.input)
    }

    /// How many tracks are known; more may turn up while packets are read.
    pub(in crate::media) fn track_count(&self) -> usize {
        self.input.nb_streams() as usize
    }

    /// What is known of all tracks now.
    pub(in crate::media) fn tracks(&self) -> Vec<StreamFacts> {
        (0..self.track_count()).filter_map(|index| self.track(index)).collect()
    }

    /// What is known of one track now.
    pub(in crate::media) fn track(&self, index: usize) -> Option<StreamFacts> {
        self.input.stream(index).map(|stream| facts(&stream))
    }

    pub(in crate::media) fn input(&self) -> &Input {
        &self.input
    }

    /// Whether packets come from a reader of ours.
    pub(super) const fn is_fed(&self) -> bool {
        self.feed.is_some()
    }

    pub(super) fn input_mut(&mut self) -> &mut Input {
        &mut self.input
    }

    fn refused(&self, action: &'static str, error: Error) -> MediaError {
        MediaError::Refused { path: self.path.clone(), action, detail: log::last_or(&error.to_string()) }
    }
}

/// Whether an error is this process's and says nothing of the recording: it has no more memory, or may not make a system call.
const fn is_of_the_process(errno: i32) -> bool {
    matches!(errno, libc::ENOMEM | libc::EPERM)
}

fn open_regular(path: &Path) -> Result<(File, u64), MediaError> {
    let file = durable::open_to_read(path).map_err(|e| MediaError::open(path)(e.source))?;
    let metadata = file.metadata().map_err(MediaError::open(path))?;
    if metadata.is_file() {
        return Ok((file, metadata.len()));
    }
    Err(MediaError::open(path)(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file")))
}

/// libavformat expands a compressed header, and reads one of any length: it gets no file that has such a one.
fn check_headers(path: &Path, file: &File, size_bytes: u64) -> Result<(), MediaError> {
    isobmff::check_for_others(&mut &*file, size_bytes).map_err(|error| match (error.defect(), error) {
        (Some(defect), _) => MediaError::unfinishable(path, defect),
        (None, IsoError::Io { offset, source }) => MediaError::Read { path: path.to_owned(), offset, source },
        (None, error) => MediaError::open(path)(io::Error::other(error)),
    })?;
    (&*file).rewind().map_err(MediaError::open(path))
}

/// The head of an FLV file, which says whether it is read tag by tag because libavformat would misread it; of any other
/// container nothing.
fn head(file: &mut ReadAheadInput, container: Container) -> io::Result<whole::flv::FlvHead> {
    if container != Container::Flv {
        return Ok(whole::flv::FlvHead::default());
    }
    let head = whole::flv::read_head(file)?;
    file.rewind()?;
    Ok(head)
}

fn refusal(path: &Path, container: Container, tap: &StreamMonitor, error: Error) -> MediaError {
    match (tap.take_error(), error) {
        (Some(source), _) => MediaError::Read { path: path.to_owned(), offset: tap.furthest(), source },
        (None, Error::DemuxerNotFound) => {
            MediaError::Missing { part: format!("demuxer {}", demuxer(container).to_string_lossy()) }
        }
        (None, error) => {
            MediaError::NotReadable { path: path.to_owned(), container, detail: log::last_or(&error.to_string()) }
        }
    }
}

/// FFmpeg's name of the demuxer.
pub(super) const fn demuxer(container: Container) -> &'static CStr {
    match container {
        Container::Mp4 | Container::Mov => c"mov",
        Container::Webm | Container::Matroska => c"matroska",
        Container::Flv => c"flv",
        Container::MpegTs => c"mpegts",
        Container::Ogg => c"ogg",
        Container::Wav => c"wav",
        Container::Avi => c"avi",
        Container::Ivf => c"ivf",
        Container::Mp3 => c"mp3",
        Container::Aac => c"aac",
    }
}

/// Options that keep the demuxer inside this file. Edit lists are not applied to the packets: every sample counts.
fn options(container: Container, depth: ProbeDepth) -> Dictionary<'static> {
    let mut options = Dictionary::new();
    let name = demuxer(container).to_str().unwrap_or("none");
    options.set("protocol_whitelist", "file");
    options.set("format_whitelist", if name == "matroska" { "matroska,webm" } else { name });
    if container.is_iso() {
        options.set("enable_drefs", "0");
        options.set("use_absolute_path", "0");
        options.set("advanced_editlist", "0");
    }
    if container == Container::MpegTs && matches!(depth, ProbeDepth::LateTracks(_)) {
        // Else the first version of the table of programmes is the last that is waited for.
        options.set("scan_all_pmts", "1");
    }
    options
}

/// What libavformat gets when it wants to open something on its own.
extern "C" fn refuse_to_open(
    _: *mut AVFormatContext,
    _: *mut *mut AVIOContext,
    _: *const c_char,
    _: c_int,
    _: *mut *mut AVDictionary,
) -> c_int {
    AVERROR(EPERM)
}

#[expect(unsafe_code, reason = "ffmpeg-next opens streams only by guessing the format and probes without a bound")]
fn open_input(mut io: StreamIo, container: Container, depth: ProbeDepth) -> Result<(Input, Option<i64>), Error> {
    // SAFETY: the context is ours until `avformat_open_input` frees it on failure or `Input` owns it on success; the
    // stream outlives it, as `io` is dropped after the failed call and kept by `Input` otherwise. All strings and
    // dictionaries live through the calls.
    unsafe {
        let format = av_find_input_format(demuxer(container).as_ptr());
        let mut context = avformat_alloc_context();
        if format.is_null() || context.is_null() {
            return Err(Error::DemuxerNotFound);
        }
        (*context).pb = io.as_mut_ptr();
        (*context).io_open = Some(refuse_to_open);
        limit(&mut *context, depth);
        let mut options = options(container, depth).disown();
        let opened = avformat_open_input(&raw mut context, c"".as_ptr(), format.cast_mut().cast(), &raw mut options);
        drop(Dictionary::own(options));
        checked(opened)?;
        let input = Input::wrap_with_custom_io(context, io);
        let declared = (*context).duration;
        if depth != ProbeDepth::HeaderOnly {
            checked(avformat_find_stream_info(context, std::ptr::null_mut()))?;
        }
        Ok((input, (declared != AV_NOPTS_VALUE).then_some(declared)))
    }
}

fn limit(context: &mut AVFormatContext, depth: ProbeDepth) {
    context.flags |= AVFMT_FLAG_CUSTOM_IO;
    context.probesize = USUAL_BYTES;
    context.max_analyze_duration = USUAL_MICROSECONDS;
    if let ProbeDepth::ParametersOnly(bytes) | ProbeDepth::LateTracks(bytes) = depth {
        context.flags |= AVFMT_FLAG_NOBUFFER;
        context.probesize = i64::try_from(bytes).unwrap_or(i64::MAX);
        context.max_analyze_duration = i64::from(i32::MAX) * 1_000_000;
    }
}

pub(super) fn checked(code: c_int) -> Result<(), Error> {
    if code < 0 { Err(Error::from(code)) } else { Ok(()) }
}

#[expect(unsafe_code, reason = "ffmpeg-next has no accessor for the start time of a container")]
fn context_start(input: &Input) -> Option<i64> {
    // SAFETY: the context lives as long as `input`.
    let start = unsafe { (*input.as_ptr()).start_time };
    (start != AV_NOPTS_VALUE).then_some(start)
}

#[expect(unsafe_code, reason = "ffmpeg-next takes metadata for UTF-8 unseen")]
fn context_metadata(input: &Input) -> Vec<(String, String)> {
    // SAFETY: the context lives as long as `input`.
    unsafe { entries((*input.as_ptr()).metadata) }
}

/// Metadata of a track, made UTF-8.
#[expect(unsafe_code, reason = "ffmpeg-next takes metadata for UTF-8 unseen")]
pub(super) fn stream_metadata(stream: &Stream<'_>) -> Vec<(String, String)> {
    // SAFETY: the stream lives as long as the context that `stream` borrows.
    unsafe { entries((*stream.as_ptr()).metadata) }
}

/// Copies a dictionary. The caller vouches that the pointer is null or a live dictionary.
#[expect(unsafe_code, reason = "walks a C dictionary")]
pub(super) unsafe fn entries(dictionary: *const AVDictionary) -> Vec<(String, String)> {
    let mut entry = std::ptr::null_mut();
    let next = move || {
        // SAFETY: `entry` is null at first and then an entry of this dictionary; strings are terminated.
        unsafe {
            entry = av_dict_get(dictionary, c"".as_ptr(), entry, AV_DICT_IGNORE_SUFFIX);
            let entry = entry.as_ref()?;
            let text = |raw| CStr::from_ptr(raw).to_string_lossy().into_owned();
            Some((text(entry.key), text(entry.value)))
        }
    };
    std::iter::from_fn(next).collect()
}
