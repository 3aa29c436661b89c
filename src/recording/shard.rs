//! One of several parts that recordings are split into by their names, so that as many processes take each of them once.
//!
//! Which part a name belongs to depends on the name and the number of parts alone: it is the same on every machine and in every
//! version. It must not change: processes of two versions that work side by side would take one recording twice.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::{Deserialize, Serialize};

/// Most parts that are counted.
pub const SHARDS_MAX: u32 = 100_000;

/// A part; written `i/n`, from `1/n` to `n/n`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Shard {
    number: u32,
    count: u32,
}

/// Why a text is not a part.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` is not a shard; write i/n, such as 1/8 for the first of 8 processes: i is from 1 to n, and n is at most {SHARDS_MAX}"
)]
pub struct ShardError(String);

impl Shard {
    /// Which part it is, from 1 on.
    pub const fn number(self) -> u32 {
        self.number
    }

    /// How many parts there are.
    pub const fn count(self) -> u32 {
        self.count
    }

    /// Whether a name belongs to this part.
    pub fn has(self, name: &[u8]) -> bool {
        let digest = blake3::hash(name);
        let first = digest.as_bytes().first_chunk().copied().unwrap_or_default();
        u64::from_le_bytes(first) % u64::from(self.count) == u64::from(self.number - 1)
    }
}

impl FromStr for Shard {
    type Err = ShardError;

    fn from_str(text: &str) -> Result<Self, ShardError> {
        let number_of = |part: &str| part.bytes().all(|b| b.is_ascii_digit()).then(|| part.parse().ok()).flatten();
        let parts = text.split_once('/').and_then(|(number, count)| Some((number_of(number)?, number_of(count)?)));
        match parts {
            Some((number, count)) if (1..=count).contains(&number) && count <= SHARDS_MAX => Ok(Self { number, count }),
            _ => Err(ShardError(crate::printable::Printable(text).to_string())),
        }
    }
}

impl TryFrom<String> for Shard {
    type Error = ShardError;

    fn try_from(text: String) -> Result<Self, ShardError> {
        text.parse()
    }
}

impl From<Shard> for String {
    fn from(shard: Shard) -> Self {
        shard.to_string()
    }
}

impl fmt::Display for Shard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.number, self.count)
    }
}

impl JsonSchema for Shard {
    fn schema_name() -> Cow<'static, str> {
        "Shard".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        schemars::json_schema!({ "type": "string", "pattern": "^[0-9]+/[0-9]+$" })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shard(text: &str) -> Shard {
        text.parse().unwrap()
    }

    #[test]
    fn every_name_belongs_to_exactly_one_part_and_the_parts_are_about_even() {
        for count in [1, 2, 7, 100] {
            let shards: Vec<_> = (1..=count).map(|number| shard(&format!("{number}/{count}"))).collect();
            let mut sizes = vec![0_u32; shards.len()];
            for name in 0..10_000 {
                let name = format!("live/room{name}");
                let at: Vec<_> = (0..shards.len()).filter(|at| shards[*at].has(name.as_bytes())).collect();
                assert_eq!(at.len(), 1, "{name} of {count}");
                sizes[at[0]] += 1;
            }
            let even = 10_000 / count;
            assert!(sizes.iter().all(|size| (even / 2..even * 2).contains(size)), "{count}: {sizes:?}");
        }
    }

    #[test]
    fn the_split_is_the_same_in_every_version() {
        let of_four = |name: &str| (1..=4).find(|i| shard(&format!("{i}/4")).has(name.as_bytes())).unwrap();
        assert_eq!(["a", "live/room1", "live/room2", ""].map(of_four), SPLIT);
    }

    /// Found once; another result would let two versions side by side take one recording twice.
    const SPLIT: [u32; 4] = [4, 4, 3, 4];

    #[test]
    fn what_is_no_part_is_refused_with_the_form() {
        for text in ["", "1", "0/4", "5/4", "1/0", "-1/4", "+1/4", "1/4/4", "a/b", "1/ 4", "1/100001", "4294967297/4"] {
            let words = text.parse::<Shard>().unwrap_err().to_string();
            assert!(words.contains("i/n") && words.contains("1/8"), "{words}");
        }
        assert_eq!(shard("3/8").to_string(), "3/8");
        assert_eq!(serde_json::to_string(&shard("3/8")).unwrap(), "\"3/8\"");
        assert!(serde_json::from_str::<Shard>("\"9/8\"").is_err());
    }
}
