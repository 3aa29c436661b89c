//! What a container says of one track, taken out of libavformat's stream; and the parameters of one that is made.

use std::ffi::{CStr, c_int};

use ffmpeg_next::ffi::{
    AV_DISPOSITION_ATTACHED_PIC, AV_INPUT_BUFFER_PADDING_SIZE, AV_NOPTS_VALUE, AVCodecParameters, AVStream, av_freep,
    av_mallocz, avcodec_get_name,
};
use ffmpeg_next::{Error, Stream, media};

use super::source::stream_metadata;
use super::stream::TimeBase;
use crate::recording::TrackKind;

/// What a container says of one track.
#[derive(Debug, Clone)]
pub(in crate::media) struct StreamFacts {
    pub(in crate::media) index: usize,
    /// The container's own number (the PID in MPEG-TS).
    pub(in crate::media) id: i32,
    pub(in crate::media) kind: TrackKind,
    pub(in crate::media) codec: String,
    pub(in crate::media) extradata: Vec<u8>,
    pub(in crate::media) time_base: TimeBase,
    pub(in crate::media) width: Option<u32>,
    pub(in crate::media) height: Option<u32>,
    pub(in crate::media) frame_rate: Option<f64>,
    pub(in crate::media) sample_rate_hz: Option<u32>,
    pub(in crate::media) channels: Option<u32>,
    pub(in crate::media) language: Option<String>,
    pub(in crate::media) declared_ms: Option<i64>,
    pub(in crate::media) declared_packets: Option<u64>,
    pub(in crate::media) is_picture: bool,
    /// How many pictures the decoder holds back so that they come out in order.
    pub(in crate::media) delay: usize,
    /// Name of the file, if it is one that is attached and no track.
    pub(in crate::media) attached: Option<String>,
}

impl StreamFacts {
    /// Track number as people count: from 1.
    pub(in crate::media) fn number(&self) -> u32 {
        u32::try_from(self.index + 1).unwrap_or(u32::MAX)
    }

    /// Whether enough is known of the codec to write a track for it.
    pub(in crate::media) fn is_described(&self) -> bool {
        match self.kind {
            TrackKind::Video => self.width.is_some() && self.height.is_some() && self.codec != "none",
            TrackKind::Audio => self.sample_rate_hz.is_some() && self.channels.is_some() && self.codec != "none",
            TrackKind::Subtitle | TrackKind::Data => true,
        }
    }
}

#[expect(unsafe_code, reason = "ffmpeg-next has no accessors for most codec parameters")]
pub(super) fn facts(stream: &Stream<'_>) -> StreamFacts {
    // SAFETY: stream and parameters live as long as the context, which `stream` borrows; nothing is kept.
    let (raw, parameters): (&AVStream, &AVCodecParameters) = unsafe {
        let raw = &*stream.as_ptr();
        (raw, &*raw.codecpar)
    };
    let time_base = TimeBase { num: raw.time_base.num.max(1), den: raw.time_base.den.max(1) };
    StreamFacts {
        index: stream.index(),
        id: raw.id,
        kind: kind(stream.parameters().medium()),
        codec: codec_name(parameters),
        extradata: extradata(parameters),
        time_base,
        width: positive(parameters.width),
        height: positive(parameters.height),
        frame_rate: frame_rate(stream),
        sample_rate_hz: positive(parameters.sample_rate),
        channels: positive(parameters.ch_layout.nb_channels),
        language: language(stream),
        declared_ms: (raw.duration != AV_NOPTS_VALUE && raw.duration > 0).then(|| time_base.to_ms(raw.duration)),
        declared_packets: u64::try_from(raw.nb_frames).ok().filter(|n| *n > 0),
        is_picture: raw.disposition & AV_DISPOSITION_ATTACHED_PIC != 0,
        delay: usize::try_from(parameters.video_delay).unwrap_or(0),
        attached: (stream.parameters().medium() == media::Type::Attachment).then(|| file_name(stream)),
    }
}

fn file_name(stream: &Stream<'_>) -> String {
    let said = stream_metadata(stream).into_iter();
    said.filter(|(key, _)| key.eq_ignore_ascii_case("filename")).map(|(_, name)| name).next().unwrap_or_default()
}

fn language(stream: &Stream<'_>) -> Option<String> {
    stream_metadata(stream).into_iter().find(|(key, value)| key == "language" && value != "und").map(|(_, value)| value)
}

fn kind(medium: media::Type) -> TrackKind {
    match medium {
        media::Type::Video => TrackKind::Video,
        media::Type::Audio => TrackKind::Audio,
        media::Type::Subtitle => TrackKind::Subtitle,
        _ => TrackKind::Data,
    }
}

fn positive(value: c_int) -> Option<u32> {
    u32::try_from(value).ok().filter(|v| *v > 0)
}

fn frame_rate(stream: &Stream<'_>) -> Option<f64> {
    let rate = stream.avg_frame_rate();
    (rate.numerator() > 0 && rate.denominator() > 0)
        .then(|| f64::from(rate.numerator()) / f64::from(rate.denominator()))
}

#[expect(unsafe_code, reason = "reads two C strings and a byte range that FFmpeg owns")]
fn codec_name(parameters: &AVCodecParameters) -> String {
    // SAFETY: always a static, terminated string.
    unsafe { CStr::from_ptr(avcodec_get_name(parameters.codec_id)) }.to_string_lossy().into_owned()
}

#[expect(unsafe_code, reason = "reads a byte range that FFmpeg owns")]
fn extradata(parameters: &AVCodecParameters) -> Vec<u8> {
    let length = usize::try_from(parameters.extradata_size).unwrap_or(0);
    if parameters.extradata.is_null() || length == 0 {
        return Vec::new();
    }
    // SAFETY: the pointer is not null and FFmpeg says that so many bytes are there.
    unsafe { std::slice::from_raw_parts(parameters.extradata, length) }.to_vec()
}

/// Gives parameters their extradata, in place of what they have.
#[expect(unsafe_code, reason = "hands over memory that FFmpeg frees")]
pub(super) fn set_extradata(parameters: &mut AVCodecParameters, bytes: &[u8]) -> Result<(), Error> {
    let length = c_int::try_from(bytes.len()).map_err(|_| Error::InvalidData)?;
    // SAFETY: the room is longer than the bytes, zeroed behind them, and freed with the parameters, as what was there is now.
    unsafe {
        let room = av_mallocz(bytes.len() + AV_INPUT_BUFFER_PADDING_SIZE as usize).cast::<u8>();
        if room.is_null() {
            return Err(Error::Unknown);
        }
        std::ptr::copy_nonoverlapping(bytes.as_ptr(), room, bytes.len());
        av_freep((&raw mut parameters.extradata).cast());
        parameters.extradata = room;
    }
    parameters.extradata_size = length;
    Ok(())
}
