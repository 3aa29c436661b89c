//! What pictures need of FFmpeg beyond packets: one track alone, places in time, shape, colours, and encoders of stills.

use ffmpeg_next::codec::{self, Context};
use ffmpeg_next::ffi::{
    AVColorSpace, AVDiscard, AVSEEK_FLAG_BACKWARD, av_seek_frame, sws_getCoefficients, sws_setColorspaceDetails,
};
use ffmpeg_next::format::Pixel;
use ffmpeg_next::software::scaling::{self, Flags};
use ffmpeg_next::util::color::{Primaries, Range, Space, TransferCharacteristic};
use ffmpeg_next::{Dictionary, Error, Packet, Rational, decoder, frame};

use super::source::{MediaSource, checked};
use crate::media::picture::{Format, Transfer, Turn};

/// Bytes of a display matrix: nine numbers of 32 bits (ISO/IEC 14496-12 §8.3.2).
const MATRIX_BYTES: usize = 36;
/// Samples that are further from square are taken for an error of the header.
const MOST_STRETCHED: i32 = 16;
/// Height in lines from which a picture of unknown colours counts as high definition (BT.709), as players take it.
const HIGH_DEFINITION: u32 = 600;

impl MediaSource {
    /// Reads nothing but one track from now on, where the demuxer can leave the others where they lie.
    #[expect(unsafe_code, reason = "ffmpeg-next cannot tell a demuxer what is not wanted")]
    pub(in crate::media) fn only(&mut self, track: usize) {
        let count = self.track_count();
        // SAFETY: the context has so many streams and lives as long as the input; one field of each is written.
        unsafe {
            let context = self.input_mut().as_mut_ptr();
            for index in (0..count).filter(|index| *index != track) {
                (**(*context).streams.add(index)).discard = AVDiscard::AVDISCARD_ALL;
            }
        }
    }

    /// Goes to the last keyframe of a track that is not after a time, in its ticks.
    #[expect(unsafe_code, reason = "ffmpeg-next seeks by the clock of the container only")]
    pub(in crate::media) fn seek(&mut self, track: usize, ticks: i64) -> Result<(), Error> {
        if self.is_fed() {
            // Packets do not come from the demuxer, which would go there alone.
            return Err(Error::PatchWelcome);
        }
        let index = i32::try_from(track).map_err(|_| Error::StreamNotFound)?;
        // SAFETY: the context lives as long as the input; the index is compared with its streams by the callee.
        checked(unsafe { av_seek_frame(self.input_mut().as_mut_ptr(), index, ticks, AVSEEK_FLAG_BACKWARD) })
    }

    /// How the pictures of a track are turned for display.
    pub(in crate::media) fn turn(&self, track: usize) -> Option<Turn> {
        use ffmpeg_next::codec::packet::side_data::Type;
        let stream = self.input().stream(track)?;
        let matrix = stream.side_data().find(|data| data.kind() == Type::DisplayMatrix)?;
        of_matrix(matrix.data())
    }

    /// Width of a sample of the picture divided by its height, as the container says it.
    #[expect(unsafe_code, reason = "ffmpeg-next has no accessor for the aspect ratio of a stream")]
    pub(in crate::media) fn sample_aspect(&self, track: usize) -> Option<(i32, i32)> {
        let stream = self.input().stream(track)?;
        // SAFETY: the stream lives as long as the context that it borrows; one field is read.
        let ratio = unsafe { (*stream.as_ptr()).sample_aspect_ratio };
        plausible(Rational::from(ratio))
    }
}

fn plausible(ratio: Rational) -> Option<(i32, i32)> {
    let (num, den) = (ratio.numerator(), ratio.denominator());
    let is_so = num > 0 && den > 0 && num / den < MOST_STRETCHED && den / num < MOST_STRETCHED;
    is_so.then_some((num, den))
}

fn of_matrix(bytes: &[u8]) -> Option<Turn> {
    let bytes = bytes.get(..MATRIX_BYTES)?;
    let number = |at: usize| bytes.get(4 * at..4 * at + 4)?.try_into().ok().map(i32::from_ne_bytes);
    Some(Turn::of_matrix([number(0)?, number(1)?, number(3)?, number(4)?]))
}

/// What a decoded picture itself says of its shape.
pub(in crate::media) fn shape_of(picture: &frame::Video) -> (Option<Turn>, Option<(i32, i32)>) {
    let side = picture.side_data(frame::side_data::Type::DisplayMatrix);
    (side.and_then(|side| of_matrix(side.data())), plausible(picture.aspect_ratio()))
}

/// How the light of a picture is coded, where that is not as in standard dynamic range.
pub(in crate::media) fn transfer_of(picture: &frame::Video) -> Option<Transfer> {
    match picture.color_transfer_characteristic() {
        TransferCharacteristic::SMPTE2084 => Some(Transfer::Pq),
        TransferCharacteristic::ARIB_STD_B67 => Some(Transfer::Hlg),
        _ => None,
    }
}

/// Whether the primaries of a picture are those of BT.2020.
pub(in crate::media) fn is_wide(picture: &frame::Video) -> bool {
    picture.color_primaries() == Primaries::BT2020
}

/// Scales a picture into RGB or grey by the matrix and the range that it says, or that players take for it.
pub(in crate::media) fn convert(
    picture: &frame::Video,
    to: Pixel,
    (width, height): (u32, u32),
    flags: Flags,
) -> Result<frame::Video, Error> {
    let (from, w, h) = (picture.format(), picture.width(), picture.height());
    let mut scaler = scaling::Context::get(from, w, h, to, width, height, flags)?;
    set_colours(&mut scaler, picture);
    let mut made = frame::Video::empty();
    scaler.run(picture, &mut made)?;
    Ok(made)
}

#[expect(unsafe_code, reason = "ffmpeg-next does not tell the scaler of matrix and range")]
fn set_colours(scaler: &mut scaling::Context, picture: &frame::Video) {
    let is_full = picture.color_range() == Range::JPEG || is_full_by_format(picture.format());
    let space = match picture.color_space() {
        Space::Unspecified | Space::Reserved if picture.height() >= HIGH_DEFINITION => Space::BT709,
        Space::Unspecified | Space::Reserved => Space::SMPTE170M,
        space => space,
    };
    let space: AVColorSpace = space.into();
    // SAFETY: the tables are static in libswscale, which takes any number and has a default for those it does not know; the
    // context is ours. An answer below 0 says that the formats have no matrix, and then there is nothing to set.
    unsafe {
        let table = sws_getCoefficients(space as i32);
        sws_setColorspaceDetails(scaler.as_mut_ptr(), table, i32::from(is_full), table, 1, 0, 1 << 16, 1 << 16);
    }
}

const fn is_full_by_format(format: Pixel) -> bool {
    matches!(format, Pixel::YUVJ420P | Pixel::YUVJ422P | Pixel::YUVJ444P | Pixel::YUVJ440P | Pixel::YUVJ411P)
}

/// A picture in the formats that are written, as a file.
pub(in crate::media) fn encode(picture: &frame::Video, format: Format, quality: u8) -> Result<Vec<u8>, Error> {
    let (pixel, name) = match format {
        Format::Jpeg => (Pixel::YUVJ420P, "mjpeg"),
        Format::Png => (Pixel::RGB24, "png"),
        Format::Webp => (Pixel::YUV420P, "libwebp"),
    };
    let codec = codec::encoder::find_by_name(name).ok_or(Error::EncoderNotFound)?;
    let mut encoder = Context::new_with_codec(codec).encoder().video()?;
    encoder.set_width(picture.width());
    encoder.set_height(picture.height());
    encoder.set_format(pixel);
    encoder.set_time_base(Rational::new(1, 25));
    let mut options = Dictionary::new();
    if format == Format::Jpeg {
        let scale = jpeg_scale(quality);
        encoder.set_qmin(scale);
        encoder.set_qmax(scale);
    } else if format == Format::Webp {
        options.set("quality", &quality.to_string());
    }
    let mut encoder = encoder.open_with(options)?;
    let mut still = in_format(picture, pixel)?;
    still.set_pts(Some(0));
    encoder.send_frame(&still)?;
    encoder.send_eof()?;
    let mut packet = Packet::empty();
    encoder.receive_packet(&mut packet)?;
    Ok(packet.data().unwrap_or_default().to_vec())
}

/// libswscale takes full range and the matrix of BT.601 for JPEG (JFIF), and limited range with the same matrix for WebP: both as
/// their standards want it.
fn in_format(picture: &frame::Video, pixel: Pixel) -> Result<frame::Video, Error> {
    if picture.format() == pixel {
        return Ok(picture.clone());
    }
    let (width, height) = (picture.width(), picture.height());
    let flags = Flags::BICUBIC | Flags::ACCURATE_RND | Flags::FULL_CHR_H_INP;
    let mut scaler = scaling::Context::get(picture.format(), width, height, pixel, width, height, flags)?;
    let mut made = frame::Video::empty();
    scaler.run(picture, &mut made)?;
    Ok(made)
}

/// The quantiser scale (2 the best, 31 the worst) for a quality of 1 to 100.
fn jpeg_scale(quality: u8) -> i32 {
    2 + (100 - i32::from(quality.clamp(1, 100))) * 29 / 99
}

/// Whether this FFmpeg has what writes a format.
pub(in crate::media) fn has_encoder(format: Format) -> bool {
    let name = match format {
        Format::Jpeg => "mjpeg",
        Format::Png => "png",
        Format::Webp => "libwebp",
    };
    codec::encoder::find_by_name(name).is_some()
}

/// Opens the decoder of a track for pictures or sound that are looked at: one thread, nothing left out.
pub(in crate::media) fn open_decoder(source: &MediaSource, track: usize) -> Result<decoder::Opened, Error> {
    let stream = source.input().stream(track).ok_or(Error::StreamNotFound)?;
    let parameters = stream.parameters();
    let codec = decoder::find(parameters.id()).ok_or(Error::DecoderNotFound)?;
    let mut decoder = Context::from_parameters(parameters)?.decoder();
    decoder.set_packet_time_base(stream.time_base());
    decoder.open_as(codec)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_scale_of_jpeg_covers_its_range() {
        assert_eq!([100, 1, 0, 255].map(jpeg_scale), [2, 31, 31, 2]);
    }

    #[test]
    fn samples_that_cannot_be_are_square() {
        assert_eq!(plausible(Rational::new(64, 45)), Some((64, 45)));
        for wrong in [(0, 1), (1, 0), (-1, 1), (1000, 1), (1, 1000)] {
            assert_eq!(plausible(Rational::new(wrong.0, wrong.1)), None);
        }
    }
}
