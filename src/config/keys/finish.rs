//! Keys of `[finish]`.

use jiff::tz::TimeZone;

use super::{Accessors, COUNT, Key, SWITCH, Section, ValueKind, put};
use crate::config::moment;
use crate::config::template;
use crate::config::value::{Value, ValueError, quote};
use crate::finish::{SalvageInPlace, SpliceMode, ValidationLevel};
use crate::recording::name::format_time;

const VALIDATE: ValueKind = ValueKind { unit: "name", wants: r#""structure", "packets" or "decode""# };
const SPLICE: ValueKind =
    ValueKind { unit: "name", wants: r#""auto", "insert_range", "reflink", "copy_range" or "copy""# };
const SALVAGE: ValueKind = ValueKind { unit: "name", wants: r#""when_full", "never" or "always""# };
const SUBFOLDER: ValueKind =
    ValueKind { unit: "relative path", wants: r#"a path below the recording such as "vod" or "{stream}/{date}""# };
const NICE: ValueKind = ValueKind { unit: "niceness", wants: "a number from 0 to 19" };
const PATTERN: ValueKind =
    ValueKind { unit: "strftime pattern", wants: r#"a strftime pattern such as "_%Y-%m-%d_%H-%M-%S""# };
const ZONE: ValueKind =
    ValueKind { unit: "time zone", wants: r#""local", "UTC" or an IANA name such as "Europe/Berlin""# };

pub(super) static KEYS: [Key; 12] = [
    Key::new(
        Section::Finish,
        "mp4_muxing_enabled",
        SWITCH,
        Accessors::Whole(
            |c, v| put(&mut c.finish.mp4_muxing_enabled, v.boolean()),
            |c| Some(c.finish.mp4_muxing_enabled.to_string()),
        ),
        "Convert other containers to MP4 if every track fits. MP4, MOV and WebM keep their container.",
    )
    .also(&["mp4MuxingEnabled"])
    .or("true"),
    Key::new(
        Section::Finish,
        "webm_muxing_enabled",
        SWITCH,
        Accessors::Whole(
            |c, v| put(&mut c.finish.webm_muxing_enabled, v.boolean()),
            |c| Some(c.finish.webm_muxing_enabled.to_string()),
        ),
        "Convert other containers to WebM if every track fits and no MP4 was made. If neither fits: Matroska. If that does not fit either, or both are off: the source container.",
    )
    .also(&["webMMuxingEnabled"])
    .or("false"),
    Key::new(
        Section::Finish,
        "add_date_time_to_mp4_file_name",
        SWITCH,
        Accessors::Whole(
            |c, v| put(&mut c.finish.add_date_time_to_mp4_file_name, v.boolean()),
            |c| Some(c.finish.add_date_time_to_mp4_file_name.to_string()),
        ),
        "Add the start time of the recording to names that have no date.",
    )
    .also(&["addDateTimeToMp4FileName"])
    .or("false"),
    Key::new(
        Section::Finish,
        "date_pattern",
        PATTERN,
        Accessors::Whole(|c, v| put(&mut c.finish.date_pattern, date_pattern(v)), |c| Some(quote(&c.finish.date_pattern))),
        "Format of that date; \"-%Y-%m-%d_%H-%M-%S%.3f\" is Ant Media's own.",
    )
    .or(r#""_%Y-%m-%d_%H-%M-%S""#),
    Key::new(
        Section::Finish,
        "recording_subfolder",
        SUBFOLDER,
        Accessors::Whole(
            |c, v| put(&mut c.finish.recording_subfolder, subfolder(v)),
            |c| Some(quote(&c.finish.recording_subfolder)),
        ),
        "Directory for finished files, below the recording's directory; {stream} and {date} are replaced.",
    )
    .also(&["recordingSubfolder"])
    .or(r#""""#),
    Key::new(
        Section::Finish,
        "time_zone",
        ZONE,
        Accessors::Whole(
            |c, v| put(&mut c.finish.time_zone, zone(v)),
            |c| Some(quote(&moment::zone_name(&c.finish.time_zone))),
        ),
        "Time zone of dates in names: local, UTC, or an IANA name. The catalogue and JSON always use UTC.",
    )
    .or(r#""local""#),
    Key::new(
        Section::Finish,
        "validate",
        VALIDATE,
        Accessors::Whole(
            |c, v| put(&mut c.finish.validate, v.choice(&ValidationLevel::ALL.map(|v| (v.name(), v)))),
            |c| Some(quote(c.finish.validate.name())),
        ),
        "How a recording is validated: structure (its tables), packets (all packets are read), decode (all packets \
         are decoded; errors that a decoder reports or conceals are the defect `undecodable`).",
    )
    .or(r#""structure""#),
    Key::new(
        Section::Finish,
        "splice",
        SPLICE,
        Accessors::Whole(
            |c, v| put(&mut c.finish.splice, v.choice(&SpliceMode::ALL.map(|s| (s.name(), s)))),
            |c| Some(quote(c.finish.splice.name())),
        ),
        "How the header of an MP4 is moved to the front: auto, in place (insert_range), or in a new file beside it \
         (reflink, copy_range, copy).",
    )
    .or(r#""auto""#),
    Key::new(
        Section::Finish,
        "salvage_in_place",
        SALVAGE,
        Accessors::Whole(
            |c, v| put(&mut c.finish.salvage_in_place, v.choice(&SalvageInPlace::ALL.map(|s| (s.name(), s)))),
            |c| Some(quote(c.finish.salvage_in_place.name())),
        ),
        "When the header of a crashed MP4 is added in place: when_full (no space for a copy), never, always. See \
         recover --undo.",
    )
    .or(r#""when_full""#),
    Key::new(
        Section::Finish,
        "keep_original",
        SWITCH,
        Accessors::Whole(
            |c, v| put(&mut c.finish.keep_original, v.boolean()),
            |c| Some(c.finish.keep_original.to_string()),
        ),
        "true: x.flv is kept beside x.mp4, and nothing is finished in place.",
    )
    .or("false"),
    Key::new(
        Section::Finish,
        "jobs",
        COUNT,
        Accessors::Whole(|c, v| put(&mut c.finish.jobs, v.count()), |c| Some(c.finish.jobs.to_string())),
        "Threads that finish recordings; 0: all cores but one in `watch`, all cores in other commands if `background_nice` is above 0.",
    )
    .or("0"),
    Key::new(
        Section::Finish,
        "background_nice",
        NICE,
        Accessors::Whole(
            |c, v| put(&mut c.finish.background_nice, nice(v)),
            |c| Some(c.finish.background_nice.to_string()),
        ),
        "Lower CPU and I/O priority for the backlog and for salvage, as with nice(1). 0: the same priority as \
         recordings that have just ended.",
    )
    .or("10"),
];

fn date_pattern(value: &Value) -> Result<String, ValueError> {
    let pattern = value.filled_text()?;
    let formatted = format_time(0, &TimeZone::UTC, &pattern);
    match formatted {
        Some(date) if date != pattern && !date.contains('/') => Ok(pattern),
        Some(date) if date.contains('/') => {
            Err(ValueError::meaning("it must not contain `/`, which would create directories"))
        }
        Some(_) => Err(ValueError::meaning("it contains no date")),
        None => Err(ValueError::meaning(format!("`{pattern}` is not a strftime pattern"))),
    }
}

fn subfolder(value: &Value) -> Result<String, ValueError> {
    let text = value.text()?;
    if text.starts_with('/') || text.split('/').any(|part| part == "..") {
        return Err(ValueError::meaning("it leads out of the recording's directory"));
    }
    template::check_subfolder(text).map_err(ValueError::Meaning)?;
    Ok(text.trim_end_matches('/').to_owned())
}

fn nice(value: &Value) -> Result<u8, ValueError> {
    let nice = value.count()?;
    u8::try_from(nice).ok().filter(|nice| *nice <= 19).ok_or_else(|| ValueError::meaning("it is above 19"))
}

fn zone(value: &Value) -> Result<TimeZone, ValueError> {
    let name = value.filled_text()?;
    moment::zone(&name).ok_or_else(|| ValueError::Meaning(format!("`{name}` is not a known time zone")))
}
