//! `config import-antmedia`: an Ant Media application's `red5-web.properties` to a configuration of ours.
//!
//! What carries over is written as keys, what does not is named with the reason. Keys and secrets are never copied,
//! and no value of a setting that is left out is repeated.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use super::super::value::quote;
use super::super::{address, keys};
use super::properties;
use crate::ingest::IngestError;
use crate::recording::Kinds;
use crate::recording::name::printable;

type Properties = BTreeMap<String, String>;

/// Settings of Ant Media that concern recordings and have no place here, with the reason.
const LEFT_OUT: [(&str, &str); 22] = [
    ("s3AccessKey", "never copied: set AWS_ACCESS_KEY_ID in the environment, or credential_files of the target"),
    ("s3SecretKey", "never copied: set AWS_SECRET_ACCESS_KEY in the environment, or credential_files of the target"),
    ("s3Permission", "no canned ACL is sent: the bucket's policy decides who may read"),
    ("s3PreviewsFolderPath", "previews go under previews/ beside the recording"),
    ("s3TransferBufferSizeInBytes", "uploads use bounded memory at any file size"),
    ("deleteHLSFilesOnEnded", "Ant Media still does it; set it to false there so that aftercast uploads HLS"),
    ("deleteDASHFilesOnEnded", "Ant Media still does it; set it to false there so that aftercast uploads DASH"),
    ("hlsHttpEndpoint", "Ant Media still pushes HLS there itself"),
    ("dashHttpEndpoint", "Ant Media still pushes DASH there itself"),
    ("fileNameFormat", "names are read as Ant Media wrote them, whatever the format"),
    ("subFolder", "directories below the root are kept as they are"),
    ("addDateTimeToHlsFileName", "names of HLS files are kept as they are"),
    ("generatePreview", "previews that Ant Media made are uploaded (bit 4 of upload_extensions)"),
    ("previewFormat", "previews are uploaded as Ant Media made them"),
    (
        "listenerHookURL",
        "Ant Media still calls it; for finished files use [[announce.webhook]] with format = \"antmedia\"",
    ),
    ("webhookRetryCount", "webhooks of aftercast are retried until they are taken"),
    ("webhookRetryDelay", "webhooks of aftercast are retried until they are taken"),
    ("muxerFinishScript", "Ant Media still runs it; for finished files use [[announce.command]]"),
    ("vodUploadFinishScript", "Ant Media still runs it; for uploaded files use [[announce.command]]"),
    ("httpForwardingExtension", "Ant Media still serves playback from the bucket"),
    ("httpForwardingBaseURL", "Ant Media still serves playback from the bucket"),
    ("vodFolder", "add it as a root of its own if recordings are written there"),
];

/// Reads a file and returns the text of a configuration. `path` may be relative; the root is told from where it lies.
pub fn import_antmedia_file(path: &Path) -> Result<String, IngestError> {
    let unreadable = |source| IngestError::Unreadable { path: path.to_owned(), source };
    let whole = std::fs::canonicalize(path).map_err(unreadable)?;
    let bytes = std::fs::read(&whole).map_err(unreadable)?;
    Ok(import_antmedia(&properties::decode(bytes), &whole))
}

/// Turns the text of a `red5-web.properties` at an absolute path into the text of a configuration.
pub fn import_antmedia(text: &str, path: &Path) -> String {
    let read = without_prefix(properties::parse(text));
    let mut draft = Draft { read: &read, text: String::new() };
    let _ = writeln!(draft.text, "# From {}", printable(path));
    draft.watch(streams_of(path).as_deref());
    draft.finish();
    draft.deliver();
    draft.left_out();
    draft.text
}

/// Old releases wrote `settings.mp4MuxingEnabled`; the name without prefix wins where both are there.
fn without_prefix(read: Properties) -> Properties {
    let (old, mut new): (Properties, Properties) = read.into_iter().partition(|(key, _)| key.starts_with("settings."));
    for (key, value) in old {
        new.entry(key["settings.".len()..].to_owned()).or_insert(value);
    }
    new
}

/// `…/webapps/<app>/WEB-INF/red5-web.properties` → `…/webapps/<app>/streams`.
fn streams_of(path: &Path) -> Option<PathBuf> {
    let web_inf = path.parent().filter(|directory| directory.ends_with("WEB-INF"))?;
    web_inf.parent().map(|app| app.join("streams")).filter(|streams| streams.is_absolute())
}

struct Draft<'a> {
    read: &'a Properties,
    text: String,
}

impl Draft<'_> {
    fn value(&self, name: &str) -> Option<&str> {
        self.read.get(name).map(|value| value.trim()).filter(|value| !value.is_empty())
    }

    fn flag(&self, name: &str) -> Option<bool> {
        self.value(name).and_then(|value| value.to_ascii_lowercase().parse().ok())
    }

    fn line(&mut self, line: &str) {
        let _ = writeln!(self.text, "{line}");
    }

    fn watch(&mut self, streams: Option<&Path>) {
        self.line("\n[watch]");
        if let Some(streams) = streams.and_then(Path::to_str) {
            self.line(&format!("roots = [{}]", quote(streams)));
        } else {
            self.line("# The file is not in webapps/<app>/WEB-INF: set the directory of the recordings yourself.");
            self.line("#roots = [\"/usr/local/antmedia/webapps/<app>/streams\"]");
        }
        self.line("server = \"antmedia\"");
    }

    fn finish(&mut self) {
        self.line("\n[finish]");
        for name in ["mp4MuxingEnabled", "webMMuxingEnabled", "addDateTimeToMp4FileName"] {
            if let Some(flag) = self.flag(name) {
                self.line(&format!("{} = {flag}", canonical(name)));
            } else if self.value(name).is_some() {
                self.line(&format!("# {name}: neither true nor false, the default is used."));
            }
        }
        if self.flag("addDateTimeToMp4FileName") == Some(true) {
            self.line("date_pattern = \"-%Y-%m-%d_%H-%M-%S%.3f\" # as Ant Media writes it");
        }
        let Some(subfolder) = self.value("recordingSubfolder").map(|s| s.trim_matches('/').to_owned()) else { return };
        let means_else = subfolder.contains(['%', '{', '}']) || subfolder.split('/').any(|part| part == "..");
        self.line(&if means_else {
            "# recordingSubfolder: it has characters with a special meaning here; set recording_subfolder yourself."
                .to_owned()
        } else {
            format!("recording_subfolder = {}", quote(&subfolder))
        });
    }

    fn deliver(&mut self) {
        self.line("\n[deliver]");
        let mask = self.value("uploadExtensionsToS3").map(str::to_owned);
        match mask.map(|mask| mask.parse().ok().and_then(|bits| Kinds::from_bits(bits).ok())) {
            Some(Some(kinds)) => self.line(&format!("upload_extensions = {}", kinds.bits())),
            Some(None) => self.line("# uploadExtensionsToS3: not a number from 0 to 63, the default 7 is used."),
            None => {}
        }
        match self.value("s3BucketName").map(str::to_owned) {
            Some(bucket) => self.target(&bucket),
            None => self.line("# s3BucketName is empty: no target."),
        }
    }

    fn target(&mut self, bucket: &str) {
        let is_on = self.flag("s3RecordingEnabled") == Some(true);
        let prefix = self.value("s3StreamsFolderPath").unwrap_or("streams").trim_matches('/').to_owned();
        let url = address::target_url(&format!("s3://{bucket}/{prefix}"));
        let Ok(url) = url else {
            return self.line("# s3BucketName and s3StreamsFolderPath do not form a valid URL: no target.");
        };
        self.line(if is_on {
            "# Set s3RecordingEnabled=false in Ant Media: it uploads the same files and deletes them."
        } else {
            "# s3RecordingEnabled was not true: remove the `#` to upload."
        });
        let mut lines = vec!["[[deliver.target]]".into(), "name = \"s3\"".into(), format!("url = {}", quote(&url))];
        lines.extend(self.target_options());
        for line in lines {
            self.line(&format!("{}{line}", if is_on { "" } else { "#" }));
        }
    }

    fn target_options(&self) -> Vec<String> {
        let text = |name, key| self.value(name).map(|value| format!("{key} = {}", quote(value)));
        let mut lines: Vec<String> = Vec::new();
        let endpoint = self.value("s3Endpoint");
        lines.extend(endpoint.map(endpoint_line));
        lines.extend(text("s3RegionName", "region"));
        if endpoint.is_some() || self.flag("s3PathStyleAccessEnabled") == Some(true) {
            // Ant Media's default is false, ours is true with an endpoint: say which.
            lines.push(format!("path_style = {}", self.flag("s3PathStyleAccessEnabled").unwrap_or(false)));
        }
        lines.extend(text("s3StorageClass", "storage_class"));
        lines.extend(text("s3CacheControl", "cache_control"));
        lines
    }

    fn left_out(&mut self) {
        let named: Vec<_> = LEFT_OUT.iter().filter(|(name, _)| self.value(name).is_some()).collect();
        if named.is_empty() {
            return;
        }
        self.line("\n# Not carried over:");
        for (name, why) in named {
            self.line(&format!("# {name}: {why}."));
        }
    }
}

fn endpoint_line(endpoint: &str) -> String {
    let whole = if endpoint.contains("://") { endpoint.to_owned() } else { format!("https://{endpoint}") };
    match address::endpoint(&whole) {
        Ok(endpoint) => format!("endpoint = {}", quote(&endpoint)),
        Err(_) => "# s3Endpoint is not a URL: set endpoint yourself.".to_owned(),
    }
}

fn canonical(name: &'static str) -> &'static str {
    keys::find_alias(name).map_or(name, |key| key.name)
}
