//! Keys of `[announce]`, `[[announce.webhook]]` and `[[announce.command]]`.

use super::{Accessors, DURATION, Key, SWITCH, Section, ValueKind, put, secret};
use crate::announce::{BodyFormat, Signature};
use crate::config::address;
use crate::config::units;
use crate::config::value::{Value, ValueError, absolute, quote, quote_list};

const NAME: ValueKind =
    ValueKind { unit: "name", wants: r#"a name of letters, digits, `-`, `_` and `.`, such as "site""# };
const URL: ValueKind = ValueKind { unit: "URL", wants: r#"a URL such as "https://site.example/hooks/aftercast""# };
const TYPES: ValueKind =
    ValueKind { unit: "list of patterns", wants: r#"a list such as ["recording.*", "vod.available"]"# };
const STREAMS: ValueKind = ValueKind { unit: "list of patterns", wants: r#"a list such as ["studio-1", "court-*"]"# };
const FORMAT: ValueKind = ValueKind { unit: "name", wants: r#""json", "form" or "antmedia""# };
const SIGNATURE: ValueKind = ValueKind { unit: "name", wants: r#""standard" or "ams""# };
const SECRET: ValueKind = ValueKind {
    unit: "absolute path or env:NAME",
    wants: r#"an absolute path such as "/etc/aftercast/hook-secret", or "env:HOOK_SECRET""#,
};
const COMMAND: ValueKind = ValueKind {
    unit: "list",
    wants: r#"a program by its absolute path and its arguments, such as ["/usr/local/bin/hook", "{path}"]"#,
};
const RUNS: ValueKind = ValueKind { unit: "count", wants: "a whole number above 0, such as 2" };

pub(super) static KEYS: [Key; 16] = [
    Key::new(
        Section::Announce,
        "hold",
        DURATION,
        Accessors::Whole(
            |c, v| put(&mut c.announce.hold, v.duration()),
            |c| Some(quote(&units::show_duration(c.announce.hold))),
        ),
        "How long a local file is not freed because a command or an \"antmedia\" webhook has not taken an event of its VoD; then it is freed with a warning.",
    )
    .or(r#""24h""#),
    Key::new(
        Section::Webhook,
        "name",
        NAME,
        Accessors::Webhook(|w, v| put(&mut w.name, super::deliver::name(v)), |w| Some(quote(&w.name))),
        "Its name in logs and commands; its place in the event log is kept under it.",
    )
    .like(r#""site""#),
    Key::new(
        Section::Webhook,
        "url",
        URL,
        Accessors::Webhook(
            |w, v| put(&mut w.url, v.filled_text().and_then(|text| address::webhook(&text).map_err(ValueError::Meaning))),
            |w| Some(quote(&address::without_query(&w.url))),
        ),
        "Where events are sent by POST; redirects are not followed. Private addresses are allowed.",
    )
    .like(r#""https://site.example/hooks/aftercast""#),
    Key::new(
        Section::Webhook,
        "types",
        TYPES,
        Accessors::Webhook(|w, v| put(&mut w.types, patterns(v)), |w| Some(quote_list(&w.types))),
        "Types of events, with `*` and `?`. Empty: recording.finished, recording.salvaged, recording.quarantined, vod.available, vod.deleted, delivery.failed, target.paused and local.freed; with \"antmedia\" the first two.",
    )
    .or("[]"),
    Key::new(
        Section::Webhook,
        "streams",
        STREAMS,
        Accessors::Webhook(|w, v| put(&mut w.streams, patterns(v)), |w| Some(quote_list(&w.streams))),
        "Ids of streams, with `*` and `?`. Empty: all, and events of no stream.",
    )
    .or("[]"),
    Key::new(
        Section::Webhook,
        "format",
        FORMAT,
        Accessors::Webhook(|w, v| put(&mut w.format, v.choice(&FORMATS)), |w| Some(quote(name_in(&FORMATS, w.format)))),
        "Body of a request: the event as JSON, as a form, or as Ant Media's vodReady.",
    )
    .or(r#""json""#),
    Key::new(
        Section::Webhook,
        "extra_keys",
        SWITCH,
        Accessors::Webhook(|w, v| put(&mut w.extra_keys, v.boolean()), |w| Some(w.extra_keys.to_string())),
        "Whether vodReady also has streamId, vodSize and, with vod.available, url; Ant Media does not send them.",
    )
    .or("false"),
    Key::new(
        Section::Webhook,
        "timeout",
        DURATION,
        Accessors::Webhook(
            |w, v| put(&mut w.timeout, v.some_duration()),
            |w| Some(quote(&units::show_duration(w.timeout))),
        ),
        "How long a request may take.",
    )
    .or(r#""10s""#),
    Key::new(
        Section::Webhook,
        "secret_file",
        SECRET,
        Accessors::Webhook(
            |w, v| put(&mut w.secret_file, secret(v).map(Some)),
            |w| w.secret_file.as_ref().map(|from| quote(&from.to_string_lossy())),
        ),
        "File (or env:NAME) with the secret that requests are signed with; what follows `whsec_` in it is base64. Without: not signed.",
    )
    .like(r#""/etc/aftercast/hook-secret""#),
    Key::new(
        Section::Webhook,
        "signature",
        SIGNATURE,
        Accessors::Webhook(
            |w, v| put(&mut w.signature, v.choice(&SIGNATURES)),
            |w| Some(quote(name_in(&SIGNATURES, w.signature))),
        ),
        "Headers of the signature: Standard Webhooks, or X-Ams-Signature with the HMAC-SHA256 of the body.",
    )
    .or(r#""standard""#),
    Key::new(
        Section::Command,
        "name",
        NAME,
        Accessors::Command(|c, v| put(&mut c.name, super::deliver::name(v)), |c| Some(quote(&c.name))),
        "Its name in logs and commands; its place in the event log is kept under it.",
    )
    .like(r#""index""#),
    Key::new(
        Section::Command,
        "command",
        COMMAND,
        Accessors::Command(|c, v| put(&mut c.command, command(v)), |c| Some(quote_list(&c.command))),
        "Program and arguments, without a shell. An argument {event}, {path}, {stream}, {vod_id} or {url} becomes that value.",
    )
    .like(r#"["/usr/local/bin/on-recording", "{path}"]"#),
    Key::new(
        Section::Command,
        "types",
        TYPES,
        Accessors::Command(|c, v| put(&mut c.types, patterns(v)), |c| Some(quote_list(&c.types))),
        "Types of events, with `*` and `?`. Empty: as for webhooks.",
    )
    .or("[]"),
    Key::new(
        Section::Command,
        "streams",
        STREAMS,
        Accessors::Command(|c, v| put(&mut c.streams, patterns(v)), |c| Some(quote_list(&c.streams))),
        "Ids of streams, with `*` and `?`. Empty: all, and events of no stream.",
    )
    .or("[]"),
    Key::new(
        Section::Command,
        "timeout",
        DURATION,
        Accessors::Command(
            |c, v| put(&mut c.timeout, v.some_duration()),
            |c| Some(quote(&units::show_duration(c.timeout))),
        ),
        "How long a run may take; then it is killed with all that it has started.",
    )
    .or(r#""5m""#),
    Key::new(
        Section::Command,
        "concurrency",
        RUNS,
        Accessors::Command(|c, v| put(&mut c.concurrency, some(v)), |c| Some(c.concurrency.to_string())),
        "Runs at once, each for another recording.",
    )
    .or("2"),
];

const FORMATS: [(&str, BodyFormat); 3] =
    [("json", BodyFormat::Json), ("form", BodyFormat::Form), ("antmedia", BodyFormat::AntMedia)];
const SIGNATURES: [(&str, Signature); 2] = [("standard", Signature::Standard), ("ams", Signature::Ams)];

fn name_in<T: Copy + PartialEq>(names: &[(&'static str, T)], wanted: T) -> &'static str {
    names.iter().find(|(_, value)| *value == wanted).map_or("", |(name, _)| name)
}

fn patterns(value: &Value) -> Result<Vec<String>, ValueError> {
    let patterns = value.list()?;
    let is_empty = patterns.iter().any(|pattern| pattern.trim().is_empty());
    if is_empty { Err(ValueError::meaning("a pattern in it is empty")) } else { Ok(patterns) }
}

fn command(value: &Value) -> Result<Vec<String>, ValueError> {
    let words = value.list()?;
    match words.first() {
        None => Err(ValueError::meaning("it is empty")),
        Some(program) => absolute(program).map(|_| words.clone()),
    }
}

fn some(value: &Value) -> Result<usize, ValueError> {
    let count = value.count()?;
    if count > 0 { Ok(count) } else { Err(ValueError::Kind("`0`".to_owned())) }
}
