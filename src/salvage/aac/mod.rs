//! Where an AAC frame ends: a walk over the syntax of `raw_data_block()` (ISO/IEC 14496-3 §4.4.2.1) without decoding it.
//!
//! MP4 stores raw blocks, whose length stands nowhere in them. The walk reads every codeword, so it ends exactly, and it
//! refuses what an AAC-LC encoder cannot have written. HE-AAC is walked at its core rate: its extension lies in fill
//! elements. LTP, Main, ELD and USAC are not covered.

mod channel;
mod huffman;
mod tables;

use super::bits::Bits;

/// Largest frame that is walked: 6144 bits for each of eight channels (§4.5.3.1).
pub const MAX_FRAME_BYTES: usize = 8 * 768;
/// Most channel elements of a frame.
const MAX_ELEMENTS: u32 = 8;

/// What must be known to walk a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct AacConfig {
    /// Band offsets of long windows.
    long: &'static [u16],
    /// Band offsets of short windows.
    short: &'static [u16],
    /// The channel elements that every frame has; `None` if any may come.
    pub elements: Option<ChannelElements>,
}

/// A sequence of channel elements, two bits for each: 1 single, 2 pair, 3 low frequency.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct ChannelElements(u32);

impl ChannelElements {
    /// The elements of a `channelConfiguration` (Table 1.19); `None` for those that say them elsewhere.
    pub fn of_channels(configuration: u32) -> Option<Self> {
        let ids: &[u32] = match configuration {
            1 => &[1],
            2 => &[2],
            3 => &[1, 2],
            4 => &[1, 2, 1],
            5 => &[1, 2, 2],
            6 => &[1, 2, 2, 3],
            7 => &[1, 2, 2, 2, 3],
            _ => return None,
        };
        Some(ids.iter().fold(Self(0), |all, id| all.with(*id)))
    }

    const fn with(self, id: u32) -> Self {
        Self(self.0 << 2 | id)
    }

    const fn count(self) -> u32 {
        (32 - self.0.leading_zeros()).div_ceil(2)
    }

    /// Whether these are the first elements of `whole`.
    const fn begins(self, whole: Self) -> bool {
        let (have, all) = (self.count(), whole.count());
        have <= all && whole.0 >> (2 * (all - have)) == self.0
    }

    /// The first three bits that each frame may begin with besides a fill or data element.
    const fn first(self) -> u32 {
        match self.count() {
            0 => 0,
            n => self.0 >> (2 * (n - 1)),
        }
    }
}

impl AacConfig {
    /// The tables of a sampling rate; `None` for a rate that AAC does not have.
    pub fn new(rate_hz: u32, elements: Option<ChannelElements>) -> Option<Self> {
        let of = |tables: &[(&[u32], &'static [u16])]| {
            tables.iter().find(|(rates, _)| rates.contains(&rate_hz)).map(|(_, offsets)| *offsets)
        };
        Some(Self { long: of(&tables::SWB_OFFSET_LONG)?, short: of(&tables::SWB_OFFSET_SHORT)?, elements })
    }

    /// Whether a frame may begin with this byte.
    #[inline]
    pub fn may_begin(&self, byte: u8) -> bool {
        match byte >> 5 {
            4 | 6 => true, // data stream and fill elements
            id => match self.elements {
                Some(elements) => ELEMENT_OF_ID[usize::from(id)] == elements.first() && byte & 0x1E == 0,
                None => ELEMENT_OF_ID[usize::from(id)] != 0 && byte & 0x1E == 0,
            },
        }
    }
}

/// By `id_syn_ele` (Table 4.85): the bits of [`ChannelElements`], 0 for what is no channel element.
const ELEMENT_OF_ID: [u32; 8] = [1, 2, 0, 3, 0, 0, 0, 0];

/// Walks one frame from its first byte; its length in bytes, or how many bytes it took to see that it is none.
pub fn frame_bytes(bytes: &[u8], config: &AacConfig) -> Result<usize, usize> {
    let bytes = &bytes[..bytes.len().min(MAX_FRAME_BYTES)];
    let mut bits = Bits::new(bytes);
    let is_frame = raw_data_block(&mut bits, config).is_some();
    let walked = (bits.position() / 8).min(bytes.len());
    if is_frame { Ok(walked) } else { Err(walked) }
}

fn raw_data_block(bits: &mut Bits<'_>, config: &AacConfig) -> Option<()> {
    let mut seen = ChannelElements::default();
    loop {
        match bits.u(3)? {
            id @ (0 | 1 | 3) => {
                seen = seen.with(ELEMENT_OF_ID[id as usize]);
                let is_expected = config.elements.is_none_or(|all| seen.begins(all));
                (is_expected && seen.count() <= MAX_ELEMENTS).then_some(())?;
                channel_element(bits, id, config)?;
            }
            4 => data_stream_element(bits)?,
            6 => fill_element(bits)?,
            7 => break,
            _ => return None, // coupling channels and program config are in no recording that was met
        }
    }
    bits.align();
    let is_whole = seen.count() > 0 && config.elements.is_none_or(|all| seen == all);
    (is_whole && !bits.is_over()).then_some(())
}

fn channel_element(bits: &mut Bits<'_>, id: u32, config: &AacConfig) -> Option<()> {
    bits.skip(4); // element_instance_tag
    if id != 1 {
        return channel::individual(bits, config, None, false);
    }
    let shared = if bits.flag()? {
        let window = channel::window(bits, config)?;
        match bits.u(2)? {
            1 => bits.skip(window.max_sfb * window.groups()),
            3 => return None,
            _ => {}
        }
        Some(window)
    } else {
        None
    };
    channel::individual(bits, config, shared, false)?;
    channel::individual(bits, config, shared, true)
}

/// `data_stream_element()` (Table 4.10).
fn data_stream_element(bits: &mut Bits<'_>) -> Option<()> {
    bits.skip(4);
    let is_aligned = bits.flag()?;
    let mut count = bits.u(8)?;
    if count == 255 {
        count += bits.u(8)?;
    }
    if is_aligned {
        bits.align();
    }
    bits.skip(count as usize * 8);
    (!bits.is_over()).then_some(())
}

/// `fill_element()` (Table 4.11); spectral band replication lies in here.
fn fill_element(bits: &mut Bits<'_>) -> Option<()> {
    let mut count = bits.u(4)?;
    if count == 15 {
        count = (count + bits.u(8)?).checked_sub(1)?;
    }
    bits.skip(count as usize * 8);
    (!bits.is_over()).then_some(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn frames_of_a_real_recording_end_where_its_tables_say() {
        let bytes = include_bytes!("../../../tests/fixtures/sample_MP4_480.mp4");
        let mut reader = std::io::Cursor::new(&bytes[..]);
        let layout = crate::isobmff::top_level(&mut reader, bytes.len() as u64).unwrap();
        let movie = crate::isobmff::Movie::read(&mut reader, &layout).unwrap();
        let audio = movie.tracks.iter().find(|t| t.codec() == "aac").unwrap();
        let entry = audio.entry().unwrap();
        let elements = ChannelElements::of_channels(entry.channels.unwrap());
        let config = AacConfig::new(entry.sample_rate_hz.unwrap(), elements).unwrap();
        let mut frames = 0;
        for sample in audio.samples() {
            let at = usize::try_from(sample.offset).unwrap();
            assert_eq!(frame_bytes(&bytes[at..], &config), Ok(sample.size_bytes as usize), "frame {frames}");
            frames += 1;
        }
        assert!(frames > 100);
    }

    proptest! {
        #[test]
        fn any_bytes_end_inside_themselves(bytes in proptest::collection::vec(any::<u8>(), 0..400), channels in 0_u32..8) {
            let config = AacConfig::new(48_000, ChannelElements::of_channels(channels)).unwrap();
            if let Ok(len) = frame_bytes(&bytes, &config) {
                prop_assert!(len <= bytes.len() && len > 0);
            }
        }
    }
}
