//! Keys of `[archive]`.

use super::{Accessors, Key, PATH, Section, ValueKind, put, quote_path};
use crate::config::units;
use crate::config::value::{Value, ValueError, quote};

const SIZE: ValueKind = ValueKind { unit: "size", wants: r#"a size such as "20GiB""# };

/// With less not even a short recording fits.
const LEAST_SCRATCH_BYTES: u64 = 128 << 20;

pub(super) static KEYS: [Key; 2] = [
    Key::new(
        Section::Archive,
        "scratch_dir",
        PATH,
        Accessors::Whole(
            |c, v| put(&mut c.archive.scratch_dir, v.absolute_path().map(Some)),
            |c| c.archive.scratch_dir.as_deref().map(quote_path),
        ),
        "Directory for recordings of a bucket that have to be downloaded. Default: `scratch` in state_dir.",
    )
    .like(r#""/var/tmp/aftercast""#),
    Key::new(
        Section::Archive,
        "scratch_size",
        SIZE,
        Accessors::Whole(
            |c, v| put(&mut c.archive.scratch_bytes, scratch(v)),
            |c| Some(quote(&units::show_size(c.archive.scratch_bytes))),
        ),
        "Limit on what lies there: a recording needs twice its size. Larger ones fail; free disk space is checked, too.",
    )
    .or(r#""20GiB""#),
];

fn scratch(value: &Value) -> Result<u64, ValueError> {
    let bytes = value.size()?;
    if bytes < LEAST_SCRATCH_BYTES { Err(ValueError::meaning("it is less than 128MiB")) } else { Ok(bytes) }
}
