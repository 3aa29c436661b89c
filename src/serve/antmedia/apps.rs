//! Roots as Ant Media's applications: their names, and the paths of recordings in them. Pure.

use std::path::{Component, Path, PathBuf};

use crate::config::Config;
use crate::operations::{MediaOf, PathInRoot};
use crate::recording::VodRecord;

/// Where an application keeps its recordings.
const STREAMS: &str = "streams";
const PREVIEWS: &str = "previews";
/// How far below `streams` a root of another node is looked for.
const MOST_LEVELS: usize = 16;
/// What recordings that have a preview may end in.
const RECORDINGS: [&str; 4] = ["mp4", "webm", "mkv", "mov"];

/// All applications of a configuration.
#[derive(Debug)]
pub(super) struct Apps(Vec<App>);

/// Roots with the same name.
#[derive(Debug, Clone)]
pub(super) struct App {
    name: String,
    roots: Vec<Root>,
}

#[derive(Debug, Clone)]
struct Root {
    path: PathBuf,
    /// What stands for the root in paths of the application: `streams`, or more where the root lies below that.
    base: String,
    /// Whether the root lies above its `streams` directory or has none.
    is_above: bool,
}

impl Apps {
    pub(super) fn of(config: &Config) -> Self {
        let mut apps: Vec<App> = Vec::new();
        for options in &config.watch.roots {
            let (name, root) = (options.application(), Root::of(&options.path));
            match apps.iter_mut().find(|app| app.name == name) {
                Some(app) => app.roots.push(root),
                None => apps.push(App { name, roots: vec![root] }),
            }
        }
        Self(apps)
    }

    pub(super) fn named(&self, name: &str) -> Option<&App> {
        self.0.iter().find(|app| app.name == name)
    }

    /// The only one, if there is one only.
    pub(super) fn only(&self) -> Option<&App> {
        self.0.first().filter(|_| self.0.len() == 1)
    }
}

impl Root {
    fn of(path: &Path) -> Self {
        let names: Vec<_> = path
            .components()
            .filter_map(|part| match part {
                Component::Normal(name) => Some(name.to_string_lossy().into_owned()),
                _ => None,
            })
            .collect();
        let streams = names.iter().rposition(|name| name == STREAMS).filter(|at| *at > 0);
        let base = streams.map_or_else(|| STREAMS.to_owned(), |at| names[at..].join("/"));
        Self { path: path.to_owned(), base, is_above: streams.is_none() }
    }

    fn path_of(&self, vod: &VodRecord) -> String {
        let below = vod.relative_path().to_string_lossy();
        // A root that holds the application's own `streams`.
        if self.is_above && below.starts_with("streams/") {
            return below.into_owned();
        }
        format!("{}/{below}", self.base)
    }

    /// The paths below the root that a path of the application may stand for.
    fn paths_at<'a>(&'a self, path: &'a str) -> impl Iterator<Item = PathInRoot> + 'a {
        let below = path.strip_prefix(&self.base).and_then(|rest| rest.strip_prefix('/'));
        let whole = Some(path).filter(|path| self.is_above && path.starts_with("streams/"));
        let found = below.into_iter().chain(whole).filter(|path| path.split('/').all(is_name));
        found.map(|path| PathInRoot { root: self.path.clone(), path: path.into() })
    }
}

fn is_name(name: &str) -> bool {
    !matches!(name, "" | "." | "..") && !name.contains('\0')
}

impl App {
    pub(super) fn roots(&self) -> Vec<PathBuf> {
        self.roots.iter().map(|root| root.path.clone()).collect()
    }

    pub(super) fn holds(&self, vod: &VodRecord) -> bool {
        self.roots.iter().any(|root| root.path == vod.root)
    }

    /// `filePath` of a VoD: relative, and there also when the file is freed.
    pub(super) fn file_path(&self, vod: &VodRecord) -> String {
        let root = self.roots.iter().find(|root| root.path == vod.root);
        // Another node's: its root says the same as one of this node.
        root.map_or_else(|| Root::of(&vod.root).path_of(vod), |root| root.path_of(vod))
    }

    /// Its name.
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// The paths below a root, of whatever node, that a path of the application may stand for.
    pub(super) fn paths_below_roots(path: &str) -> Vec<String> {
        let names: Vec<_> = path.split('/').collect();
        if !names.iter().all(|name| is_name(name)) || names.first() != Some(&STREAMS) {
            return Vec::new();
        }
        // Behind `streams`, and behind whatever of the root lies below that.
        (0..names.len().min(MOST_LEVELS)).map(|at| names[at..].join("/")).collect()
    }

    /// `previewFilePath` of a VoD. It is found by the id: the image may lie in several places.
    pub(super) fn preview_path(vod: &VodRecord) -> Option<String> {
        let path = vod.preview_file_path.as_deref()?;
        let extension = path.extension().unwrap_or_default().to_string_lossy();
        Some(format!("{PREVIEWS}/{}.{extension}", vod.vod_id))
    }

    /// What a path of the application stands for.
    pub(super) fn media_at(&self, path: &str) -> Option<MediaOf> {
        if let Some(name) = path.strip_prefix("previews/") {
            let (stem, _) = name.rsplit_once('.')?;
            let is_id = stem.len() == 24 && stem.bytes().all(|byte| byte.is_ascii_alphanumeric());
            if is_id {
                return Some(MediaOf::Preview { id: stem.to_owned(), roots: self.roots() });
            }
            let names = RECORDINGS.map(|extension| format!("{STREAMS}/{stem}.{extension}"));
            let paths: Vec<_> = names.iter().flat_map(|name| self.paths_at(name)).collect();
            return (!paths.is_empty()).then_some(MediaOf::PreviewOf(paths));
        }
        let paths: Vec<_> = self.paths_at(path).collect();
        (!paths.is_empty()).then_some(MediaOf::Paths(paths))
    }

    fn paths_at<'a>(&'a self, path: &'a str) -> impl Iterator<Item = PathInRoot> + 'a {
        self.roots.iter().flat_map(|root| root.paths_at(path))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn apps(roots: &[(&str, Option<&str>)]) -> Apps {
        let mut config = Config::default();
        for (path, app) in roots {
            let mut root = config.root_at(path.into());
            root.app = app.map(str::to_owned);
            config.watch.roots.push(root);
        }
        Apps::of(&config)
    }

    fn only_path(app: &App, path: &str) -> Option<PathBuf> {
        match app.media_at(path)? {
            MediaOf::Paths(paths) => paths.into_iter().map(|found| found.root.join(found.path)).next(),
            _ => None,
        }
    }

    #[test]
    fn an_app_is_the_directory_before_streams_else_the_root_itself() {
        for (root, name, path, expected) in [
            ("/ams/webapps/live/streams", "live", "streams/a/x.mp4", "/ams/webapps/live/streams/a/x.mp4"),
            ("/ams/webapps/live/streams/a", "live", "streams/a/x.mp4", "/ams/webapps/live/streams/a/x.mp4"),
            ("/srv/recordings", "recordings", "streams/x.mp4", "/srv/recordings/x.mp4"),
            ("/streams", "streams", "streams/x.mp4", "/streams/x.mp4"),
        ] {
            let apps = apps(&[(root, None)]);
            let app = apps.named(name).unwrap_or_else(|| panic!("{apps:?}"));
            assert_eq!(only_path(app, path), Some(expected.into()), "{root}");
        }
        let two = apps(&[("/a/live/streams", None), ("/b/live/streams", None), ("/c/live/streams", Some("other"))]);
        assert_eq!(two.named("live").unwrap().roots(), [Path::new("/a/live/streams"), Path::new("/b/live/streams")]);
        assert!(two.named("other").is_some() && two.only().is_none());
        assert!(apps(&[("/a", Some("x"))]).only().is_some() && apps(&[]).only().is_none());
    }

    #[test]
    fn a_path_that_leads_out_of_the_root_stands_for_nothing() {
        let apps = apps(&[("/srv/recordings", Some("live"))]);
        let app = apps.only().unwrap();
        for hostile in [
            "streams/../secret",
            "streams//etc/passwd",
            "streams/",
            "streams",
            "",
            "streams/./x",
            "streams/a\0b",
            "other/x.mp4",
            "previews/../x.png",
            "previews/x",
        ] {
            assert_eq!(app.media_at(hostile), None, "{hostile:?}");
        }
        assert_eq!(App::paths_below_roots("streams/a/x.mp4"), ["streams/a/x.mp4", "a/x.mp4", "x.mp4"]);
        assert!(App::paths_below_roots("streams/../x").is_empty() && App::paths_below_roots("previews/x").is_empty());
        let twice = app.media_at("streams/streams/x.mp4").unwrap();
        assert!(matches!(twice, MediaOf::Paths(paths) if paths.len() == 2));
    }
}
