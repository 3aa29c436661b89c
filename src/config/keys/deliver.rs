//! Keys of `[deliver]`, `[[deliver.target]]` and `[retain]`.

use std::collections::BTreeMap;
use std::path::PathBuf;

use super::{Access, COUNT, Key, SWITCH, Section, Shape, put};
use crate::config::address;
use crate::config::units;
use crate::config::value::{Value, Wrong, absolute, quote, quote_table};
use crate::deliver::TargetOptions;
use crate::recording::{KeyPattern, Kinds};
use crate::retain::DeleteLocal;

const MASK: Shape =
    Shape { unit: "bitmask or names", wants: r#"a number from 0 to 63 or a list such as ["mp4", "hls", "previews"]"# };
const URL: Shape = Shape {
    unit: "URL",
    wants: r#"a URL such as "s3://bucket/prefix", "az://container/prefix", "gs://bucket/prefix" or "file:///path""#,
};
const ENDPOINT: Shape = Shape { unit: "URL", wants: r#"a URL with its scheme such as "https://minio.example:9000""# };
const NAME: Shape = Shape { unit: "name", wants: r#"a name of letters, digits, `-`, `_` and `.`, such as "primary""# };
const KEY: Shape = Shape { unit: "pattern", wants: r#"a pattern such as "{path}" or "{stream}/{date}/{name}.{ext}""# };
const TABLE: Shape = Shape { unit: "table of texts", wants: r#"a table such as { team = "news" }"# };
const FILES: Shape = Shape {
    unit: "table of absolute paths",
    wants: r#"a table such as { secret_access_key_file = "/etc/aftercast/secret", access_key_id = "env:KEY_ID" }"#,
};
const DELETE: Shape = Shape {
    unit: "name, duration or table",
    wants: r#""never", "delivered", a duration such as "24h", or { below_free = "50GiB" }"#,
};

const fn text(wants: &'static str) -> Shape {
    Shape { unit: "text", wants }
}

pub(super) static KEYS: [Key; 14] = [
    Key::new(
        Section::Deliver,
        "upload_extensions",
        MASK,
        Access::Whole(
            |c, v| put(&mut c.deliver.upload_extensions, kinds(v)),
            |c| Some(c.deliver.upload_extensions.bits().to_string()),
        ),
        "Sum of 1 finished recordings, 2 HLS, 4 previews, 8 DASH, 16 kept originals, 32 sidecars; or names. For every store.",
    )
    .also(&["uploadExtensionsToS3", "upload_extensions_to_s3"])
    .or("7"),
    Key::new(
        Section::Deliver,
        "concurrency",
        COUNT,
        Access::Whole(|c, v| put(&mut c.deliver.concurrency, v.count()), |c| Some(c.deliver.concurrency.to_string())),
        "Uploads at once over all targets; 0: 4.",
    )
    .or("0"),
    Key::new(
        Section::Target,
        "name",
        NAME,
        Access::Target(|t, v| put(&mut t.name, name(v)), |t| Some(quote(&t.name))),
        "Its name in records, logs and commands; keep it when the rest changes.",
    )
    .like(r#""primary""#),
    Key::new(
        Section::Target,
        "url",
        URL,
        Access::Target(set_url, |t| Some(quote(&t.url))),
        "s3://bucket/prefix, az://container/prefix, gs://bucket/prefix or file:///path; credentials never in it.",
    )
    .like(r#""s3://bucket/streams""#),
    Key::new(
        Section::Target,
        "required",
        SWITCH,
        Access::Target(|t, v| put(&mut t.required, v.boolean()), |t| Some(t.required.to_string())),
        "Whether \"delivered\" needs this target.",
    )
    .or("true"),
    Key::new(
        Section::Target,
        "key",
        KEY,
        Access::Target(|t, v| put(&mut t.key, key(v)), |t| Some(quote(t.key.as_str()))),
        "Object key below the prefix, from {path} {root} {stream} {date} {name} {ext} {vod_id}.",
    )
    .or(r#""{path}""#),
    Key::new(
        Section::Target,
        "endpoint",
        ENDPOINT,
        Access::Target(|t, v| put(&mut t.endpoint, endpoint(v).map(Some)), |t| t.endpoint.as_deref().map(quote)),
        "Of an S3 compatible store or an emulator, with its scheme.",
    )
    .like(r#""https://minio.example:9000""#),
    Key::new(
        Section::Target,
        "region",
        text(r#"text in quotes, such as "eu-central-1""#),
        Access::Target(|t, v| put(&mut t.region, v.filled_text().map(Some)), |t| t.region.as_deref().map(quote)),
        "Region; without: AWS_REGION, or us-east-1 where an endpoint is given.",
    )
    .like(r#""eu-central-1""#),
    Key::new(
        Section::Target,
        "path_style",
        SWITCH,
        Access::Target(|t, v| put(&mut t.path_style, v.boolean().map(Some)), |t| t.path_style.map(|p| p.to_string())),
        "Bucket in the path instead of the host name; without: true where an endpoint is given.",
    )
    .like("true"),
    Key::new(
        Section::Target,
        "storage_class",
        text(r#"text in quotes, such as "STANDARD_IA""#),
        Access::Target(
            |t, v| put(&mut t.storage_class, v.filled_text().map(Some)),
            |t| t.storage_class.as_deref().map(quote),
        ),
        "Storage class or access tier of new objects; without: the bucket's.",
    )
    .like(r#""STANDARD_IA""#),
    Key::new(
        Section::Target,
        "cache_control",
        text(r#"text in quotes, such as "max-age=86400""#),
        Access::Target(
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
        Access::Target(
            |t, v| put(&mut t.content_type, v.filled_text().map(Some)),
            |t| t.content_type.as_deref().map(quote),
        ),
        "Content type of every object; without: by its extension.",
    )
    .like(r#""video/mp4""#),
    Key::new(
        Section::Target,
        "metadata",
        TABLE,
        Access::Target(|t, v| put(&mut t.metadata, metadata(v)), |t| {
            (!t.metadata.is_empty()).then(|| quote_table(t.metadata.iter().map(|(k, v)| (k.as_str(), v.clone()))))
        }),
        "User metadata of new objects.",
    )
    .like(r#"{ team = "news" }"#),
    Key::new(
        Section::Target,
        "credential_files",
        FILES,
        Access::Target(|t, v| put(&mut t.credential_files, credential_files(v)), show_credential_files),
        "Files that hold the credentials (or env:NAME), instead of the environment and the cloud's own chain.",
    )
    .like(r#"{ access_key_id_file = "/etc/aftercast/key-id", secret_access_key_file = "/etc/aftercast/secret" }"#),
];

pub(super) static RETAIN: [Key; 1] = [Key::new(
    Section::Retain,
    "delete_local",
    DELETE,
    Access::Whole(|c, v| put(&mut c.retain.delete_local, delete_local(v)), |c| Some(show_delete_local(c.retain.delete_local))),
    "When a delivered and proven local file is freed: never, delivered, \"24h\" after delivery, or { below_free = \"50GiB\" }.",
)
.or(r#""never""#)];

fn kinds(value: &Value) -> Result<Kinds, Wrong> {
    let meaning = |why: crate::recording::KindsError| Wrong::Meaning(why.to_string());
    match value.integer() {
        Ok(bits) => Kinds::from_bits(bits).map_err(meaning),
        Err(_) => Kinds::from_names(&value.list()?).map_err(meaning),
    }
}

fn name(value: &Value) -> Result<String, Wrong> {
    let name = value.filled_text()?;
    let is_plain = name.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c));
    if is_plain { Ok(name) } else { Err(Wrong::Kind(format!("`{name}`"))) }
}

fn set_url(target: &mut TargetOptions, value: &Value) -> Result<(), Wrong> {
    target.url = address::target_url(&value.filled_text()?).map_err(Wrong::Meaning)?;
    Ok(())
}

fn endpoint(value: &Value) -> Result<String, Wrong> {
    address::endpoint(&value.filled_text()?).map_err(Wrong::Meaning)
}

fn key(value: &Value) -> Result<KeyPattern, Wrong> {
    KeyPattern::parse(&value.filled_text()?).map_err(|why| Wrong::Meaning(why.to_string()))
}

fn metadata(value: &Value) -> Result<BTreeMap<String, String>, Wrong> {
    let table = value.table()?;
    let is_header = |key: &str| !key.is_empty() && key.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_".contains(&b));
    match table.keys().find(|key| !is_header(key)) {
        Some(key) => {
            Err(Wrong::meaning(format!("`{key}` cannot be the name of metadata: use letters, digits, `-`, `_`")))
        }
        None => Ok(table),
    }
}

/// Each is an absolute path, or `env:NAME` for an environment variable.
fn credential_files(value: &Value) -> Result<BTreeMap<String, PathBuf>, Wrong> {
    let is_name = |name: &str| !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
    let place = |text: &str| match text.strip_prefix("env:") {
        Some(name) if is_name(name) => Ok(PathBuf::from(text)),
        Some(_) => Err(Wrong::meaning("`env:` is followed by the name of an environment variable")),
        None => absolute(text)
            .map_err(|_| Wrong::meaning("each is an absolute path or `env:NAME`, never the secret itself")),
    };
    value.table()?.into_iter().map(|(key, text)| Ok((key, place(&text)?))).collect()
}

fn show_credential_files(target: &TargetOptions) -> Option<String> {
    let files = target.credential_files.iter().map(|(key, path)| (key.as_str(), path.to_string_lossy().into_owned()));
    (!target.credential_files.is_empty()).then(|| quote_table(files))
}

fn delete_local(value: &Value) -> Result<DeleteLocal, Wrong> {
    match value {
        Value::Raw(text) if text.trim_start().starts_with('{') => {
            delete_local(&crate::config::document::parse_value(text)?)
        }
        Value::Table(entries) => match entries.as_slice() {
            [entry] if entry.key == "below_free" => entry.value.size().map(DeleteLocal::BelowFree),
            _ => Err(Wrong::meaning("a table here holds `below_free` and nothing else")),
        },
        _ => match value.text()?.trim() {
            "never" => Ok(DeleteLocal::Never),
            "delivered" => Ok(DeleteLocal::Delivered),
            text if text.starts_with(|c: char| c.is_ascii_digit()) => value.duration().map(DeleteLocal::After),
            text => Err(Wrong::Kind(format!("`{text}`"))),
        },
    }
}

fn show_delete_local(policy: DeleteLocal) -> String {
    match policy {
        DeleteLocal::Never => quote("never"),
        DeleteLocal::Delivered => quote("delivered"),
        DeleteLocal::After(delay) => quote(&units::show_duration(delay)),
        DeleteLocal::BelowFree(bytes) => quote_table([("below_free", units::show_size(bytes))]),
    }
}
