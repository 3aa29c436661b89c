//! Keys of `[deliver]`, `[[deliver.target]]` and `[retain]`.

use std::collections::BTreeMap;
use std::path::PathBuf;

use super::{Accessors, COUNT, DURATION, Key, SWITCH, Section, ValueKind, put};
use crate::config::address;
use crate::config::units;
use crate::config::value::{Value, ValueError, quote, quote_list, quote_table, secret_place};
use crate::deliver::{Bandwidth, ChecksumMode, Encryption, TargetOptions};
use crate::recording::{KeyPattern, Kinds};
use crate::retain::DeleteLocal;

const MASK: ValueKind = ValueKind {
    unit: "bitmask or names",
    wants: r#"a number from 0 to 63 or a list such as ["mp4", "hls", "previews"]"#,
};
const URL: ValueKind = ValueKind {
    unit: "URL",
    wants: r#"a URL such as "s3://bucket/prefix", "az://container/prefix", "gs://bucket/prefix" or "file:///path""#,
};
const ENDPOINT: ValueKind =
    ValueKind { unit: "URL", wants: r#"a URL with its scheme such as "https://minio.example:9000""# };
const NAME: ValueKind =
    ValueKind { unit: "name", wants: r#"a name of letters, digits, `-`, `_` and `.`, such as "primary""# };
const KEY: ValueKind =
    ValueKind { unit: "pattern", wants: r#"a pattern such as "{path}" or "{stream}/{date}/{name}.{ext}""# };
const TABLE: ValueKind = ValueKind { unit: "table of strings", wants: r#"a table such as { team = "news" }"# };
const FILES: ValueKind = ValueKind {
    unit: "table of absolute paths",
    wants: r#"a table such as { secret_access_key_file = "/etc/aftercast/secret", access_key_id = "env:KEY_ID" }"#,
};
const ENCRYPTION: ValueKind = ValueKind {
    unit: "name",
    wants: r#""bucket", "sse-s3", "kms", or "kms:" and the key, such as "kms:alias/recordings""#,
};
const CHECKSUM: ValueKind = ValueKind { unit: "name", wants: r#""auto", "crc64nvme", "sha256", "md5" or "none""# };
const PART: ValueKind = ValueKind { unit: "size", wants: r#"a size from "5MiB" to "5GiB""# };
const BANDWIDTH: ValueKind =
    ValueKind { unit: "rate or timetable", wants: r#""10M" or a timetable such as "08:00,2M 19:00,off""# };
const STREAMS: ValueKind = ValueKind { unit: "list of names", wants: r#"a list such as ["studio-1", "court-*"]"# };
const DELETE: ValueKind = ValueKind {
    unit: "name, duration or table",
    wants: r#""never", "delivered", a duration such as "24h", { below_free = "50GiB" } or { max_bytes = "2TiB" }"#,
};

const fn text(wants: &'static str) -> ValueKind {
    ValueKind { unit: "text", wants }
}

pub(super) static KEYS: [Key; 22] = [
    Key::new(
        Section::Deliver,
        "upload_extensions",
        MASK,
        Accessors::Whole(
            |c, v| put(&mut c.deliver.upload_extensions, kinds(v)),
            |c| Some(c.deliver.upload_extensions.bits().to_string()),
        ),
        "Kinds of files to upload: the sum of 1 (finished recordings), 2 (HLS), 4 (previews), 8 (DASH), 16 (kept \
         originals), 32 (sidecars: `x.json` is written beside `x.mp4`), or a list of names. For every store.",
    )
    .also(&["uploadExtensionsToS3", "upload_extensions_to_s3"])
    .or("7"),
    Key::new(
        Section::Deliver,
        "concurrency",
        COUNT,
        Accessors::Whole(|c, v| put(&mut c.deliver.concurrency, v.count()), |c| Some(c.deliver.concurrency.to_string())),
        "Concurrent uploads over all targets; each target leaves one to every other target. 0: 4 per target. Above \
         4, each upload needs 8 MiB of memory.",
    )
    .or("0"),
    Key::new(
        Section::Target,
        "name",
        NAME,
        Accessors::Target(|t, v| put(&mut t.name, name(v)), |t| Some(quote(&t.name))),
        "Name of the target in records, logs and commands. Keep it when other settings change.",
    )
    .like(r#""primary""#),
    Key::new(
        Section::Target,
        "url",
        URL,
        Accessors::Target(set_url, |t| Some(quote(&t.url))),
        "s3://bucket/prefix, az://container/prefix, gs://bucket/prefix or file:///path. Must not contain credentials.",
    )
    .like(r#""s3://bucket/streams""#),
    Key::new(
        Section::Target,
        "required",
        SWITCH,
        Accessors::Target(|t, v| put(&mut t.required, v.boolean()), |t| Some(t.required.to_string())),
        "Whether a recording must be in this target to count as \"delivered\".",
    )
    .or("true"),
    Key::new(
        Section::Target,
        "key",
        KEY,
        Accessors::Target(|t, v| put(&mut t.key, key(v)), |t| Some(quote(t.key.as_str()))),
        "Object key below the prefix, from {path} {root} {stream} {date} {name} {ext} {vod_id}.",
    )
    .or(r#""{path}""#),
    Key::new(
        Section::Target,
        "endpoint",
        ENDPOINT,
        Accessors::Target(|t, v| put(&mut t.endpoint, endpoint(v).map(Some)), |t| t.endpoint.as_deref().map(quote)),
        "Endpoint of an S3-compatible store or an emulator, with its scheme.",
    )
    .like(r#""https://minio.example:9000""#),
    Key::new(
        Section::Target,
        "region",
        text(r#"text in quotes, such as "eu-central-1""#),
        Accessors::Target(|t, v| put(&mut t.region, v.filled_text().map(Some)), |t| t.region.as_deref().map(quote)),
        "Region. If not set: AWS_REGION, or us-east-1 if an endpoint is set.",
    )
    .like(r#""eu-central-1""#),
    Key::new(
        Section::Target,
        "path_style",
        SWITCH,
        Accessors::Target(|t, v| put(&mut t.path_style, v.boolean().map(Some)), |t| t.path_style.map(|p| p.to_string())),
        "Put the bucket in the path instead of the host name. If not set: true if an endpoint is set.",
    )
    .like("true"),
    Key::new(
        Section::Target,
        "storage_class",
        text(r#"text in quotes, such as "STANDARD_IA""#),
        Accessors::Target(
            |t, v| put(&mut t.storage_class, v.filled_text().map(Some)),
            |t| t.storage_class.as_deref().map(quote),
        ),
        "Storage class or access tier of new objects. If not set: the bucket's default.",
    )
    .like(r#""STANDARD_IA""#),
    Key::new(
        Section::Target,
        "cache_control",
        text(r#"text in quotes, such as "max-age=86400""#),
        Accessors::Target(
            |t, v| put(&mut t.cache_control, v.filled_text().map(Some)),
            |t| t.cache_control.as_deref().map(quote),
        ),
        "Cache-Control header of new objects.",
    )
    .like(r#""max-age=86400""#),
    Key::new(
        Section::Target,
        "content_type",
        text(r#"text in quotes, such as "video/mp4""#),
        Accessors::Target(
            |t, v| put(&mut t.content_type, v.filled_text().map(Some)),
            |t| t.content_type.as_deref().map(quote),
        ),
        "Content type of every object. If not set: by file extension.",
    )
    .like(r#""video/mp4""#),
    Key::new(
        Section::Target,
        "metadata",
        TABLE,
        Accessors::Target(|t, v| put(&mut t.metadata, metadata(v)), |t| {
            (!t.metadata.is_empty()).then(|| quote_table(t.metadata.iter().map(|(k, v)| (k.as_str(), v.clone()))))
        }),
        "User metadata of new objects.",
    )
    .like(r#"{ team = "news" }"#),
    Key::new(
        Section::Target,
        "tags",
        TABLE,
        Accessors::Target(|t, v| put(&mut t.tags, v.table()), |t| {
            (!t.tags.is_empty()).then(|| quote_table(t.tags.iter().map(|(k, v)| (k.as_str(), v.clone()))))
        }),
        "Tags of new objects (S3, Azure). S3 requires the permission s3:PutObjectTagging.",
    )
    .like(r#"{ retention = "1y" }"#),
    Key::new(
        Section::Target,
        "encryption",
        ENCRYPTION,
        Accessors::Target(|t, v| put(&mut t.encryption, encryption(v)), |t| Some(quote(&show_encryption(&t.encryption)))),
        "Server-side encryption of new objects (S3): the bucket's own setting, SSE-S3, or KMS.",
    )
    .or(r#""bucket""#),
    Key::new(
        Section::Target,
        "acl",
        text(r#"the name of a canned ACL, such as "bucket-owner-full-control""#),
        Accessors::Target(|t, v| put(&mut t.acl, acl(v).map(Some)), |t| t.acl.as_deref().map(quote)),
        "Canned ACL of new objects (S3). If not set: none is sent, as buckets with ACLs disabled require.",
    )
    .like(r#""bucket-owner-full-control""#),
    Key::new(
        Section::Target,
        "checksum",
        CHECKSUM,
        Accessors::Target(|t, v| put(&mut t.checksum, v.choice(&CHECKSUMS)), |t| Some(quote(checksum_name(t.checksum)))),
        "Checksum for comparing the stored copy with the data read from disk (S3). auto: CRC64NVME and any other \
         that the store reports.",
    )
    .or(r#""auto""#),
    Key::new(
        Section::Target,
        "concurrency",
        COUNT,
        Accessors::Target(|t, v| put(&mut t.concurrency, v.count()), |t| Some(t.concurrency.to_string())),
        "Concurrent uploads of parts of one file, or of files of one HLS or DASH directory; memory is reserved for \
         as many parts. 0: 4, or fewer if they do not fit into 32 MiB.",
    )
    .or("0"),
    Key::new(
        Section::Target,
        "part_size",
        PART,
        Accessors::Target(|t, v| put(&mut t.part_bytes, part_size(v)), |t| Some(quote(&units::show_size(t.part_bytes)))),
        "Part size of files above 16 MiB. Increased automatically if 10,000 parts are not enough.",
    )
    .or(r#""8MiB""#),
    Key::new(
        Section::Target,
        "bandwidth",
        BANDWIDTH,
        Accessors::Target(
            |t, v| put(&mut t.bandwidth, bandwidth(v).map(Some)),
            |t| t.bandwidth.as_ref().map(|b| quote(&b.to_string())),
        ),
        "Upload bandwidth limit; M is MiB per second. A timetable uses the format of rclone. If not set: no limit.",
    )
    .like(r#""08:00,2M 19:00,off""#),
    Key::new(
        Section::Target,
        "stall_timeout",
        DURATION,
        Accessors::Target(
            |t, v| put(&mut t.stall_timeout, v.some_duration()),
            |t| Some(quote(&units::show_duration(t.stall_timeout))),
        ),
        "Time without any transferred byte after which a request counts as failed. A slow connection does not \
         count as a stall.",
    )
    .or(r#""60s""#),
    Key::new(
        Section::Target,
        "credential_files",
        FILES,
        Accessors::Target(|t, v| put(&mut t.credential_files, credential_files(v)), show_credential_files),
        "Files that contain the credentials (or env:NAME), instead of the environment and the cloud's own credential chain.",
    )
    .like(r#"{ access_key_id_file = "/etc/aftercast/key-id", secret_access_key_file = "/etc/aftercast/secret" }"#),
];

pub(super) static RETAIN: [Key; 3] = [
    Key::new(
        Section::Retain,
        "delete_local",
        DELETE,
        Accessors::Whole(
            |c, v| put(&mut c.retain.delete_local, delete_local(v)),
            |c| Some(show_delete_local(c.retain.delete_local)),
        ),
        "When a delivered and proven local file is freed: never, delivered, \"24h\" after delivery, { below_free = \"50GiB\" }, or { max_bytes = \"2TiB\" }.",
    )
    .or(r#""never""#),
    Key::new(
        Section::Retain,
        "accept_size_only",
        SWITCH,
        Accessors::Whole(
            |c, v| put(&mut c.retain.accept_size_only, v.boolean()),
            |c| Some(c.retain.accept_size_only.to_string()),
        ),
        "Whether an equal size alone proves a copy in a store that reports no checksum.",
    )
    .or("false"),
    Key::new(
        Section::Retain,
        "protect",
        STREAMS,
        Accessors::Whole(|c, v| put(&mut c.retain.protect, v.list()), |c| Some(quote_list(&c.retain.protect))),
        "Ids of streams whose local files are never freed; a `*` at the end matches any rest.",
    )
    .or("[]"),
];

fn kinds(value: &Value) -> Result<Kinds, ValueError> {
    let meaning = |why: crate::recording::KindsError| ValueError::Meaning(why.to_string());
    match value.integer() {
        Ok(bits) => Kinds::from_bits(bits).map_err(meaning),
        Err(_) => Kinds::from_names(&value.list()?).map_err(meaning),
    }
}

pub(super) fn name(value: &Value) -> Result<String, ValueError> {
    let name = value.filled_text()?;
    let is_plain = name.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c));
    if is_plain { Ok(name) } else { Err(ValueError::Kind(format!("`{name}`"))) }
}

fn set_url(target: &mut TargetOptions, value: &Value) -> Result<(), ValueError> {
    target.url = address::target_url(&value.filled_text()?).map_err(ValueError::Meaning)?;
    Ok(())
}

fn endpoint(value: &Value) -> Result<String, ValueError> {
    address::endpoint(&value.filled_text()?).map_err(ValueError::Meaning)
}

fn key(value: &Value) -> Result<KeyPattern, ValueError> {
    KeyPattern::parse(&value.filled_text()?).map_err(|why| ValueError::Meaning(why.to_string()))
}

fn metadata(value: &Value) -> Result<BTreeMap<String, String>, ValueError> {
    let table = value.table()?;
    let is_header = |key: &str| !key.is_empty() && key.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_".contains(&b));
    match table.keys().find(|key| !is_header(key)) {
        Some(key) => {
            Err(ValueError::meaning(format!("`{key}` is not a valid metadata name: use letters, digits, `-`, `_`")))
        }
        None => Ok(table),
    }
}

fn encryption(value: &Value) -> Result<Encryption, ValueError> {
    let text = value.filled_text()?;
    match (text.as_str(), text.strip_prefix("kms:")) {
        ("bucket", _) => Ok(Encryption::Bucket),
        ("sse-s3", _) => Ok(Encryption::Store),
        ("kms", _) => Ok(Encryption::Kms(None)),
        (_, Some(key)) if !key.is_empty() => Ok(Encryption::Kms(Some(key.to_owned()))),
        _ => Err(ValueError::Kind(format!("`{text}`"))),
    }
}

fn show_encryption(encryption: &Encryption) -> String {
    match encryption {
        Encryption::Bucket => "bucket".to_owned(),
        Encryption::Store => "sse-s3".to_owned(),
        Encryption::Kms(None) => "kms".to_owned(),
        Encryption::Kms(Some(key)) => format!("kms:{key}"),
    }
}

fn acl(value: &Value) -> Result<String, ValueError> {
    let text = value.filled_text()?;
    let is_name = text.bytes().all(|b| b.is_ascii_lowercase() || b == b'-');
    if is_name { Ok(text) } else { Err(ValueError::Kind(format!("`{text}`"))) }
}

const CHECKSUMS: [(&str, ChecksumMode); 5] = [
    ("auto", ChecksumMode::Auto),
    ("crc64nvme", ChecksumMode::Crc64Nvme),
    ("sha256", ChecksumMode::Sha256),
    ("md5", ChecksumMode::Md5),
    ("none", ChecksumMode::None),
];

fn checksum_name(mode: ChecksumMode) -> &'static str {
    CHECKSUMS.iter().find(|(_, m)| *m == mode).map_or("auto", |(name, _)| name)
}

const MIB: u64 = 1024 * 1024;

fn part_size(value: &Value) -> Result<u64, ValueError> {
    let bytes = value.size()?;
    let is_possible = (5 * MIB..=5 * 1024 * MIB).contains(&bytes);
    if is_possible { Ok(bytes) } else { Err(ValueError::meaning("stores accept parts from 5 MiB to 5 GiB")) }
}

fn bandwidth(value: &Value) -> Result<Bandwidth, ValueError> {
    Bandwidth::parse(value.text()?).map_err(ValueError::Meaning)
}

/// Each is an absolute path, or `env:NAME` for an environment variable.
fn credential_files(value: &Value) -> Result<BTreeMap<String, PathBuf>, ValueError> {
    const OTHERWISE: &str = "each value must be an absolute path or `env:NAME`, never the secret itself";
    let place = |(key, text): (String, String)| Ok((key, secret_place(&text, OTHERWISE)?));
    value.table()?.into_iter().map(place).collect()
}

fn show_credential_files(target: &TargetOptions) -> Option<String> {
    let files = target.credential_files.iter().map(|(key, path)| (key.as_str(), path.to_string_lossy().into_owned()));
    (!target.credential_files.is_empty()).then(|| quote_table(files))
}

fn delete_local(value: &Value) -> Result<DeleteLocal, ValueError> {
    match value {
        Value::Raw(text) if text.trim_start().starts_with('{') => {
            delete_local(&crate::config::document::parse_value(text)?)
        }
        Value::Table(entries) => match entries.as_slice() {
            [entry] if entry.key == "below_free" => entry.value.size().map(DeleteLocal::BelowFree),
            [entry] if entry.key == "max_bytes" => entry.value.size().map(DeleteLocal::MaxBytes),
            _ => Err(ValueError::meaning("the table must contain `below_free` or `max_bytes` and nothing else")),
        },
        _ => match value.text()?.trim() {
            "never" => Ok(DeleteLocal::Never),
            "delivered" => Ok(DeleteLocal::Delivered),
            text if text.starts_with(|c: char| c.is_ascii_digit()) => value.duration().map(DeleteLocal::After),
            text => Err(ValueError::Kind(format!("`{text}`"))),
        },
    }
}

fn show_delete_local(policy: DeleteLocal) -> String {
    match policy {
        DeleteLocal::Never => quote("never"),
        DeleteLocal::Delivered => quote("delivered"),
        DeleteLocal::After(delay) => quote(&units::show_duration(delay)),
        DeleteLocal::MaxBytes(bytes) => quote_table([("max_bytes", units::show_size(bytes))]),
        DeleteLocal::BelowFree(bytes) => quote_table([("below_free", units::show_size(bytes))]),
    }
}
