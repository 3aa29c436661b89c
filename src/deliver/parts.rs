//! How a file is cut into parts. Pure arithmetic.
//!
//! S3's limits: 10,000 parts, each but the last at least 5 MiB, objects up to 5 TiB; Azure's and Google's are wider. Some
//! stores (R2) want all parts but the last of one size. 8 to 16 MiB is where a client works best: fewer bytes are many
//! requests, more are much memory.

const MIB: u64 = 1024 * 1024;

/// Up to this size a file goes up in one request.
pub const SINGLE_PUT_MAX_BYTES: u64 = 16 * MIB;
/// Size of a part, and of one unit of the buffer budget.
pub const PART_MIN_BYTES: u64 = 8 * MIB;
/// Leaves room below S3's limit of 10,000.
const PARTS_MAX: u64 = 9_000;

/// The cut of one file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PartPlan {
    /// Bytes of the whole file.
    pub size_bytes: u64,
    /// Bytes of every part but the last.
    pub part_bytes: u64,
}

impl PartPlan {
    /// Plans a file in parts of a size, or larger ones where there would be too many.
    pub const fn with_parts_of(wanted_bytes: u64, size_bytes: u64) -> Self {
        let needed = size_bytes.div_ceil(PARTS_MAX).next_multiple_of(MIB);
        let part_bytes = if needed > wanted_bytes { needed } else { wanted_bytes };
        Self { size_bytes, part_bytes }
    }

    /// Whether the file goes up in one request.
    pub const fn is_single(&self) -> bool {
        self.size_bytes <= SINGLE_PUT_MAX_BYTES
    }

    /// How many parts there are; an empty file has none.
    pub const fn count(&self) -> u64 {
        self.size_bytes.div_ceil(self.part_bytes)
    }

    /// Length of the part with an index starting at 0; 0 beyond the end.
    pub const fn len_of(&self, index: u64) -> u64 {
        let left = self.size_bytes.saturating_sub(index.saturating_mul(self.part_bytes));
        if left < self.part_bytes { left } else { self.part_bytes }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn common_sizes_use_parts_of_eight_mebibytes() {
        let of = |size_bytes| PartPlan::with_parts_of(PART_MIN_BYTES, size_bytes);
        assert!(of(16 * MIB).is_single() && !of(16 * MIB + 1).is_single());
        assert_eq!((of(40 * MIB).count(), of(2048 * MIB).part_bytes), (5, 8 * MIB));
    }

    proptest! {
        #[test]
        fn every_size_up_to_five_tebibytes_is_covered_within_the_limits(
            size in 1u64..=5 * 1024 * 1024 * MIB, wanted_mib in 5u64..=512,
        ) {
            let plan = PartPlan::with_parts_of(wanted_mib * MIB, size);
            prop_assert!(plan.count() <= 10_000);
            prop_assert!(plan.part_bytes >= 5 * MIB && plan.part_bytes <= 5 * 1024 * MIB);
            let last = plan.len_of(plan.count() - 1);
            prop_assert!(last > 0);
            prop_assert_eq!((plan.count() - 1) * plan.part_bytes + last, size);
            prop_assert_eq!(plan.len_of(plan.count()), 0);
        }
    }
}
