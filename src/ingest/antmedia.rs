//! Ant Media Server: every application records into its own `streams` directory. Their settings are read by
//! `config import-antmedia`.

use std::path::{Path, PathBuf};

use super::error::IngestError;
use super::{Recordings, ServerFiles, Started};
use crate::printable::Printable;

const DEFAULT_HOME: &str = "/usr/local/antmedia";
/// Applications that record nothing.
const OTHERS: [&str; 2] = ["root", "ROOT"];

/// Where it is installed, by the options of its process.
pub fn home(started: &Started) -> PathBuf {
    let named = started.arguments.iter().find_map(|argument| argument.strip_prefix("-Dred5.root="));
    named.map_or_else(|| PathBuf::from(DEFAULT_HOME), |home| started.resolve(home))
}

/// The directories of its applications.
pub fn read(home: &Path, files: &ServerFiles, started: &Started) -> Result<Recordings, IngestError> {
    let mut found = Recordings::default();
    for properties in files.matching(&home.join("webapps/*/WEB-INF/red5-web.properties"))? {
        let Some(application) = properties.parent().and_then(Path::parent) else { continue };
        let name = application.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if OTHERS.contains(&name.as_str()) || !files.is_directory(&application.join("streams")) {
            continue;
        }
        let streams = started.resolve(&application.join("streams").to_string_lossy());
        found.directory(streams, format!("application `{name}`"), None, true);
        found.note(
            format!("red5-web.properties of `{name}`"),
            format!(
                "`aftercast config import-antmedia {}` shows what its settings become",
                Printable::path(&properties)
            ),
        );
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn each_application_with_streams_is_a_directory() {
        let dir = tempfile::tempdir().unwrap();
        let webapps = dir.path().join("opt/ams/webapps");
        for (name, streams) in [("live", "streams"), ("LiveApp", "streams"), ("root", "streams"), ("quiet", "other")] {
            fs::create_dir_all(webapps.join(name).join("WEB-INF")).unwrap();
            fs::create_dir_all(webapps.join(name).join(streams)).unwrap();
            fs::write(webapps.join(name).join("WEB-INF/red5-web.properties"), "s3SecretKey=hunter2\n").unwrap();
        }
        let arguments = vec!["-Dred5.root=/opt/ams".to_owned()];
        let started = Started { arguments, ..Started::default() };
        let found = read(&home(&started), &ServerFiles::below(dir.path()), &started).unwrap();
        let paths: Vec<_> = found.directories.iter().map(|d| d.path.to_str().unwrap()).collect();
        assert_eq!(paths, ["/opt/ams/webapps/LiveApp/streams", "/opt/ams/webapps/live/streams"]);
        assert!(!format!("{found:?}").contains("hunter2"));
        assert_eq!(home(&Started::default()), Path::new(DEFAULT_HOME));
    }
}
