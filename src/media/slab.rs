//! A BLAKE3 digest that is fed in full slabs.
//!
//! Small updates cost BLAKE3 its parallel lanes; copying them together first is cheaper.

use blake3::Hasher;

const SLAB_BYTES: usize = 64 << 10;

/// A digest over bytes that come in pieces of any size.
#[derive(Debug, Clone)]
pub(super) struct ChunkedDigest {
    hash: Hasher,
    waiting: Vec<u8>,
}

impl ChunkedDigest {
    pub(super) fn new() -> Self {
        Self { hash: Hasher::new(), waiting: Vec::new() }
    }

    /// Adds bytes.
    pub(super) fn update(&mut self, mut bytes: &[u8]) {
        while self.waiting.len() + bytes.len() >= SLAB_BYTES {
            let (first, rest) = bytes.split_at(SLAB_BYTES - self.waiting.len());
            if self.waiting.is_empty() {
                self.hash.update(first);
            } else {
                self.waiting.extend_from_slice(first);
                self.hash.update(&self.waiting);
                self.waiting.clear();
            }
            bytes = rest;
        }
        self.waiting.extend_from_slice(bytes);
    }

    /// The digest of all bytes so far.
    pub(super) fn digest(&self) -> [u8; 32] {
        self.hash.clone().update(&self.waiting).finalize().into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_of_any_size_give_the_digest_of_the_whole() {
        let bytes: Vec<u8> = (0..300_000u32).map(|n| n.to_le_bytes()[0] ^ n.to_le_bytes()[1]).collect();
        for piece in [1, 1000, SLAB_BYTES - 1, SLAB_BYTES, SLAB_BYTES + 1, bytes.len()] {
            let mut slab = ChunkedDigest::new();
            bytes.chunks(piece).for_each(|chunk| slab.update(chunk));
            assert_eq!(slab.digest(), *blake3::hash(&bytes).as_bytes(), "pieces of {piece}");
        }
    }
}
