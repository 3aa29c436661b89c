//! FLV files that libavformat misreads, with the face of a demuxer: tracks with parameters, and packets.
//!
//! The tags are read by [`FlvReader`]; FFmpeg's part is a context that holds the tracks, so that muxers and decoders find
//! them where they look, and the decoders, which know sizes and rates from a configuration or from one access unit.

use std::ffi::CString;

use ffmpeg_next::codec::Context;
use ffmpeg_next::decoder::Opened;
use ffmpeg_next::ffi::{
    AVCodecParameters, AVMediaType, AVPacketSideDataType, AVRational, av_packet_new_side_data,
    avcodec_descriptor_get_by_name, avcodec_parameters_from_context, avformat_alloc_context, avformat_new_stream,
};
use ffmpeg_next::format::context::Input;
use ffmpeg_next::packet::{Flags, Mut as _};
use ffmpeg_next::{Error, Packet, codec, frame};

use super::ahead::ReadAheadInput;
use super::facts::set_extradata;
use super::source::{ProbeDepth, ReadOutcome, checked};
use super::stream::TimeBase;
use crate::media::flv::{BodyContent, FlvBody, FlvReader, FlvStep, FlvTag};
use crate::recording::TrackKind;

/// Time that is looked into for tracks before packets are handed out, as long as one is missing.
const LOOK_MS: i64 = 10_000;
/// Units that are decoded at most to learn a track's parameters.
const PATIENCE: u32 = 32;

/// The packets of an FLV file, read tag by tag.
pub(super) struct TagFeed {
    reader: FlvReader<ReadAheadInput>,
    lanes: Vec<TagTrack>,
}

/// One track: all units of one kind, number and codec.
struct TagTrack {
    kind: TrackKind,
    number: u8,
    codec: &'static str,
    /// The first configuration, which the parameters have.
    extradata: Option<Vec<u8>>,
    /// The newest configuration, if it is not the first.
    changed: Option<Vec<u8>>,
    is_described: bool,
    /// Units that may still be asked for the parameters.
    patience: u32,
    /// Samples per second and per packet, where packets have a fixed number.
    frame: Option<(u32, u32)>,
    last_dts: Option<i64>,
    step_ms: i64,
}

impl TagFeed {
    /// Opens a file and looks for its tracks.
    pub(super) fn open(file: ReadAheadInput, size_bytes: u64, depth: ProbeDepth) -> Result<(Input, Self), Error> {
        let reader = FlvReader::open(file, size_bytes).map_err(|error| failed(&error))?;
        let mut input = empty_input()?;
        let mut feed = Self { reader, lanes: Vec::new() };
        feed.look(&mut input, depth)?;
        feed.reader.rewind().map_err(|error| failed(&error))?;
        feed.lanes.iter_mut().for_each(TagTrack::rewind);
        Ok((input, feed))
    }

    /// Describes tracks until there is one of sound and one of pictures, or all that begin so early.
    fn look(&mut self, input: &mut Input, depth: ProbeDepth) -> Result<(), Error> {
        let is_known = |lanes: &[TagTrack], kind| lanes.iter().any(|lane| lane.kind == kind && lane.is_described);
        let mut packet = Packet::empty();
        let mut from_ms = None;
        while self.reader.position() < depth.bytes() && self.next(&mut packet, input)? != ReadOutcome::End {
            let now_ms = packet.dts().unwrap_or(0);
            let is_long = depth == ProbeDepth::Usual && now_ms - *from_ms.get_or_insert(now_ms) > LOOK_MS;
            let is_for_all = matches!(depth, ProbeDepth::LateTracks(_));
            if is_long
                || (!is_for_all && is_known(&self.lanes, TrackKind::Video) && is_known(&self.lanes, TrackKind::Audio))
            {
                break;
            }
        }
        Ok(())
    }

    /// Reads the next packet into a blank one. An operating system's error is in the tap.
    pub(super) fn next(&mut self, packet: &mut Packet, input: &mut Input) -> Result<ReadOutcome, Error> {
        loop {
            let (tag, body) = match self.reader.step().map_err(|error| failed(&error))? {
                FlvStep::Unit(tag, body) => (tag, body),
                FlvStep::Nonsense | FlvStep::Unread(_) => return Ok(ReadOutcome::Nonsense),
                FlvStep::End => return Ok(ReadOutcome::End),
            };
            let outcome = match body.content {
                BodyContent::Nothing | BodyContent::Unknown => self.pass_over(&tag)?,
                BodyContent::Configuration => self.configure(&tag, &body, input)?,
                BodyContent::Frame => self.frame(&tag, &body, packet, input)?,
            };
            if let Some(next) = outcome {
                return Ok(next);
            }
        }
    }

    fn pass_over(&mut self, tag: &FlvTag) -> Result<Option<ReadOutcome>, Error> {
        let is_sound = self.reader.skip(tag).map_err(|error| failed(&error))?;
        Ok((!is_sound).then_some(ReadOutcome::Nonsense))
    }

    fn configure(&mut self, tag: &FlvTag, body: &FlvBody, input: &mut Input) -> Result<Option<ReadOutcome>, Error> {
        let mut bytes = vec![0; body.content_bytes(tag)];
        let Some(have) = self.reader.take(tag, body, &mut bytes).map_err(|error| failed(&error))? else {
            return Ok(Some(ReadOutcome::Nonsense));
        };
        if have == bytes.len() && have > 0 {
            let index = self.lane(body, input)?;
            self.lanes[index].configure(bytes);
            self.lanes[index].describe(input, index, &[])?;
        }
        Ok(None)
    }

    fn frame(
        &mut self,
        tag: &FlvTag,
        body: &FlvBody,
        packet: &mut Packet,
        input: &mut Input,
    ) -> Result<Option<ReadOutcome>, Error> {
        let wanted = body.content_bytes(tag);
        *packet = Packet::new(wanted);
        let taken = self.reader.take(tag, body, packet.data_mut().unwrap_or_default());
        let Some(have) = taken.map_err(|error| failed(&error))? else { return Ok(Some(ReadOutcome::Nonsense)) };
        if have == 0 {
            return Ok(None);
        }
        if have < wanted {
            packet.shrink(have);
        }
        let index = self.lane(body, input)?;
        let lane = &mut self.lanes[index];
        lane.describe(input, index, packet.data().unwrap_or_default())?;
        lane.stamp(tag, body, packet);
        packet.set_stream(index);
        packet.set_flags(flags(body.is_key, have < wanted));
        Ok(Some(ReadOutcome::Packet))
    }

    /// The track of a unit, made where it is the first of its kind, number and codec.
    fn lane(&mut self, body: &FlvBody, input: &mut Input) -> Result<usize, Error> {
        let is_of = |lane: &TagTrack| (lane.kind, lane.number, lane.codec) == (body.kind, body.track, body.codec);
        let found = self.lanes.iter().position(is_of);
        if let Some(index) = found {
            return Ok(index);
        }
        add_stream(input, body.kind)?;
        self.lanes.push(TagTrack::new(body));
        Ok(self.lanes.len() - 1)
    }
}

impl TagTrack {
    fn new(body: &FlvBody) -> Self {
        Self {
            kind: body.kind,
            number: body.track,
            codec: body.codec,
            extradata: None,
            changed: None,
            is_described: false,
            patience: PATIENCE,
            frame: None,
            last_dts: None,
            step_ms: 0,
        }
    }

    fn rewind(&mut self) {
        (self.changed, self.last_dts, self.step_ms) = (None, None, 0);
    }

    fn configure(&mut self, bytes: Vec<u8>) {
        match &self.extradata {
            None => self.extradata = Some(bytes),
            Some(first) => self.changed = (*first != bytes).then_some(bytes),
        }
    }

    /// Gives the track its parameters as soon as they can be known.
    fn describe(&mut self, input: &mut Input, index: usize, unit: &[u8]) -> Result<(), Error> {
        if self.is_described || self.patience == 0 {
            return Ok(());
        }
        self.patience -= 1;
        // The configuration record of VP9 is no extradata for decoders or muxers, which make their own.
        let extradata = self.extradata.as_deref().filter(|_| self.codec != "vp9").unwrap_or_default();
        set_parameters(input, index, self.codec, extradata)?;
        let Some(context) = learn(input, index, unit) else { return Ok(()) };
        self.is_described = take_parameters(input, index, &context)?;
        self.frame = frame_size(input, index);
        Ok(())
    }

    fn stamp(&mut self, tag: &FlvTag, body: &FlvBody, packet: &mut Packet) {
        self.step_ms = self.last_dts.map(|last| tag.time_ms - last).filter(|step| *step > 0).unwrap_or(self.step_ms);
        self.last_dts = Some(tag.time_ms);
        packet.set_dts(Some(tag.time_ms));
        packet.set_pts(Some(tag.time_ms + body.composition_ms));
        packet.set_position(isize::try_from(tag.at).unwrap_or(-1));
        packet.set_duration(self.frame.map_or(self.step_ms, |(rate, samples)| {
            (i64::from(samples) * 1000 + i64::from(rate) / 2) / i64::from(rate.max(1))
        }));
        if let Some(changed) = &self.changed {
            attach_configuration(packet, changed);
        }
    }
}

/// The operating system's own words are in the tap; here it only has to be an error.
fn failed(error: &std::io::Error) -> Error {
    Error::Other { errno: error.raw_os_error().unwrap_or(ffmpeg_next::ffi::EIO) }
}

fn flags(is_key: bool, is_cut: bool) -> Flags {
    let key = if is_key { Flags::KEY } else { Flags::empty() };
    if is_cut { key | Flags::CORRUPT } else { key }
}

#[expect(unsafe_code, reason = "ffmpeg-next makes inputs only by opening files")]
fn empty_input() -> Result<Input, Error> {
    // SAFETY: the new context is ours and then `Input`'s, which closes it; closing copes with a context without a
    // demuxer and without a stream.
    unsafe {
        let context = avformat_alloc_context();
        if context.is_null() { Err(Error::Unknown) } else { Ok(Input::wrap(context)) }
    }
}

#[expect(unsafe_code, reason = "ffmpeg-next adds streams to outputs only")]
fn add_stream(input: &mut Input, kind: TrackKind) -> Result<(), Error> {
    // SAFETY: the context is alive, has no demuxer that could be confused, and owns the new stream.
    unsafe {
        let stream = avformat_new_stream(input.as_mut_ptr(), std::ptr::null()).as_mut().ok_or(Error::Unknown)?;
        stream.time_base = AVRational { num: TimeBase::MILLISECONDS.num, den: TimeBase::MILLISECONDS.den };
        (*stream.codecpar).codec_type = match kind {
            TrackKind::Video => AVMediaType::AVMEDIA_TYPE_VIDEO,
            _ => AVMediaType::AVMEDIA_TYPE_AUDIO,
        };
    }
    Ok(())
}

/// The parameters of a track, for as long as the context is not touched otherwise.
#[expect(unsafe_code, reason = "ffmpeg-next has no mutable parameters of streams")]
fn parameters(input: &mut Input, index: usize) -> Result<&mut AVCodecParameters, Error> {
    let mut stream = input.stream_mut(index).ok_or(Error::StreamNotFound)?;
    // SAFETY: stream and parameters live as long as the context, which the result borrows.
    unsafe { (*stream.as_mut_ptr()).codecpar.as_mut().ok_or(Error::StreamNotFound) }
}

#[expect(unsafe_code, reason = "sets codec and extradata, which have no safe face")]
fn set_parameters(input: &mut Input, index: usize, name: &str, extradata: &[u8]) -> Result<(), Error> {
    let name = CString::new(name).map_err(|_| Error::InvalidData)?;
    let parameters = parameters(input, index)?;
    // SAFETY: the name is terminated; the answer is null or a static description.
    if let Some(codec) = unsafe { avcodec_descriptor_get_by_name(name.as_ptr()).as_ref() } {
        parameters.codec_id = codec.id;
    }
    if !parameters.extradata.is_null() || extradata.is_empty() {
        return Ok(());
    }
    set_extradata(parameters, extradata)
}

/// Asks a decoder, first with the configuration alone, then with one unit.
fn learn(input: &Input, index: usize, unit: &[u8]) -> Option<Opened> {
    let stream = input.stream(index)?;
    let codec = codec::decoder::find(stream.parameters().id())?;
    let mut decoder = Context::from_parameters(stream.parameters()).ok()?.decoder().open_as(codec).ok()?;
    if !unit.is_empty() {
        // What does not decode says nothing; the next unit may.
        let _ = decoder.send_packet(&Packet::copy(unit)).and_then(|()| decoder.send_eof());
        let mut frame = frame::Video::empty();
        let _ = decoder.receive_frame(&mut frame);
    }
    Some(decoder)
}

/// Takes what a decoder knows; false if that is not enough.
#[expect(unsafe_code, reason = "copies the fields of a decoder into the parameters of a track")]
fn take_parameters(input: &mut Input, index: usize, context: &Context) -> Result<bool, Error> {
    let parameters = parameters(input, index)?;
    // SAFETY: the context is alive and only read.
    let is_enough = unsafe {
        let context = &*context.as_ptr();
        (context.width > 0 && context.height > 0) || (context.sample_rate > 0 && context.ch_layout.nb_channels > 0)
    };
    if is_enough {
        // SAFETY: both are alive; the parameters' own memory is freed and replaced by the call.
        checked(unsafe { avcodec_parameters_from_context(parameters, context.as_ptr()) })?;
    }
    Ok(is_enough)
}

fn frame_size(input: &mut Input, index: usize) -> Option<(u32, u32)> {
    let parameters = parameters(input, index).ok()?;
    let (rate, samples) = (u32::try_from(parameters.sample_rate).ok()?, u32::try_from(parameters.frame_size).ok()?);
    (rate > 0 && samples > 0).then_some((rate, samples))
}

#[expect(unsafe_code, reason = "ffmpeg-next cannot attach side data")]
fn attach_configuration(packet: &mut Packet, bytes: &[u8]) {
    let kind = AVPacketSideDataType::AV_PKT_DATA_NEW_EXTRADATA;
    // SAFETY: FFmpeg returns null or room for so many bytes, which the packet owns.
    unsafe {
        let room = av_packet_new_side_data(packet.as_mut_ptr(), kind, bytes.len());
        if !room.is_null() {
            std::ptr::copy_nonoverlapping(bytes.as_ptr(), room, bytes.len());
        }
    }
}
