//! `config import-…`: the configuration of an ingest server to a configuration of ours.
//!
//! What carries over is written as keys; what does not, or has another meaning here, is named with the reason. Credentials are
//! never copied, and no value of a setting that could hold one is repeated. What comes out loads as it is.

mod antmedia;
mod naming;
mod properties;

use std::collections::BTreeMap;
use std::path::Path;

use super::draft::{DraftRoot, DraftTarget, comment};
use super::value::quote;
use super::{address, draft};
use crate::discover::{Configured, RunningServer, Server, configuration_at, configuration_of, installed_configuration};
use crate::ingest::{Directory, IngestError, StoreUpload};
use crate::recording::name::printable;

pub use antmedia::{import_antmedia, import_antmedia_file};
pub use naming::{Naming, naming};

/// Reads the configuration of a server (the named file, else that of the server that runs, else the installed one) and turns
/// it into the text of a configuration. `environment` stands in for that of a server that does not run.
pub fn import_server(
    server: Server,
    file: Option<&Path>,
    running: &[RunningServer],
    environment: BTreeMap<String, String>,
) -> Result<String, IngestError> {
    if let Some(file) = file {
        return configuration_at(server, file, running, environment).map(|configured| import(&configured));
    }
    let of_running = running.iter().filter(|running| running.server == server).find_map(configuration_of);
    match of_running.or_else(|| installed_configuration(server)) {
        Some(configured) => configured.map(|configured| import(&configured)),
        None => Err(IngestError::NotFound { server: server.title() }),
    }
}

/// Checks the URL and the endpoint of a target that is typed; says what is wrong.
pub fn check_target(url: &str, endpoint: Option<&str>) -> Result<(), String> {
    address::target_url(url)?;
    endpoint.map_or(Ok(()), |endpoint| address::endpoint(endpoint).map(drop).map_err(|why| format!("endpoint: {why}")))
}

/// Turns what a server's configuration says into the text of a configuration.
pub fn import(configured: &Configured) -> String {
    let server = configured.server;
    let from = configured.path.as_deref().map_or_else(|| "its environment".to_owned(), printable);
    let mut text = format!("# From {from} ({})\n", server.title());
    let (roots, unsure) = roots_of(server, &configured.recordings.directories);
    text.push_str(&draft::watch(server, &roots));
    text.extend(unsure.iter().map(|line| comment(line)));
    text.push_str(&deliver(&configured.recordings.uploads));
    let notes = &configured.recordings.notes;
    if !notes.is_empty() {
        text.push_str("\n# Not carried over, or with another meaning here:\n");
        text.extend(notes.iter().map(|note| comment(&format!("{}: {}.", note.setting, note.why))));
    }
    text
}

/// The directories that can be roots, and what is said of the others.
pub fn roots_of(server: Server, directories: &[Directory]) -> (Vec<DraftRoot>, Vec<String>) {
    let (mut roots, mut unsure): (Vec<DraftRoot>, Vec<String>) = (Vec::new(), Vec::new());
    for directory in directories {
        match root_of(server, directory) {
            Ok(root) => roots.push(root),
            Err(line) => unsure.push(line),
        }
    }
    if roots.iter().any(|root| root.is_on) {
        roots.retain(|root| root.is_on);
    } else {
        // Where nothing is recorded now, the first directory is shown as an example.
        roots.truncate(1);
    }
    let mut once: Vec<DraftRoot> = Vec::new();
    for root in roots {
        match once.iter_mut().find(|known| known.path == root.path) {
            Some(known) if known.template == root.template => known.of.extend(root.of),
            Some(known) => unsure.push(format!(
                "`{}` also has names of {}, which the template of {} does not read: each such file becomes a stream of its own.",
                printable(&known.path),
                root.of.join(", "),
                known.of.join(", ")
            )),
            None => once.push(root),
        }
    }
    let roots = outermost(&once, |root| &root.path, |inner, outer| unsure.push(inside(inner, outer)));
    (roots, unsure)
}

/// Leaves out what lies in another: roots must not overlap, and a root finds everything below it.
pub fn outermost<T: Clone>(all: &[T], path: impl Fn(&T) -> &Path, mut left_out: impl FnMut(&T, &T)) -> Vec<T> {
    let around =
        |inner: &T| all.iter().find(|outer| path(inner) != path(outer) && path(inner).starts_with(path(outer)));
    all.iter()
        .filter(|inner| match around(inner) {
            Some(outer) => {
                left_out(inner, outer);
                false
            }
            None => true,
        })
        .cloned()
        .collect()
}

fn inside(inner: &DraftRoot, outer: &DraftRoot) -> String {
    let names = match (&inner.template, inner.template == outer.template) {
        (_, true) => String::new(),
        (Some(template), _) => format!("; its names would need the template {}", quote(template)),
        (None, _) => "; its names are not those of the template".to_owned(),
    };
    let (path, of) = (printable(&inner.path), inner.of.join(", "));
    format!("`{path}` ({of}) is within `{}` and is watched with it{names}.", printable(&outer.path))
}

fn root_of(server: Server, directory: &Directory) -> Result<DraftRoot, String> {
    let (path, of) = (&directory.path, directory.of.join(", "));
    if !path.is_absolute() {
        return Err(format!(
            "{of}: `{}` is relative to the working directory of {}, which is not known: add the absolute path to `roots`.",
            printable(path),
            server.title()
        ));
    }
    if path.to_str().is_none_or(|path| path.chars().any(char::is_control)) {
        return Err(format!("{of}: the path `{}` cannot be written in a configuration: rename it.", printable(path)));
    }
    let mut root = DraftRoot::new(path.clone(), server, &directory.of, directory.is_on);
    match naming(server, directory.names.as_ref()) {
        Naming::Preset => {}
        Naming::Template(template) => root.template = Some(template),
        Naming::Unread(example) => {
            let example = printable(Path::new(&example));
            root.remark = Some(format!("names such as `{example}` are not read: their stream is the whole name"));
        }
    }
    Ok(root)
}

fn deliver(uploads: &[StoreUpload]) -> String {
    let mut text = String::new();
    if !uploads.is_empty() {
        text.push_str("\n[deliver]\n");
    }
    for (n, upload) in uploads.iter().enumerate() {
        match target_of(upload, uploads[..n].iter().filter(|other| other.section == upload.section).count()) {
            Ok(target) => text.push_str(&target.text()),
            Err(why) => text.push_str(&comment(&format!("{}: no target, because {why}.", upload.section))),
        }
    }
    text
}

/// The target that an upload of the server becomes.
pub fn target_of(upload: &StoreUpload, same_section_before: usize) -> Result<DraftTarget, String> {
    let url = address::target_url(&upload.url).map_err(|_| "its bucket and prefix do not form a valid URL")?;
    let name = match same_section_before {
        0 => upload.section.clone(),
        n => format!("{}-{}", upload.section, n + 1),
    };
    let mut target = DraftTarget::new(&name, &url);
    if let Some(endpoint) = &upload.endpoint {
        let whole = if endpoint.contains("://") { endpoint.clone() } else { format!("https://{endpoint}") };
        match address::endpoint(&whole) {
            Ok(endpoint) => target.endpoint = Some(endpoint),
            Err(_) => target.remarks.push("endpoint is not a URL: set it yourself.".into()),
        }
    }
    target.region.clone_from(&upload.region);
    target.path_style = upload.path_style.or_else(|| upload.endpoint.is_some().then_some(false));
    target.metadata.clone_from(&upload.metadata);
    target.tags.clone_from(&upload.tags);
    if !upload.credentials.is_empty() {
        let settings: Vec<String> = upload.credentials.iter().map(|key| format!("{}.{key}", upload.section)).collect();
        target.remarks.push(format!("Credentials ({}) are never copied.", settings.join(", ")));
    }
    Ok(target)
}
