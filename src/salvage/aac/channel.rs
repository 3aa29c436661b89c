//! One channel of an AAC frame: `individual_channel_stream()` (ISO/IEC 14496-3 §4.4.2.7), walked without decoding.

use super::AacConfig;
use super::huffman::{self, codebook};
use crate::salvage::bits::Bits;

/// Most bands of all groups: eight groups of fifteen, or one of fifty-one.
const MAX_BANDS: usize = 128;
/// `EIGHT_SHORT_SEQUENCE` (Table 4.44).
const EIGHT_SHORT: u32 = 2;
/// Codebooks that carry no spectrum (Table 4.93).
const NOISE: u8 = 13;
const INTENSITY: [u8; 2] = [14, 15];

/// What `ics_info()` says.
#[derive(Debug, Clone, Copy)]
pub struct WindowInfo {
    is_short: bool,
    /// Bands that are transmitted.
    pub max_sfb: usize,
    /// Windows of each group; as many as `group_count`.
    group_windows: [u8; 8],
    group_count: usize,
}

impl WindowInfo {
    /// Number of groups.
    pub const fn groups(&self) -> usize {
        self.group_count
    }
}

/// `ics_info()` (Table 4.6).
pub fn window(bits: &mut Bits<'_>, config: &AacConfig) -> Option<WindowInfo> {
    if bits.flag()? {
        return None; // ics_reserved_bit
    }
    let sequence = bits.u(2)?;
    bits.skip(1);
    let mut window = WindowInfo {
        is_short: sequence == EIGHT_SHORT,
        max_sfb: 0,
        group_windows: [1, 0, 0, 0, 0, 0, 0, 0],
        group_count: 1,
    };
    let bands = if window.is_short {
        window.max_sfb = bits.u(4)? as usize;
        let grouping = bits.u(7)?;
        set_groups(&mut window, grouping);
        config.short.len() - 1
    } else {
        window.max_sfb = bits.u(6)? as usize;
        if bits.flag()? {
            return None; // prediction is not AAC-LC's
        }
        config.long.len() - 1
    };
    (window.max_sfb <= bands).then_some(window)
}

/// `scale_factor_grouping`: a bit for each window but the first, set where it belongs to the group before.
fn set_groups(window: &mut WindowInfo, grouping: u32) {
    window.group_windows = [0; 8];
    window.group_windows[0] = 1;
    let mut group = 0;
    for index in (0..7).rev() {
        group += usize::from(grouping >> index & 1 == 0);
        window.group_windows[group] += 1;
    }
    window.group_count = group + 1;
}

/// `individual_channel_stream()` (Table 4.50).
pub fn individual(bits: &mut Bits<'_>, config: &AacConfig, shared: Option<WindowInfo>, is_second: bool) -> Option<()> {
    let global_gain = i32::try_from(bits.u(8)?).ok()?;
    let window = shared.map_or_else(|| window(bits, config), Some)?;
    let mut books = [0_u8; MAX_BANDS];
    let may_be_intensity = is_second && shared.is_some();
    sections(bits, &window, may_be_intensity, &mut books)?;
    scale_factors(bits, global_gain, &books[..window.max_sfb * window.group_count])?;
    if bits.flag()? {
        pulses(bits, &window, config)?;
    }
    if bits.flag()? {
        noise_shaping(bits, &window)?;
    }
    if bits.flag()? {
        return None; // gain control is the SSR profile's
    }
    spectrum(bits, &window, config, &books)
}

/// `section_data()` (Table 4.52): which codebook each band is coded with.
fn sections(
    bits: &mut Bits<'_>,
    window: &WindowInfo,
    may_be_intensity: bool,
    books: &mut [u8; MAX_BANDS],
) -> Option<()> {
    let width = if window.is_short { 3 } else { 5 };
    let escape = (1 << width) - 1;
    for group in 0..window.group_count {
        let mut band = 0;
        while band < window.max_sfb {
            let book = u8::try_from(bits.u(4)?).ok()?;
            let is_allowed = book != 12 && (may_be_intensity || !INTENSITY.contains(&book));
            let mut length = 0;
            loop {
                let step = bits.u(width)?;
                length += step as usize;
                if step != escape {
                    break;
                }
            }
            let end = band + length;
            (is_allowed && length > 0 && end <= window.max_sfb).then_some(())?;
            books[group * window.max_sfb + band..group * window.max_sfb + end].fill(book);
            band = end;
        }
    }
    Some(())
}

/// `scale_factor_data()` (Table 4.53).
fn scale_factors(bits: &mut Bits<'_>, global_gain: i32, books: &[u8]) -> Option<()> {
    let (mut factor, mut position, mut is_first_noise) = (global_gain, 0_i32, true);
    for &book in books {
        match book {
            0 => {}
            NOISE if is_first_noise => {
                is_first_noise = false;
                bits.skip(9);
            }
            NOISE => drop(huffman::scale_factor(bits)?),
            14 | 15 => {
                position += huffman::scale_factor(bits)?;
                (-255..=255).contains(&position).then_some(())?;
            }
            _ => {
                factor += huffman::scale_factor(bits)?;
                (0..=255).contains(&factor).then_some(())?;
            }
        }
    }
    (!bits.is_over()).then_some(())
}

/// `pulse_data()` (Table 4.7); not with short windows.
fn pulses(bits: &mut Bits<'_>, window: &WindowInfo, config: &AacConfig) -> Option<()> {
    let count = bits.u(2)? + 1;
    let first_band = bits.u(6)? as usize;
    bits.skip(count as usize * 9);
    (!window.is_short && first_band < config.long.len() - 1).then_some(())
}

/// `tns_data()` (Table 4.54), with the orders that AAC-LC allows.
fn noise_shaping(bits: &mut Bits<'_>, window: &WindowInfo) -> Option<()> {
    let (windows, count_bits, length_bits, order_bits, most) =
        if window.is_short { (8, 1, 4, 3, 7) } else { (1, 2, 6, 5, 12) };
    for _ in 0..windows {
        let filters = bits.u(count_bits)?;
        let coarse = if filters > 0 { bits.u(1)? + 3 } else { 0 };
        for _ in 0..filters {
            bits.skip(length_bits);
            let order = bits.u(order_bits)?;
            (order <= most).then_some(())?;
            if order > 0 {
                bits.skip(1);
                let compressed = bits.u(1)?;
                bits.skip((order * (coarse - compressed)) as usize);
            }
        }
    }
    Some(())
}

/// `spectral_data()` (Table 4.56): every codeword with its signs and escapes.
fn spectrum(bits: &mut Bits<'_>, window: &WindowInfo, config: &AacConfig, books: &[u8; MAX_BANDS]) -> Option<()> {
    let offsets = if window.is_short { config.short } else { config.long };
    for group in 0..window.group_count {
        let windows = usize::from(window.group_windows[group]);
        for band in 0..window.max_sfb {
            let Some(book) = codebook(books[group * window.max_sfb + band]) else { continue };
            let values = usize::from(offsets[band + 1] - offsets[band]) * windows;
            book.skip_words(bits, values / book.values_per_word())?;
            (!bits.is_over()).then_some(())?;
        }
    }
    Some(())
}
