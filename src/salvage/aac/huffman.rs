//! The Huffman codebooks of AAC as tables that say how far a codeword reaches, signs and escapes with it
//! (ISO/IEC 14496-3 §4.6.3).

use std::sync::OnceLock;

use super::tables::{Codebook, SCALEFACTOR, SPECTRAL};
use crate::salvage::bits::Bits;

/// Bits that the first table is indexed with; longer codewords are searched.
const DIRECT_BITS: u32 = 10;
/// Width that codewords are aligned to for the search; the longest is 19 bits.
const ALIGNED_BITS: u32 = 20;
/// Bits that the table of several codewords at once is indexed with.
const RUN_BITS: u32 = 12;
/// Codebooks whose words carry the signs themselves (Table 4.93).
const SIGNED: [usize; 4] = [1, 2, 5, 6];

/// What one codeword means for the walk.
#[derive(Debug, Clone, Copy, Default)]
struct Codeword {
    /// Length of the codeword; 0 for none.
    bits: u8,
    /// Sign bits behind it, or of the scalefactor book the entry.
    extra: u8,
    /// Escape sequences behind the signs.
    escapes: u8,
}

/// Whole codewords with their signs that some bits begin with; none of them has an escape.
#[derive(Debug, Clone, Copy, Default)]
struct CodewordRun {
    bits: u8,
    words: u8,
}

/// One codebook made ready.
#[derive(Debug)]
pub struct DecodingTable {
    direct: Vec<Codeword>,
    /// What each run of [`RUN_BITS`] begins with.
    runs: Vec<CodewordRun>,
    /// Left-aligned codewords of more than [`DIRECT_BITS`], ascending.
    long: Vec<(u32, Codeword)>,
    values_per_word: usize,
}

impl DecodingTable {
    fn new(table: &Codebook, values_per_word: usize, word: impl Fn(usize) -> (u8, u8)) -> Self {
        let direct = vec![Codeword::default(); 1 << DIRECT_BITS];
        let mut book = Self { direct, runs: Vec::new(), long: Vec::new(), values_per_word };
        for (index, (&code, &bits)) in table.codes.iter().zip(table.lens).enumerate() {
            let (extra, escapes) = word(index);
            book.add(code, Codeword { bits, extra, escapes });
        }
        book.long.sort_by_key(|(code, _)| *code);
        book.runs = (0..1 << RUN_BITS).map(|ahead| book.run_of(ahead)).collect();
        book
    }

    fn run_of(&self, ahead: u32) -> CodewordRun {
        let mut run = CodewordRun::default();
        loop {
            // What is behind the known bits does not matter to a codeword that ends inside them.
            let known = ahead << u32::from(run.bits) & ((1 << RUN_BITS) - 1);
            let word = self.direct[(known >> (RUN_BITS - DIRECT_BITS)) as usize];
            let bits = run.bits + word.bits + word.extra;
            if word.bits == 0 || word.escapes > 0 || u32::from(bits) > RUN_BITS {
                return run;
            }
            run = CodewordRun { bits, words: run.words + 1 };
        }
    }

    fn add(&mut self, code: u32, word: Codeword) {
        let bits = u32::from(word.bits);
        if bits > DIRECT_BITS {
            self.long.push((code << (ALIGNED_BITS - bits), word));
            return;
        }
        let first = (code << (DIRECT_BITS - bits)) as usize;
        self.direct[first..first + (1 << (DIRECT_BITS - bits))].fill(word);
    }

    /// How many values one codeword stands for.
    pub const fn values_per_word(&self) -> usize {
        self.values_per_word
    }

    #[inline]
    fn word(&self, bits: &Bits<'_>) -> Option<Codeword> {
        let ahead = bits.peek(ALIGNED_BITS);
        let word = self.direct[(ahead >> (ALIGNED_BITS - DIRECT_BITS)) as usize];
        if word.bits > 0 {
            return Some(word);
        }
        let behind = self.long.partition_point(|(code, _)| *code <= ahead);
        let (code, word) = *self.long.get(behind.checked_sub(1)?)?;
        let shift = ALIGNED_BITS - u32::from(word.bits);
        (ahead >> shift == code >> shift).then_some(word)
    }

    /// Steps over so many codewords with their signs and escapes, several at once where they are short.
    #[inline]
    pub fn skip_words(&self, bits: &mut Bits<'_>, count: usize) -> Option<()> {
        let mut left = count;
        while left > 0 {
            let (mut window, bits_there) = bits.window();
            let mut passed = 0;
            while passed + RUN_BITS <= bits_there {
                let run = self.runs[(window >> (u64::BITS - RUN_BITS)) as usize];
                let words = usize::from(run.words);
                if !(1..=left).contains(&words) {
                    break;
                }
                window <<= run.bits;
                passed += u32::from(run.bits);
                left -= words;
            }
            bits.skip(passed as usize);
            // A long codeword, one with an escape, or the last one.
            if left > 0 && passed + RUN_BITS <= bits_there {
                self.skip_word(bits)?;
                left -= 1;
            }
        }
        Some(())
    }

    /// Steps over one codeword, its signs and its escapes.
    #[inline]
    fn skip_word(&self, bits: &mut Bits<'_>) -> Option<()> {
        let word = self.word(bits)?;
        bits.skip(usize::from(word.bits) + usize::from(word.extra));
        for _ in 0..word.escapes {
            // N ones, a zero and N + 4 bits (§4.6.3.3); a value has at most 13 bits.
            let ones = (!bits.peek(16) << 16).leading_zeros();
            (ones <= 8).then_some(())?;
            bits.skip(2 * ones as usize + 5);
        }
        Some(())
    }
}

fn spectral_books() -> &'static [DecodingTable; 11] {
    static BOOKS: OnceLock<[DecodingTable; 11]> = OnceLock::new();
    BOOKS.get_or_init(|| std::array::from_fn(|index| spectral_book(index + 1)))
}

fn spectral_book(number: usize) -> DecodingTable {
    let (base, values): (usize, u32) = match number {
        1..=4 => (3, 4),
        5 | 6 => (9, 2),
        7 | 8 => (8, 2),
        9 | 10 => (13, 2),
        _ => (17, 2),
    };
    let is_signed = SIGNED.contains(&number);
    DecodingTable::new(&SPECTRAL[number - 1], values as usize, |index| {
        let digits = (0..values).map(|place| index / base.pow(place) % base);
        let count = |wanted: fn(&usize) -> bool| u8::try_from(digits.clone().filter(wanted).count()).unwrap_or(0);
        let signs = if is_signed { 0 } else { count(|digit| *digit > 0) };
        (signs, if number == 11 { count(|digit| *digit == 16) } else { 0 })
    })
}

/// The spectral codebook of a number; `None` for those without codewords.
#[inline]
pub fn codebook(number: u8) -> Option<&'static DecodingTable> {
    spectral_books().get(usize::from(number).checked_sub(1)?)
}

/// Reads one scalefactor difference.
pub fn scale_factor(bits: &mut Bits<'_>) -> Option<i32> {
    static BOOK: OnceLock<DecodingTable> = OnceLock::new();
    let book = BOOK.get_or_init(|| DecodingTable::new(&SCALEFACTOR, 1, |index| (u8::try_from(index).unwrap_or(0), 0)));
    let word = book.word(bits)?;
    bits.skip(usize::from(word.bits));
    Some(i32::from(word.extra) - 60)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_codebook_is_a_complete_prefix_code() {
        for (number, table) in SPECTRAL.iter().chain([&SCALEFACTOR]).enumerate() {
            let kraft: u64 = table.lens.iter().map(|bits| 1_u64 << (20 - bits)).sum();
            assert_eq!((kraft, table.codes.len()), (1 << 20, table.lens.len()), "{number}");
        }
    }

    #[test]
    fn several_codewords_at_once_are_as_long_as_one_by_one() {
        let mut number = 1_u32;
        let bytes: Vec<u8> = std::iter::repeat_with(|| {
            number = number.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            u8::try_from(number >> 24).unwrap()
        })
        .take(4000)
        .collect();
        for book in 1..=11 {
            let book = codebook(book).unwrap();
            for (skipped, count) in [(0, 1), (1, 2), (3, 7), (5, 40), (11, 300)] {
                let (mut one_by_one, mut at_once) = (Bits::new(&bytes), Bits::new(&bytes));
                one_by_one.skip(skipped);
                at_once.skip(skipped);
                let expected = (0..count).try_for_each(|_| book.skip_word(&mut one_by_one));
                assert_eq!(book.skip_words(&mut at_once, count), expected);
                assert!(expected.is_none() || at_once.position() == one_by_one.position());
            }
        }
    }

    #[test]
    fn every_codeword_is_found_again() {
        for (index, (&code, &bits)) in SCALEFACTOR.codes.iter().zip(SCALEFACTOR.lens).enumerate() {
            let aligned = (u64::from(code) << (64 - u32::from(bits))).to_be_bytes();
            let mut reader = Bits::new(&aligned);
            assert_eq!(scale_factor(&mut reader), Some(i32::try_from(index).unwrap() - 60));
            assert_eq!(reader.position(), usize::from(bits));
        }
    }
}
