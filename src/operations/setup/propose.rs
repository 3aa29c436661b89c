//! From what was found and what was asked for to a proposal. Pure: facts in, proposal out.

use std::path::{Path, PathBuf};

use super::accounts::Accounts;
use super::find::{FoundRoot, FoundServer, PathKind};
use crate::config::{DraftRoot, DraftTarget, outermost};
use crate::discover::Server;
use crate::recording::name::printable;

/// What was asked for; what is not asked for is proposed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Wishes {
    /// Directories, absolute, with what is there.
    pub roots: Vec<(PathBuf, PathKind)>,
    /// Only this server, or the server of `roots`.
    pub server: Option<Server>,
    /// Where to upload.
    pub target: Option<DraftTarget>,
    /// The group that owns the recordings.
    pub group: Option<String>,
    /// The state directory.
    pub state_dir: Option<PathBuf>,
}

/// What would be set up.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Proposal {
    /// Directories to watch.
    pub roots: Vec<DraftRoot>,
    /// Where to upload.
    pub target: Option<DraftTarget>,
    /// The groups that own the recordings.
    pub groups: Vec<String>,
    /// Directories whose group may not read and write them.
    pub closed: Vec<PathBuf>,
    /// The state directory; the default if none.
    pub state_dir: Option<PathBuf>,
    /// What to know.
    pub notes: Vec<String>,
}

/// Why nothing can be proposed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NoProposal {
    /// There is no directory to watch.
    #[error("no directory of recordings was found{}: name one with `--root DIR`", why(.0))]
    NoRoot(Vec<String>),
    /// A directory that was named cannot be a root.
    #[error("`{}` cannot be watched: {why}", printable(path))]
    Unusable {
        /// Which.
        path: PathBuf,
        /// Why.
        why: String,
    },
}

fn why(notes: &[String]) -> String {
    if notes.is_empty() { String::new() } else { format!(" ({})", notes.join("; ")) }
}

/// Proposes roots, server, group and target.
pub fn propose(found: &[FoundServer], wishes: &Wishes, accounts: &Accounts) -> Result<Proposal, NoProposal> {
    let mut proposal =
        Proposal { target: wishes.target.clone(), state_dir: wishes.state_dir.clone(), ..Proposal::default() };
    let chosen =
        if wishes.roots.is_empty() { usable(found, wishes.server, &mut proposal.notes) } else { named(found, wishes)? };
    if chosen.is_empty() {
        return Err(NoProposal::NoRoot(proposal.notes));
    }
    let chosen = outermost(
        &chosen,
        |chosen| &chosen.root.path,
        |inner, outer| {
            let (inner, outer) = (printable(&inner.root.path), printable(&outer.root.path));
            proposal.notes.push(format!("`{inner}` is within `{outer}` and is watched with it"));
        },
    );
    for FoundRoot { root, place } in &chosen {
        if let PathKind::Directory { group, is_open_to_group } = place {
            let group = wishes.group.clone().unwrap_or_else(|| accounts.group_name(*group));
            if !proposal.groups.contains(&group) {
                proposal.groups.push(group);
            }
            if !is_open_to_group {
                proposal.closed.push(root.path.clone());
            }
        }
    }
    proposal.roots = chosen.into_iter().map(|chosen| chosen.root).collect();
    if proposal.target.is_none() {
        for upload in found.iter().flat_map(|server| &server.uploads) {
            proposal
                .notes
                .push(format!("{} is what the server uploads to itself: `--target` takes it over", upload.url));
        }
    }
    Ok(proposal)
}

/// The directories that were found and are there.
fn usable(found: &[FoundServer], only: Option<Server>, notes: &mut Vec<String>) -> Vec<FoundRoot> {
    let mut usable: Vec<FoundRoot> = Vec::new();
    for server in found.iter().filter(|server| only.is_none_or(|only| server.server == only)) {
        let title = server.server.title();
        if let Some(problem) = &server.problem {
            notes.push(format!("{title}: {problem}"));
        }
        for root in &server.roots {
            let path = printable(&root.root.path);
            match &root.place {
                _ if !root.root.is_on => notes.push(format!("{title} does not record into `{path}` now")),
                PathKind::Missing => notes.push(format!("{title} records into `{path}`, which does not exist yet")),
                PathKind::Other(why) => notes.push(format!("{title} records into `{path}`: {why}")),
                PathKind::Directory { .. } if usable.iter().any(|known| known.root.path == root.root.path) => {}
                PathKind::Directory { .. } => usable.push(root.clone()),
            }
        }
    }
    usable
}

/// The directories that were asked for; what was found about them is kept.
fn named(found: &[FoundServer], wishes: &Wishes) -> Result<Vec<FoundRoot>, NoProposal> {
    let unusable = |path: &Path, why: &str| NoProposal::Unusable { path: path.to_owned(), why: why.to_owned() };
    let one = |(path, place): &(PathBuf, PathKind)| {
        match place {
            PathKind::Missing => return Err(unusable(path, "it does not exist")),
            PathKind::Other(why) => return Err(unusable(path, why)),
            PathKind::Directory { .. } => {}
        }
        if path.to_str().is_none_or(|path| path.chars().any(char::is_control)) {
            return Err(unusable(
                path,
                "its path cannot be written in a configuration: it must be text without control characters",
            ));
        }
        let known = found.iter().flat_map(|server| &server.roots).find(|known| known.root.path == *path);
        let known = known.filter(|known| wishes.server.is_none_or(|server| server == known.root.server));
        let root = known.map_or_else(
            || DraftRoot::new(path.clone(), wishes.server.unwrap_or_default(), &[], true),
            |known| DraftRoot { is_on: true, ..known.root.clone() },
        );
        Ok(FoundRoot { root, place: place.clone() })
    };
    wishes.roots.iter().map(one).collect()
}

/// What was found, in one line for each server, directory and note.
pub fn summary(found: &[FoundServer]) -> Vec<String> {
    let mut lines = Vec::new();
    for server in found {
        let state =
            server.pid.map_or_else(|| "installed, not running".to_owned(), |pid| format!("running, process {pid}"));
        let from = server.configuration.as_deref().map_or_else(String::new, |path| format!(", {}", printable(path)));
        lines.push(format!("{} ({state}{from})", server.server.title()));
        lines.extend(server.problem.iter().map(|problem| format!("  {problem}")));
        for root in &server.roots {
            let state = match &root.place {
                _ if !root.root.is_on => "not recorded into now".to_owned(),
                PathKind::Directory { .. } => root.root.of.join(", "),
                PathKind::Missing => "does not exist yet".to_owned(),
                PathKind::Other(why) => why.clone(),
            };
            lines.push(format!("  {}: {state}", printable(&root.root.path)));
        }
        lines.extend(server.notes.iter().map(|note| format!("    note: {note}")));
    }
    if lines.is_empty() {
        lines.push("No ingest server was found on this machine.".to_owned());
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    const OPEN: PathKind = PathKind::Directory { group: 33, is_open_to_group: true };
    const CLOSED: PathKind = PathKind::Directory { group: 0, is_open_to_group: false };

    fn root(path: &str, server: Server, place: PathKind) -> FoundRoot {
        FoundRoot { root: DraftRoot::new(path.into(), server, &["application `live`".to_owned()], true), place }
    }

    fn server(server: Server, roots: Vec<FoundRoot>) -> FoundServer {
        FoundServer {
            server,
            pid: Some(7),
            configuration: Some("/etc/x.conf".into()),
            problem: None,
            roots,
            uploads: Vec::new(),
            notes: Vec::new(),
        }
    }

    fn found() -> Vec<FoundServer> {
        let mut nginx = root("/var/rec", Server::NginxRtmp, OPEN);
        nginx.root.template = Some("{stream}_{start:%Y%m%d}".into());
        vec![
            server(Server::NginxRtmp, vec![nginx, root("/none", Server::NginxRtmp, PathKind::Missing)]),
            server(Server::Srs, vec![root("/srs", Server::Srs, CLOSED), root("/var/rec", Server::Srs, OPEN)]),
        ]
    }

    #[test]
    fn what_was_found_and_is_there_is_proposed_once() {
        let accounts = Accounts::default();
        let proposal = propose(&found(), &Wishes::default(), &accounts).unwrap();
        let roots: Vec<_> = proposal.roots.iter().map(|r| (r.path.to_str().unwrap(), r.server)).collect();
        assert_eq!(roots, [("/var/rec", Server::NginxRtmp), ("/srs", Server::Srs)]);
        assert_eq!(proposal.groups, ["33", "0"]);
        assert_eq!(proposal.closed, [PathBuf::from("/srs")]);
        assert!(proposal.notes[0].contains("`/none`, which does not exist yet"), "{:?}", proposal.notes);
        let only = Wishes { server: Some(Server::Srs), group: Some("live".into()), ..Wishes::default() };
        let proposal = propose(&found(), &only, &accounts).unwrap();
        assert_eq!((proposal.roots.len(), proposal.groups), (2, vec!["live".to_owned()]));
    }

    #[test]
    fn what_was_named_wins_and_keeps_what_is_known_of_it() {
        let wish = |path: &str, place: PathKind, server| Wishes {
            roots: vec![(path.into(), place)],
            server,
            ..Wishes::default()
        };
        let accounts = Accounts::default();
        let known = propose(&found(), &wish("/var/rec", OPEN, None), &accounts).unwrap();
        assert_eq!((known.roots[0].server, known.roots[0].template.is_some()), (Server::NginxRtmp, true));
        let other = propose(&found(), &wish("/var/rec", OPEN, Some(Server::Obs)), &accounts).unwrap();
        assert_eq!((other.roots[0].server, other.roots[0].template.is_some()), (Server::Obs, false));
        let unknown = propose(&[], &wish("/new", OPEN, None), &accounts).unwrap();
        assert_eq!(unknown.roots[0].server, Server::Auto);
        for (path, place) in [("/none", PathKind::Missing), ("/file", PathKind::Other("x".into())), ("/a\nb", OPEN)] {
            assert!(
                matches!(propose(&[], &wish(path, place, None), &accounts), Err(NoProposal::Unusable { .. })),
                "{path}"
            );
        }
    }

    #[test]
    fn roots_that_lie_in_another_are_watched_with_it() {
        let roots = ["/rec/b", "/rec", "/rec/a/x", "/record"].map(|path| (PathBuf::from(path), OPEN)).to_vec();
        let proposal = propose(&[], &Wishes { roots, ..Wishes::default() }, &Accounts::default()).unwrap();
        let paths: Vec<_> = proposal.roots.iter().map(|root| root.path.to_str().unwrap()).collect();
        assert_eq!((paths, proposal.notes.len()), (vec!["/rec", "/record"], 2));
    }

    #[test]
    fn nothing_found_says_why_and_what_to_do() {
        let none = propose(&[], &Wishes::default(), &Accounts::default()).unwrap_err();
        assert_eq!(none.to_string(), "no directory of recordings was found: name one with `--root DIR`");
        let mut off = root("/x\u{1b}[2J", Server::MediaMtx, OPEN);
        off.root.is_on = false;
        let broken = FoundServer { problem: Some("line 3: x".into()), ..server(Server::Srs, Vec::new()) };
        let error = propose(&[server(Server::MediaMtx, vec![off]), broken], &Wishes::default(), &Accounts::default())
            .unwrap_err();
        let said = error.to_string();
        assert!(
            said.contains("does not record") && said.contains("SRS: line 3: x") && !said.contains('\u{1b}'),
            "{said}"
        );
    }

    #[test]
    fn an_upload_of_the_server_is_only_proposed_when_it_is_asked_for() {
        let mut livekit = server(Server::LiveKit, vec![root("/out", Server::LiveKit, OPEN)]);
        livekit.uploads.push(DraftTarget::new("s3", "s3://b"));
        let proposal = propose(&[livekit], &Wishes::default(), &Accounts::default()).unwrap();
        assert!(proposal.target.is_none() && proposal.notes[0].starts_with("s3://b is what"), "{:?}", proposal.notes);
        assert_eq!(summary(&found())[1], "  /var/rec: application `live`");
        assert_eq!(summary(&[]).len(), 1);
    }
}
