//! From a decoded picture to the pixels that are shown: scaled to its shape, in the colours of sRGB, turned upright.

use ffmpeg_next::format::Pixel;
use ffmpeg_next::software::scaling::Flags;
use ffmpeg_next::{Error, frame};

use super::tone::to_sdr;
use super::{Turn, judge};
use crate::media::ffi::picture::{convert, is_wide, transfer_of};

/// Longest side of a picture that is made, pixels.
const LONGEST: u64 = 4_096;

/// How a picture is to be shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Shape {
    /// How it is turned.
    pub(super) turn: Turn,
    /// Width of a sample divided by its height.
    pub(super) aspect: (i32, i32),
}

/// Pixels of sRGB, row by row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Rgb {
    pub(super) width: u32,
    pub(super) height: u32,
    pub(super) pixels: Vec<[u8; 3]>,
}

impl Rgb {
    pub(super) fn filled(width: u32, height: u32, colour: [u8; 3]) -> Self {
        Self { width, height, pixels: vec![colour; width as usize * height as usize] }
    }

    /// Puts another picture into this one; what does not fit is left out.
    pub(super) fn put(&mut self, other: &Self, x: u32, y: u32) {
        let columns = other.width.min(self.width.saturating_sub(x)) as usize;
        for row in 0..other.height.min(self.height.saturating_sub(y)) {
            let from = row as usize * other.width as usize;
            let to = (y + row) as usize * self.width as usize + x as usize;
            self.pixels[to..to + columns].copy_from_slice(&other.pixels[from..from + columns]);
        }
    }

    pub(super) const fn is_as_large_as(&self, other: &Self) -> bool {
        self.width == other.width && self.height == other.height
    }

    /// As FFmpeg's encoders take it.
    pub(super) fn frame(&self) -> frame::Video {
        let mut made = frame::Video::new(Pixel::RGB24, self.width, self.height);
        let (stride, row_pixels) = (made.stride(0), self.width as usize);
        let rows = made.data_mut(0).chunks_mut(stride.max(1)).zip(self.pixels.chunks(row_pixels.max(1)));
        for (row, pixels) in rows {
            row[..3 * pixels.len()].copy_from_slice(pixels.as_flattened());
        }
        made
    }
}

/// Width and height as shown, at most so many lines, never more than the picture has; even, as most formats want it.
pub(super) fn size(stored: (u32, u32), shape: Shape, height: u32) -> (u32, u32) {
    let (num, den) = (u64::from(shape.aspect.0.unsigned_abs()), u64::from(shape.aspect.1.unsigned_abs().max(1)));
    let across = (u64::from(stored.0) * num / den).max(1);
    let (shown_width, shown_height) =
        if shape.turn.swaps_sides() { (u64::from(stored.1), across) } else { (across, u64::from(stored.1)) };
    let (shown_width, shown_height) = (shown_width.max(1), shown_height.max(1));
    let mut lines = u64::from(height).min(shown_height).min(LONGEST);
    if shown_width * lines / shown_height > LONGEST {
        lines = (LONGEST * shown_height / shown_width).max(1);
    }
    let even = |side: u64| u32::try_from(side.div_ceil(2) * 2).unwrap_or(2).max(2);
    (even(((shown_width * lines + shown_height / 2) / shown_height).min(LONGEST)), even(lines))
}

/// The pixels of a picture as it is shown.
pub(super) fn develop(picture: &frame::Video, shape: Shape, height: u32) -> Result<Rgb, Error> {
    let (width, height) = size((picture.width(), picture.height()), shape, height);
    let scaled = if shape.turn.swaps_sides() { (height, width) } else { (width, height) };
    let flags = Flags::BICUBIC | Flags::ACCURATE_RND | Flags::FULL_CHR_H_INT;
    let pixels = match transfer_of(picture) {
        None => rows::<3>(&convert(picture, Pixel::RGB24, scaled, flags)?),
        Some(transfer) => {
            let coded = convert(picture, Pixel::RGB48LE, scaled, flags)?;
            let pixels: Vec<_> = rows::<6>(&coded).into_iter().map(of_16_bits).collect();
            to_sdr(&pixels, transfer, is_wide(picture))
        }
    };
    Ok(Rgb { width, height, pixels: shape.turn.apply(&pixels, scaled.0 as usize) })
}

fn of_16_bits([r0, r1, g0, g1, b0, b1]: [u8; 6]) -> [u16; 3] {
    [[r0, r1], [g0, g1], [b0, b1]].map(u16::from_le_bytes)
}

/// Pixels of so many bytes, without what a row has behind them.
fn rows<const BYTES: usize>(picture: &frame::Video) -> Vec<[u8; BYTES]> {
    let row_bytes = picture.width() as usize * BYTES;
    let rows = picture.data(0).chunks(picture.stride(0).max(1)).take(picture.height() as usize);
    rows.flat_map(|row| row[..row_bytes].as_chunks::<BYTES>().0.iter().copied()).collect()
}

/// What a picture shows.
pub(super) fn content(picture: &frame::Video) -> judge::Content {
    let small = convert(picture, Pixel::GRAY8, (judge::WIDTH, judge::HEIGHT), Flags::AREA);
    small.map_or(judge::Content::Nothing, |small| {
        let luma: Vec<u8> = rows::<1>(&small).into_iter().flatten().collect();
        judge::judge(&luma)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const UPRIGHT: Shape = Shape { turn: Turn::UPRIGHT, aspect: (1, 1) };

    #[test]
    fn a_picture_has_the_asked_height_and_is_never_enlarged() {
        assert_eq!(size((1920, 1080), UPRIGHT, 480), (854, 480));
        assert_eq!(size((320, 180), UPRIGHT, 480), (320, 180));
        let anamorphic = Shape { aspect: (64, 45), ..UPRIGHT };
        assert_eq!(size((720, 576), anamorphic, 480), (854, 480));
        let turned = Shape { turn: Turn::of_matrix([0, 1, -1, 0]), ..UPRIGHT };
        assert_eq!(size((1920, 1080), turned, 480), (270, 480));
        assert_eq!(size((16_000, 2), UPRIGHT, 480).0, 4096);
        assert_eq!(size((1, 1), UPRIGHT, 480), (2, 2));
    }

    #[test]
    fn a_picture_that_reaches_over_the_edge_is_cut() {
        let mut sheet = Rgb::filled(3, 2, [0; 3]);
        sheet.put(&Rgb::filled(2, 2, [9; 3]), 2, 1);
        sheet.put(&Rgb::filled(2, 2, [9; 3]), 7, 7);
        assert_eq!(sheet.pixels.iter().map(|pixel| pixel[0]).collect::<Vec<_>>(), [0, 0, 0, 0, 0, 9]);
    }
}
