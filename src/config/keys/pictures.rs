//! Keys of `[pictures]`.

use std::time::Duration;

use super::{Accessors, DURATION, Key, SWITCH, Section, ValueKind, put};
use crate::config::units;
use crate::config::value::{Value, ValueError, quote};
use crate::media::PictureFormat;

const FORMAT: ValueKind = ValueKind { unit: "name", wants: r#""jpeg", "png" or "webp""# };
const HEIGHT: ValueKind = ValueKind { unit: "pixels", wants: "a number from 16 to 4096, such as 480" };
const QUALITY: ValueKind = ValueKind { unit: "quality", wants: "a number from 1 to 100, such as 85" };
const MEMORY: ValueKind = ValueKind { unit: "size", wants: r#"a size such as "1GiB""# };

/// With less no decoder of a common size opens.
const LEAST_MEMORY_BYTES: u64 = 1 << 20;

pub(super) static KEYS: [Key; 8] = [
    Key::new(
        Section::Pictures,
        "poster",
        SWITCH,
        Accessors::Whole(|c, v| put(&mut c.pictures.poster, v.boolean()), |c| Some(c.pictures.poster.to_string())),
        "Make a poster of each finished recording, in `previews/` beside it, unless the server made one. Uploaded with \
         bit 4 of upload_extensions.",
    )
    .or("true"),
    Key::new(
        Section::Pictures,
        "format",
        FORMAT,
        Accessors::Whole(
            |c, v| put(&mut c.pictures.format, v.choice(&PictureFormat::ALL.map(|f| (f.name(), f)))),
            |c| Some(quote(c.pictures.format.name())),
        ),
        "Format of the poster.",
    )
    .or(r#""jpeg""#),
    Key::new(
        Section::Pictures,
        "height",
        HEIGHT,
        Accessors::Whole(|c, v| put(&mut c.pictures.height, height(v)), |c| Some(c.pictures.height.to_string())),
        "Height of the poster; recordings with fewer lines get fewer.",
    )
    .or("480"),
    Key::new(
        Section::Pictures,
        "quality",
        QUALITY,
        Accessors::Whole(|c, v| put(&mut c.pictures.quality, quality(v)), |c| Some(c.pictures.quality.to_string())),
        "Quality of a JPEG or WebP poster, 100 is best.",
    )
    .or("85"),
    Key::new(
        Section::Pictures,
        "sprite",
        SWITCH,
        Accessors::Whole(|c, v| put(&mut c.pictures.sprite, v.boolean()), |c| Some(c.pictures.sprite.to_string())),
        "Make a sprite sheet with WebVTT of each finished recording with video: small pictures of its keyframes for \
         scrubbing.",
    )
    .or("false"),
    Key::new(
        Section::Pictures,
        "sprite_interval",
        DURATION,
        Accessors::Whole(
            |c, v| put(&mut c.pictures.sprite_interval, interval(v)),
            |c| Some(quote(&units::show_duration(c.pictures.sprite_interval))),
        ),
        "Time that each picture of the sheet stands for; longer if there were more than 600.",
    )
    .or(r#""10s""#),
    Key::new(
        Section::Pictures,
        "timeout",
        DURATION,
        Accessors::Whole(
            |c, v| put(&mut c.pictures.timeout, interval(v)),
            |c| Some(quote(&units::show_duration(c.pictures.timeout))),
        ),
        "CPU time that the decoder process may take for one picture; it may take five times as much wall-clock time.",
    )
    .or(r#""60s""#),
    Key::new(
        Section::Pictures,
        "memory",
        MEMORY,
        Accessors::Whole(
            |c, v| put(&mut c.pictures.memory_bytes, memory(v)),
            |c| Some(quote(&units::show_size(c.pictures.memory_bytes))),
        ),
        "Memory limit of the decoder process, beyond its libraries. 8K recordings need about 2GiB.",
    )
    .or(r#""1GiB""#),
];

fn height(value: &Value) -> Result<u32, ValueError> {
    let height = value.count()?;
    let height = u32::try_from(height).ok().filter(|height| (16..=4_096).contains(height));
    height.ok_or_else(|| ValueError::meaning("it is not between 16 and 4096"))
}

fn quality(value: &Value) -> Result<u8, ValueError> {
    let quality = value.count()?;
    let quality = u8::try_from(quality).ok().filter(|quality| (1..=100).contains(quality));
    quality.ok_or_else(|| ValueError::meaning("it is not between 1 and 100"))
}

fn interval(value: &Value) -> Result<Duration, ValueError> {
    let interval = value.some_duration()?;
    if interval < Duration::from_secs(1) { Err(ValueError::meaning("it is shorter than 1s")) } else { Ok(interval) }
}

fn memory(value: &Value) -> Result<u64, ValueError> {
    let bytes = value.size()?;
    if bytes < LEAST_MEMORY_BYTES { Err(ValueError::meaning("it is less than 1MiB")) } else { Ok(bytes) }
}
