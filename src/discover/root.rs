//! Which root a path belongs to, so that `watch`, `process DIR` and `process FILE` give one key.

use std::path::{Path, PathBuf};

use super::options::{ControlOptions, FragmentedPolicy, RootOptions, Server};

/// A path and the root that holds it.
#[derive(Debug, Clone, PartialEq)]
pub struct RootedPath {
    /// The path, absolute, below `root.path` as that is written.
    pub path: PathBuf,
    /// The configured root that holds it, else one made for the directory given or the file's parent.
    pub root: RootOptions,
    /// Whether the root is a configured one.
    pub is_configured: bool,
}

/// Finds the root of a path: the innermost configured root that holds it, else the directory given, else the file's
/// parent.
pub fn root_of(path: &Path, roots: &[RootOptions]) -> RootedPath {
    let path = plain(&std::path::absolute(path).unwrap_or_else(|_| path.to_owned()));
    if let Some(root) = innermost(&path, roots) {
        return RootedPath { path, root: root.clone(), is_configured: true };
    }
    through_links(&path, roots).unwrap_or_else(|| own_root(path))
}

/// Removes `.` and, where nothing but a name stands before it, `..`: `absolute` keeps them.
fn plain(path: &Path) -> PathBuf {
    let has_parent = path.components().any(|c| matches!(c, std::path::Component::ParentDir));
    if has_parent { path.canonicalize().unwrap_or_else(|_| path.to_owned()) } else { path.components().collect() }
}

fn innermost<'a>(path: &Path, roots: &'a [RootOptions]) -> Option<&'a RootOptions> {
    roots.iter().filter(|r| path.starts_with(&r.path)).max_by_key(|r| r.path.components().count())
}

/// The same place may be written in two ways, through a symbolic link.
fn through_links(path: &Path, roots: &[RootOptions]) -> Option<RootedPath> {
    let real = path.canonicalize().ok()?;
    let below = |root: &RootOptions| real.strip_prefix(root.path.canonicalize().ok()?).ok().map(Path::to_owned);
    let found = roots.iter().filter_map(|r| Some((below(r)?, r)));
    let (rest, root) = found.min_by_key(|(rest, _)| rest.components().count())?;
    let path = if rest.as_os_str().is_empty() { root.path.clone() } else { root.path.join(rest) };
    Some(RootedPath { path, root: root.clone(), is_configured: true })
}

fn own_root(path: PathBuf) -> RootedPath {
    let directory = if path.is_dir() { path.clone() } else { path.parent().unwrap_or(Path::new("/")).to_owned() };
    let root = RootOptions {
        path: directory,
        server: Server::Auto,
        template: None,
        stream: None,
        fragmented: FragmentedPolicy::Auto,
        deliver_progressive: false,
        shared: false,
        first_right: false,
        app: None,
        control: ControlOptions::default(),
    };
    RootedPath { path, root, is_configured: false }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn root(path: &Path) -> RootOptions {
        RootOptions {
            path: path.to_owned(),
            server: Server::Srs,
            template: None,
            stream: None,
            fragmented: FragmentedPolicy::Auto,
            deliver_progressive: false,
            shared: false,
            first_right: false,
            app: None,
            control: ControlOptions::default(),
        }
    }

    #[test]
    fn the_innermost_configured_root_else_the_directory_else_the_parent() {
        let dir = tempfile::tempdir().unwrap();
        let base = dir.path().canonicalize().unwrap();
        let inner = base.join("live");
        std::fs::create_dir(&inner).unwrap();
        std::fs::write(inner.join("x.mp4"), "").unwrap();
        let roots = [root(&base), root(&inner)];

        let placed = root_of(&inner.join("x.mp4"), &roots);
        assert_eq!((placed.root.path.as_path(), placed.is_configured), (inner.as_path(), true));
        assert_eq!(root_of(&inner.join("./x.mp4"), &roots), placed);
        assert_eq!(root_of(&base.join("live/../live/x.mp4"), &roots), placed);
        assert_eq!(root_of(&base.join("livestock"), &roots).root.path, base, "a name is no prefix of another");
        assert_eq!(root_of(&inner, &[]).root.path, inner);
        let alone = root_of(&inner.join("x.mp4"), &[]);
        assert_eq!((alone.root.path.as_path(), alone.is_configured), (inner.as_path(), false));
    }

    #[test]
    fn a_root_is_found_through_a_symbolic_link() {
        let dir = tempfile::tempdir().unwrap();
        let base = dir.path().canonicalize().unwrap();
        std::fs::create_dir(base.join("real")).unwrap();
        std::fs::write(base.join("real/x.mp4"), "").unwrap();
        std::os::unix::fs::symlink(base.join("real"), base.join("link")).unwrap();
        let placed = root_of(&base.join("real/x.mp4"), &[root(&base.join("link"))]);
        assert_eq!(placed.path, base.join("link/x.mp4"));
        assert!(placed.is_configured);
    }
}
