//! How stored pictures are turned and mirrored for display, by the display matrix of their track (ISO/IEC 14496-12 §8.3.2).
//! Pure.

/// A turn by a multiple of 90°, mirrored or not. The default leaves a picture as it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::media) struct Turn {
    /// Where a step to the right in the stored picture leads: to the right, and down.
    right: (i8, i8),
    /// Where a step down leads.
    down: (i8, i8),
}

impl Default for Turn {
    fn default() -> Self {
        Self::UPRIGHT
    }
}

impl Turn {
    /// None.
    pub(in crate::media) const UPRIGHT: Self = Self { right: (1, 0), down: (0, 1) };

    /// The nearest one to a matrix of 16.16 numbers: `[a, b, c, d]` leads (p, q) to (a·p + c·q, b·p + d·q).
    pub(in crate::media) fn of_matrix([a, b, c, d]: [i32; 4]) -> Self {
        let sign = |number: i32| if number < 0 { -1 } else { 1 };
        let along = i64::from(a).abs() + i64::from(d).abs();
        let across = i64::from(b).abs() + i64::from(c).abs();
        match along.cmp(&across) {
            std::cmp::Ordering::Less => Self { right: (0, sign(b)), down: (sign(c), 0) },
            _ => Self { right: (sign(a), 0), down: (0, sign(d)) },
        }
    }

    /// Whether width and height change places.
    pub(in crate::media) const fn swaps_sides(self) -> bool {
        self.right.0 == 0
    }

    /// Turns a picture of so many pixels in a row; each pixel is whatever the slice has.
    pub(in crate::media) fn apply<T: Copy>(self, pixels: &[T], width: usize) -> Vec<T> {
        let Some(height) = pixels.len().checked_div(width) else { return Vec::new() };
        if self == Self::UPRIGHT {
            return pixels.to_vec();
        }
        let (to_width, to_height) = if self.swaps_sides() { (height, width) } else { (width, height) };
        let mut turned = Vec::with_capacity(pixels.len());
        for y in 0..to_height {
            for x in 0..to_width {
                let from = self.source(x, y, (width, height));
                turned.push(pixels[from]);
            }
        }
        turned
    }

    /// Which stored pixel is shown at a place.
    const fn source(self, x: usize, y: usize, (width, height): (usize, usize)) -> usize {
        let (p, q) = if self.swaps_sides() { (y, x) } else { (x, y) };
        let (right, down) = if self.swaps_sides() { (self.right.1, self.down.0) } else { (self.right.0, self.down.1) };
        let p = if right < 0 { width - 1 - p } else { p };
        let q = if down < 0 { height - 1 - q } else { q };
        q * width + p
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: i32 = 1 << 16;
    /// ```text
    /// 1 2 3
    /// 4 5 6
    /// ```
    const STORED: [u8; 6] = [1, 2, 3, 4, 5, 6];

    fn shown(matrix: [i32; 4]) -> (Vec<u8>, bool) {
        let turn = Turn::of_matrix(matrix);
        (turn.apply(&STORED, 3), turn.swaps_sides())
    }

    #[test]
    fn pictures_are_turned_as_the_matrix_says() {
        assert_eq!(shown([ONE, 0, 0, ONE]), (vec![1, 2, 3, 4, 5, 6], false));
        assert_eq!(shown([0, ONE, -ONE, 0]), (vec![4, 1, 5, 2, 6, 3], true), "clockwise, as phones say it");
        assert_eq!(shown([-ONE, 0, 0, -ONE]), (vec![6, 5, 4, 3, 2, 1], false));
        assert_eq!(shown([0, -ONE, ONE, 0]), (vec![3, 6, 2, 5, 1, 4], true));
        assert_eq!(shown([-ONE, 0, 0, ONE]), (vec![3, 2, 1, 6, 5, 4], false), "mirrored");
        assert_eq!(shown([0, ONE, ONE, 0]), (vec![1, 4, 2, 5, 3, 6], true), "mirrored and turned");
    }

    #[test]
    fn what_is_no_turn_is_the_nearest_one_and_nothing_divides_by_zero() {
        assert_eq!(Turn::of_matrix([0; 4]), Turn::default());
        assert_eq!(Turn::of_matrix([2 * ONE, 7, -7, ONE]), Turn::default());
        assert!(Turn::of_matrix([i32::MIN, i32::MIN, i32::MIN, i32::MIN]) != Turn::default());
        assert!(Turn::default().apply::<u8>(&[], 0).is_empty());
    }
}
