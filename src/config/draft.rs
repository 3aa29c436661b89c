//! The text of a new configuration: roots, targets and comments, written so that it loads.
//!
//! Text from outside becomes a quoted value or a comment of one line, whatever it holds. No secret comes here.

use std::fmt::Write as _;
use std::path::PathBuf;

use super::value::{quote, quote_list, quote_table};
use crate::discover::Server;
use crate::recording::name::{printable, printable_text};

const WIDTH: usize = 120;

/// A root to be written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DraftRoot {
    /// The directory; absolute, UTF-8.
    pub path: PathBuf,
    /// Whose names are read.
    pub server: Server,
    /// A template, where the server's names are not read by its preset.
    pub template: Option<String>,
    /// The parts of a server's configuration that record there.
    pub of: Vec<String>,
    /// What to know about it.
    pub remark: Option<String>,
    /// Whether it is written as a root, else as an example.
    pub is_on: bool,
}

impl DraftRoot {
    /// A root whose names the preset reads.
    pub fn new(path: PathBuf, server: Server, of: &[String], is_on: bool) -> Self {
        Self { path, server, template: None, of: of.to_vec(), remark: None, is_on }
    }

    fn quoted(&self) -> String {
        quote(&self.path.to_string_lossy())
    }

    fn about(&self) -> String {
        let of = self.of.join(", ");
        let remark = self.remark.as_deref().map_or_else(String::new, |remark| format!("{remark}."));
        [of, remark].into_iter().filter(|text| !text.is_empty()).collect::<Vec<_>>().join("; ")
    }
}

/// A target to be written.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DraftTarget {
    /// Its name.
    pub name: String,
    /// Its URL.
    pub url: String,
    /// Endpoint.
    pub endpoint: Option<String>,
    /// Region.
    pub region: Option<String>,
    /// Whether the bucket is in the path.
    pub path_style: Option<bool>,
    /// User metadata.
    pub metadata: Vec<(String, String)>,
    /// Tags.
    pub tags: Vec<(String, String)>,
    /// Where the credentials are: `access_key_id_file` and a path, or `env:NAME`.
    pub credential_files: Vec<(String, String)>,
    /// Lines that are said beside it.
    pub remarks: Vec<String>,
}

impl DraftTarget {
    /// A target with nothing but its URL.
    pub fn new(name: &str, url: &str) -> Self {
        Self { name: name.to_owned(), url: url.to_owned(), ..Self::default() }
    }

    /// Its section.
    pub fn text(&self) -> String {
        let mut text = String::from("\n[[deliver.target]]\n");
        let mut line = |key: &str, value: String| {
            let _ = writeln!(text, "{key} = {value}");
        };
        line("name", quote(&self.name));
        line("url", quote(&self.url));
        let plain = |text: &&String| !text.chars().any(char::is_control) && !text.trim().is_empty();
        if let Some(endpoint) = self.endpoint.as_ref().filter(plain) {
            line("endpoint", quote(endpoint));
        }
        if let Some(region) = self.region.as_ref().filter(plain) {
            line("region", quote(region));
        }
        if let Some(path_style) = self.path_style {
            line("path_style", path_style.to_string());
        }
        for (key, pairs) in [("metadata", &self.metadata), ("tags", &self.tags)] {
            let (usable, others) = usable(key, pairs);
            if !usable.is_empty() {
                line(key, quote_table(usable));
            }
            if others > 0 {
                line(&format!("# {key}"), format!("{others} not carried over: invalid characters"));
            }
        }
        if !self.credential_files.is_empty() {
            line("credential_files", quote_table(self.credential_files.iter().map(|(k, v)| (k.as_str(), v.clone()))));
        }
        for remark in &self.remarks {
            text.push_str(&comment(remark));
        }
        if self.credential_files.is_empty() {
            self.credentials().iter().for_each(|remark| text.push_str(remark));
        }
        text
    }

    /// Where credentials go; an example of files that is a comment.
    fn credentials(&self) -> Vec<String> {
        let (variables, files): (&str, &[(&str, &str)]) = match self.url.split("://").next() {
            Some("s3") => (
                "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY",
                &[("access_key_id_file", "/etc/aftercast/key-id"), ("secret_access_key_file", "/etc/aftercast/secret")],
            ),
            Some("az") => (
                "AZURE_STORAGE_ACCOUNT_NAME and AZURE_STORAGE_ACCOUNT_KEY",
                &[
                    ("account_name_file", "/etc/aftercast/account-name"),
                    ("account_key_file", "/etc/aftercast/account-key"),
                ],
            ),
            Some("gs") => {
                ("GOOGLE_APPLICATION_CREDENTIALS", &[("service_account_file", "/etc/aftercast/service-account.json")])
            }
            _ => return Vec::new(),
        };
        let said = format!("Set {variables} in the environment of aftercast, or name files of mode 0600:");
        let files = quote_table(files.iter().map(|(key, path)| (*key, (*path).to_owned())));
        vec![comment(&said), format!("#credential_files = {files}\n")]
    }
}

/// The entries that a configuration can hold, and how many it cannot.
fn usable<'a>(key: &str, pairs: &'a [(String, String)]) -> (Vec<(&'a str, String)>, usize) {
    let is_header =
        |name: &str| !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_".contains(&b));
    let is_plain = |text: &str| !text.chars().any(char::is_control);
    let usable: Vec<_> = pairs
        .iter()
        .filter(|(name, value)| is_plain(value) && is_plain(name) && (key != "metadata" || is_header(name)))
        .map(|(name, value)| (name.as_str(), value.clone()))
        .collect();
    let others = pairs.len() - usable.len();
    (usable, others)
}

/// `[watch]` with these roots of a server. Those that are not on stand there as an example.
pub fn watch(server: Server, roots: &[DraftRoot]) -> String {
    let (on, examples): (Vec<_>, Vec<_>) = roots.iter().partition(|root| root.is_on);
    let mut text = String::from("\n[watch]\n");
    for root in &examples {
        text.push_str(&comment(&format!("Not recorded into now: {}", root.about())));
        let _ = writeln!(text, "#roots = [{}]", root.quoted());
    }
    let is_alike = on.iter().all(|root| root.template.is_none() && root.server == server);
    if is_alike {
        on.iter().filter(|root| !root.about().is_empty()).for_each(|root| {
            text.push_str(&comment(&format!("{}: {}", printable(&root.path), root.about())));
        });
        if !on.is_empty() {
            let _ = writeln!(text, "roots = {}", quote_list(on.iter().map(|root| root.path.to_string_lossy())));
        }
        let _ = writeln!(text, "server = {}", quote(server.name()));
        return text;
    }
    for root in on {
        text.push_str("\n[[watch.root]]\n");
        if !root.about().is_empty() {
            text.push_str(&comment(&root.about()));
        }
        let _ = writeln!(text, "path = {}\nserver = {}", root.quoted(), quote(root.server.name()));
        if let Some(template) = &root.template {
            let _ = writeln!(text, "template = {}", quote(template));
        }
    }
    text
}

/// A comment of as many lines as it needs.
pub fn comment(text: &str) -> String {
    let mut lines = String::new();
    let mut line = String::from("#");
    for word in printable_text(text).split(' ') {
        if line.chars().count() + 1 + word.chars().count() > WIDTH && line.len() > 2 {
            let _ = writeln!(lines, "{line}");
            line = String::from("# ");
        }
        line.push(' ');
        line.push_str(word);
    }
    let _ = writeln!(lines, "{}", line.trim_end());
    lines
}
