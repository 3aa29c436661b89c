//! From high dynamic range to what a JPEG shows: the light of PQ and HLG pictures (ITU-R BT.2100) in the colours and the curve
//! of sRGB. Pure.
//!
//! Reference white (203 cd/m², ITU-R BT.2408) stays near white; what is brighter is rolled off, so that highlights keep their
//! shape. Colours of BT.2020 beyond those of BT.709 are clipped.

use std::sync::LazyLock;

/// How light is coded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::media) enum Transfer {
    /// Perceptual quantiser (SMPTE ST 2084).
    Pq,
    /// Hybrid log-gamma (ARIB STD-B67).
    Hlg,
}

/// Reference white, cd/m².
const WHITE: f32 = 203.0;
/// What a display of HLG shows at most, cd/m², and its system gamma (BT.2100 table 5).
const HLG_PEAK: f32 = 1_000.0;
const HLG_GAMMA: f32 = 1.2;
/// Light up to this part of white is kept as it is.
const KNEE: f32 = 0.75;
/// Entries of a table over coded values.
const STEPS: usize = 4_096;

/// BT.2020 primaries to those of BT.709 (ITU-R BT.2087), linear light.
const TO_709: [[f32; 3]; 3] =
    [[1.660_5, -0.587_6, -0.072_8], [-0.124_6, 1.132_9, -0.008_3], [-0.018_2, -0.100_6, 1.118_7]];

static PQ: LazyLock<Vec<f32>> = LazyLock::new(|| table(pq));
static HLG: LazyLock<Vec<f32>> = LazyLock::new(|| table(hlg));
static SRGB: LazyLock<Vec<u8>> = LazyLock::new(|| {
    let coded =
        |linear: f32| if linear <= 0.003_130_8 { 12.92 * linear } else { 1.055 * linear.powf(1.0 / 2.4) - 0.055 };
    (0..=STEPS).map(|n| byte(coded(part(n)))).collect()
});

/// Turns pixels of three 16-bit values into three bytes of sRGB each.
pub(super) fn to_sdr(pixels: &[[u16; 3]], transfer: Transfer, is_wide: bool) -> Vec<[u8; 3]> {
    let light = match transfer {
        Transfer::Pq => &*PQ,
        Transfer::Hlg => &*HLG,
    };
    pixels.iter().map(|pixel| shown(pixel.map(|value| light[step(value)]), transfer, is_wide)).collect()
}

fn shown(mut light: [f32; 3], transfer: Transfer, is_wide: bool) -> [u8; 3] {
    if transfer == Transfer::Hlg {
        // The light of the scene becomes that of a display by its luminance (BT.2100 table 5, OOTF).
        let luminance = 0.2627 * light[0] + 0.678 * light[1] + 0.0593 * light[2];
        let gain = luminance.max(0.0).powf(HLG_GAMMA - 1.0) * HLG_PEAK / WHITE;
        light = light.map(|value| value * gain);
    }
    if is_wide {
        light = TO_709.map(|row| row[0] * light[0] + row[1] * light[1] + row[2] * light[2]);
    }
    // By the brightest of the three, so that the colour stays what it is.
    let brightest = light.into_iter().fold(0.0_f32, f32::max);
    let gain = if brightest > KNEE { rolled_off(brightest) / brightest } else { 1.0 };
    light.map(|value| SRGB[index(value * gain)])
}

/// Light beyond the knee approaches 1.
fn rolled_off(light: f32) -> f32 {
    KNEE + (1.0 - KNEE) * (1.0 - (-(light - KNEE) / (1.0 - KNEE)).exp())
}

/// Light of a coded value, 1 is reference white.
fn pq(coded: f32) -> f32 {
    let (m1, m2, c1, c2, c3) = (0.159_301_76_f32, 78.843_75_f32, 0.835_937_5_f32, 18.851_563_f32, 18.687_5_f32);
    let power = coded.powf(1.0 / m2);
    let linear = ((power - c1).max(0.0) / (c2 - c3 * power)).powf(1.0 / m1);
    linear * 10_000.0 / WHITE
}

/// Light of the scene, 0 to 1.
fn hlg(coded: f32) -> f32 {
    let (a, b, c) = (0.178_832_77_f32, 0.284_668_92_f32, 0.559_910_7_f32);
    if coded <= 0.5 { coded * coded / 3.0 } else { (((coded - c) / a).exp() + b) / 12.0 }
}

fn table(light: fn(f32) -> f32) -> Vec<f32> {
    (0..=STEPS).map(|n| light(part(n))).collect()
}

#[expect(clippy::cast_precision_loss, reason = "numbers up to 4096")]
fn part(n: usize) -> f32 {
    n as f32 / STEPS as f32
}

fn step(value: u16) -> usize {
    (usize::from(value) * STEPS + 32_767) / 65_535
}

#[expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "clamped before"
)]
fn index(light: f32) -> usize {
    (light.clamp(0.0, 1.0) * STEPS as f32 + 0.5) as usize
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "clamped before")]
fn byte(value: f32) -> u8 {
    (value.clamp(0.0, 1.0) * 255.0 + 0.5) as u8
}

#[cfg(test)]
mod tests {
    use super::*;

    fn grey(value: f32, transfer: Transfer) -> u8 {
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "between 0 and 65535")]
        let value = (value * 65_535.0) as u16;
        let [[r, g, b]] = to_sdr(&[[value; 3]], transfer, true)[..] else { panic!() };
        assert!(r.abs_diff(g) <= 1 && g.abs_diff(b) <= 1, "grey stays grey: {r} {g} {b}");
        g
    }

    #[test]
    fn reference_white_is_near_white_and_black_is_black() {
        // 203 cd/m² is 58 % in PQ and 75 % in HLG (BT.2408).
        for (white, transfer) in [(0.5807, Transfer::Pq), (0.75, Transfer::Hlg)] {
            assert_eq!(grey(0.0, transfer), 0);
            assert!((228..=248).contains(&grey(white, transfer)), "{transfer:?} {}", grey(white, transfer));
            assert!(grey(1.0, transfer) >= 253);
        }
    }

    #[test]
    fn brighter_is_never_shown_darker() {
        for transfer in [Transfer::Pq, Transfer::Hlg] {
            let shown: Vec<_> = (0..=64_u8).map(|n| grey(f32::from(n) / 64.0, transfer)).collect();
            assert!(shown.is_sorted(), "{shown:?}");
        }
    }

    #[test]
    fn a_colour_keeps_its_hue_where_it_is_bright() {
        let red = to_sdr(&[[60_000, 20_000, 20_000]], Transfer::Pq, false)[0];
        assert!(red[0] > 200 && red[1] < red[0] / 3 && red[1] == red[2], "{red:?}");
    }
}
