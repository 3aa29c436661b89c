//! A still of the first keyframe, for catalogues and players.

use std::path::Path;

use ffmpeg_next::codec::{self, Context};
use ffmpeg_next::format::Pixel;
use ffmpeg_next::software::scaling::{self, Flags};
use ffmpeg_next::{Error, Rational, decoder, frame};

use super::ffi::Packet;
use super::reading::Pass;
use super::{MediaError, Watch};
use crate::recording::{Container, Defect, TrackKind};

/// A written poster.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Poster {
    /// Width in pixels.
    pub width: u32,
    /// Height in pixels.
    pub height: u32,
    /// Length of the JPEG in bytes.
    pub size_bytes: u64,
}

/// Packets that are decoded at most before a picture must come out.
const PATIENCE: usize = 500;

/// Decodes the first picture and writes it as a JPEG of at most `height` pixels into `output`.
pub fn poster(path: &Path, container: Container, output: &Path, height: u32) -> Result<Poster, MediaError> {
    let picture = first_picture(path, container)?;
    let refused = |error: Error| refused(path, error);
    let (width, height) = size(&picture, height);
    let scaled = scale(&picture, width, height).map_err(refused)?;
    let jpeg = encode(&scaled).map_err(refused)?;
    let write = |source| MediaError::Write { path: output.to_owned(), source };
    std::fs::write(output, jpeg.data().unwrap_or_default()).map_err(write)?;
    Ok(Poster { width, height, size_bytes: jpeg.size() as u64 })
}

fn refused(path: &Path, error: Error) -> MediaError {
    MediaError::Refused { path: path.to_owned(), action: "make a poster of", detail: error.to_string() }
}

fn first_picture(path: &Path, container: Container) -> Result<frame::Video, MediaError> {
    let mut pass = Pass::open(path, container, Watch::default())?;
    let none = || MediaError::unfinishable(path, Defect::NoKeyframe);
    let video =
        pass.source.tracks().into_iter().find(|t| t.kind == TrackKind::Video && !t.is_picture).ok_or_else(none)?;
    let stream = pass.source.input().stream(video.index).ok_or_else(none)?;
    let decoder = Context::from_parameters(stream.parameters()).and_then(|c| c.decoder().video());
    let mut decoder = decoder.map_err(|e| refused(path, e))?;
    for _ in 0..PATIENCE {
        let mut packet = Packet::empty();
        let is_there = pass.next(&mut packet)?;
        if is_there && packet.stream() != video.index {
            continue;
        }
        // A packet that does not decode is none; the next may.
        let _ = if is_there { decoder.send_packet(&packet) } else { decoder.send_eof() };
        if let Some(picture) = receive(&mut decoder) {
            return Ok(picture);
        }
        if !is_there {
            break;
        }
    }
    Err(none())
}

fn receive(decoder: &mut decoder::Video) -> Option<frame::Video> {
    let mut picture = frame::Video::empty();
    decoder.receive_frame(&mut picture).ok()?;
    (picture.width() > 0 && picture.height() > 0).then_some(picture)
}

/// Even sides, never larger than the picture.
fn size(picture: &frame::Video, height: u32) -> (u32, u32) {
    let height = height.clamp(2, picture.height().max(2));
    let width = u64::from(picture.width()) * u64::from(height) / u64::from(picture.height().max(1));
    let even = |side: u32| (side & !1).max(2);
    (even(u32::try_from(width).unwrap_or(height)), even(height))
}

fn scale(picture: &frame::Video, width: u32, height: u32) -> Result<frame::Video, Error> {
    let (from, w, h) = (picture.format(), picture.width(), picture.height());
    let mut scaler = scaling::Context::get(from, w, h, Pixel::YUVJ420P, width, height, Flags::BICUBIC)?;
    let mut small = frame::Video::empty();
    scaler.run(picture, &mut small)?;
    Ok(small)
}

fn encode(picture: &frame::Video) -> Result<Packet, Error> {
    let jpeg = codec::encoder::find(codec::Id::MJPEG).ok_or(Error::EncoderNotFound)?;
    let mut encoder = Context::new_with_codec(jpeg).encoder().video()?;
    encoder.set_width(picture.width());
    encoder.set_height(picture.height());
    encoder.set_format(Pixel::YUVJ420P);
    encoder.set_time_base(Rational::new(1, 25));
    let mut encoder = encoder.open()?;
    let mut picture = picture.clone();
    picture.set_pts(Some(0));
    encoder.send_frame(&picture)?;
    encoder.send_eof()?;
    let mut packet = Packet::empty();
    encoder.receive_packet(&mut packet)?;
    Ok(packet)
}
