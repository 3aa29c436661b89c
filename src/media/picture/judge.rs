//! Whether a picture shows something, by a small grey copy of it. Pure.

/// Pixels of the copy.
pub(super) const WIDTH: u32 = 96;
/// Lines of the copy.
pub(super) const HEIGHT: u32 = 54;

/// Luma above which a pixel is not black, of 255; FFmpeg's `blackdetect` takes the same 10 %.
const NOT_BLACK: u8 = 26;
/// Luma above which a pixel is well visible, 30 %.
const VISIBLE: u8 = 77;
/// So many pixels of a picture, percent, must be above: `blackdetect` takes the same.
const LEAST_PERCENT: usize = 2;
/// Mean distance from the mean luma, below which a picture is flat: one colour, with the noise of its coding.
const LEAST_SPREAD: u32 = 2;

/// What a picture shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Content {
    /// Black, or one colour.
    Nothing,
    /// Something that is hardly visible: the first frames of a fade-in, or a dark scene.
    Dim,
    /// Something.
    Something,
}

/// Judges the luma of the copy, full range.
pub(super) fn judge(luma: &[u8]) -> Content {
    if luma.is_empty() {
        return Content::Nothing;
    }
    let above = |least: u8| 100 * luma.iter().filter(|luma| **luma > least).count() >= LEAST_PERCENT * luma.len();
    match (is_flat(luma), above(NOT_BLACK), above(VISIBLE)) {
        (true, _, _) | (_, false, _) => Content::Nothing,
        (false, true, false) => Content::Dim,
        (false, true, true) => Content::Something,
    }
}

fn is_flat(luma: &[u8]) -> bool {
    let count = u32::try_from(luma.len()).unwrap_or(u32::MAX);
    let sum: u32 = luma.iter().map(|luma| u32::from(*luma)).sum();
    let mean = sum / count;
    let distance: u32 = luma.iter().map(|luma| u32::from(*luma).abs_diff(mean)).sum();
    // A small thing on one colour is no flat picture.
    let has_detail = 100 * luma.iter().filter(|luma| u32::from(**luma).abs_diff(mean) > 40).count() >= luma.len();
    distance / count < LEAST_SPREAD && !has_detail
}

#[cfg(test)]
mod tests {
    use super::*;

    const COUNT: usize = (WIDTH * HEIGHT) as usize;

    fn gradient(most: usize) -> Vec<u8> {
        (0..COUNT).map(|n| u8::try_from(n * most / COUNT).unwrap()).collect()
    }

    #[test]
    fn black_and_flat_pictures_show_nothing() {
        assert_eq!(judge(&[]), Content::Nothing);
        for luma in [0, 16, 40, 128, 255] {
            assert_eq!(judge(&vec![luma; COUNT]), Content::Nothing, "{luma}");
        }
        let noise: Vec<u8> = (0..COUNT).map(|n| 120 + u8::try_from(n * 7 % 3).unwrap()).collect();
        assert_eq!(judge(&noise), Content::Nothing, "one colour with noise");
        assert_eq!(judge(&gradient(20)), Content::Nothing, "hardly brighter than black");
    }

    #[test]
    fn the_first_frames_of_a_fade_are_dim_and_the_rest_is_something() {
        assert_eq!(judge(&gradient(40)), Content::Dim);
        assert_eq!(judge(&gradient(120)), Content::Something);
    }

    #[test]
    fn a_title_on_black_is_something() {
        let mut title = vec![0; COUNT];
        title[2000..2000 + COUNT * 3 / 100].fill(235);
        assert_eq!(judge(&title), Content::Something);
    }
}
