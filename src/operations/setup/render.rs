//! A proposal as a configuration, and the commands that come next. Pure.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use super::accounts::Accounts;
use super::propose::Proposal;
use crate::config::{draft_comment, draft_watch, quote};
use crate::discover::Server;

/// The user that the systemd unit runs aftercast as.
pub const USER: &str = "aftercast";

/// The text of the configuration.
pub fn text(proposal: &Proposal) -> String {
    let mut text = String::from(
        "# Written by `aftercast setup`. Every key: config.toml.example; `aftercast config check` checks this file.\n",
    );
    if let Some(state_dir) = proposal.state_dir.as_ref().and_then(|path| path.to_str()) {
        let _ = writeln!(text, "\nstate_dir = {}", quote(state_dir));
    }
    let server = proposal.roots.first().map_or(Server::Auto, |root| root.server);
    text.push_str(&draft_watch(server, &proposal.roots));
    if let Some(target) = &proposal.target {
        text.push_str(&target.text());
    } else {
        text.push_str("\n# No target: recordings are finished and catalogued, and nothing is uploaded or freed.\n");
        text.push_str("#[[deliver.target]]\n#name = \"primary\"\n#url = \"s3://bucket/streams\"\n");
    }
    text.push_str(
        "\n[retain]\ndelete_local = \"never\" # \"delivered\": free local files after the target has confirmed them\n",
    );
    for note in &proposal.notes {
        text.push_str(&draft_comment(&format!("Note: {note}.")));
    }
    text
}

/// What is known of the place that the commands are for.
#[derive(Debug, Clone, Copy)]
pub struct Surroundings<'a> {
    /// Whether this process is root's: then the daemon is a service with a user of its own.
    pub is_root: bool,
    /// Whether the systemd unit is installed.
    pub has_unit: bool,
    /// Users and groups.
    pub accounts: &'a Accounts,
    /// The configuration that was written.
    pub config: &'a Path,
}

/// The next commands, in their order; each with what it does behind a `#`.
pub fn next_commands(proposal: &Proposal, surroundings: &Surroundings<'_>) -> Vec<String> {
    let mut commands = if surroundings.is_root { of_service(proposal, surroundings) } else { Vec::new() };
    let aftercast = aftercast(surroundings.config);
    // The state directory belongs to the user of the service, so root does not open it.
    let is_service = surroundings.is_root && surroundings.has_unit;
    let as_user = if is_service { format!("runuser -u {USER} -- ") } else { String::new() };
    commands.push(format!("{as_user}{aftercast} doctor  # check again"));
    if let Some(root) = proposal.roots.first() {
        let root = shell(&root.path);
        commands.push(format!("{as_user}{aftercast} process --dry-run {root}  # print what would be done"));
    }
    commands.push(match surroundings {
        Surroundings { is_root: true, has_unit: true, .. } => "systemctl enable --now aftercast  # start".to_owned(),
        _ => format!("{aftercast} watch  # start"),
    });
    commands
}

/// `aftercast`, with the option that names a configuration that is not looked for.
fn aftercast(config: &Path) -> String {
    let is_default = [Path::new("/etc/aftercast/config.toml"), Path::new("config.toml")].contains(&config);
    if is_default { "aftercast".to_owned() } else { format!("aftercast --config {}", shell(config)) }
}

/// What makes the service's user one that may finish recordings.
fn of_service(proposal: &Proposal, surroundings: &Surroundings<'_>) -> Vec<String> {
    let accounts = surroundings.accounts;
    let mut commands = Vec::new();
    if accounts.user(USER).is_none() {
        commands.push(format!("useradd --system --no-create-home {USER}  # the user of the service"));
    }
    let usable: Vec<&String> = proposal.groups.iter().filter(|group| *group != "root" && *group != "0").collect();
    for group in usable.iter().filter(|group| !accounts.is_member(USER, group)) {
        commands.push(format!("usermod -aG {} {USER}  # the group that owns the recordings", shell(Path::new(group))));
    }
    // Where the group cannot, the user is let in by name.
    let by_name = proposal.roots.iter().map(|root| &root.path);
    let by_name: Vec<&PathBuf> = by_name.filter(|path| usable.is_empty() || proposal.closed.contains(path)).collect();
    for path in by_name {
        let path = shell(path);
        commands.push(format!(
            "setfacl -R -m u:{USER}:rwX -m d:u:{USER}:rwX {path}  # let the user of the service read and write it"
        ));
    }
    if surroundings.has_unit {
        let mut drop_in = String::from("systemctl edit aftercast  # in [Service]:");
        for group in usable {
            let _ = write!(drop_in, " SupplementaryGroups={group}");
        }
        for root in &proposal.roots {
            let _ = write!(drop_in, " ReadWritePaths={}", systemd(&root.path));
        }
        commands.push(drop_in);
    }
    commands
}

/// A word as a shell takes it.
fn shell(path: &Path) -> String {
    let text = path.to_string_lossy();
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "/._-+:@%,".contains(c);
    if !text.is_empty() && text.chars().all(is_plain) {
        text.into_owned()
    } else {
        format!("'{}'", text.replace('\'', "'\\''"))
    }
}

/// A path as systemd takes it in a unit file: a `%` begins a specifier, also inside quotes.
fn systemd(path: &Path) -> String {
    let text = path.to_string_lossy().replace('%', "%%");
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "/._-+:@%,".contains(c);
    if !text.is_empty() && text.chars().all(is_plain) {
        text
    } else {
        format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{DraftRoot, DraftTarget, FileText, read};

    fn proposal(path: &str) -> Proposal {
        Proposal {
            roots: vec![DraftRoot::new(path.into(), Server::NginxRtmp, &["application `live`".to_owned()], true)],
            groups: vec!["www-data".into()],
            state_dir: Some("/var/lib/aftercast".into()),
            ..Proposal::default()
        }
    }

    fn loaded(text: &str) -> crate::config::Config {
        let env = std::collections::BTreeMap::from([("HOME".to_owned(), "/home/op".to_owned())]);
        read(Some(FileText { path: Path::new("c.toml"), text }), &env, &[]).unwrap_or_else(|e| panic!("{e}\n{text}"))
    }

    #[test]
    fn what_is_written_loads_whatever_the_names_hold() {
        let mut proposal = proposal("/srv/it's \"rec\" #1\u{202e}");
        proposal.notes.push("a\nroots = [\"/etc\"]".into());
        proposal.target = Some(DraftTarget {
            endpoint: Some("https://minio.example:9000".into()),
            credential_files: vec![("access_key_id_file".into(), "/etc/aftercast/id".into())],
            ..DraftTarget::new("primary", "s3://bucket/streams")
        });
        let config = loaded(&text(&proposal));
        assert_eq!(config.watch.roots.len(), 1);
        assert_eq!(
            (&config.watch.roots[0].path, config.watch.roots[0].server),
            (&proposal.roots[0].path, Server::NginxRtmp)
        );
        assert_eq!(config.state_dir, Path::new("/var/lib/aftercast"));
        assert_eq!(config.deliver.targets[0].endpoint.as_deref(), Some("https://minio.example:9000"));
        assert_eq!(config.deliver.targets[0].credential_files.len(), 1);
        proposal.target = None;
        proposal.roots.push(DraftRoot { template: Some("{stream}_{start:%s}".into()), ..proposal.roots[0].clone() });
        proposal.roots[1].path = "/other".into();
        let config = loaded(&text(&proposal));
        assert_eq!((config.watch.roots.len(), config.deliver.targets.len()), (2, 0));
    }

    #[test]
    fn a_service_gets_its_user_its_groups_and_its_unit() {
        let accounts = Accounts::default();
        let config = Path::new("/etc/aftercast/config.toml");
        let root = Surroundings { is_root: true, has_unit: true, accounts: &accounts, config };
        let commands = next_commands(&proposal("/var/rec"), &root);
        assert_eq!(
            commands,
            [
                "useradd --system --no-create-home aftercast  # the user of the service",
                "usermod -aG www-data aftercast  # the group that owns the recordings",
                "systemctl edit aftercast  # in [Service]: SupplementaryGroups=www-data ReadWritePaths=/var/rec",
                "runuser -u aftercast -- aftercast doctor  # check again",
                "runuser -u aftercast -- aftercast process --dry-run /var/rec  # print what would be done",
                "systemctl enable --now aftercast  # start",
            ]
        );
        for (path, written) in [
            ("/srv/50%", "/srv/50%%"),
            ("/srv/my %h", "\"/srv/my %%h\""),
            ("/srv/it's", "\"/srv/it's\""),
            (r#"/srv/a"b\c"#, r#""/srv/a\"b\\c""#),
        ] {
            let commands = next_commands(&proposal(path), &root);
            let drop_in = format!(
                "systemctl edit aftercast  # in [Service]: SupplementaryGroups=www-data ReadWritePaths={written}"
            );
            assert_eq!(commands[2], drop_in);
        }
        let mut of_root = proposal("/var/my rec");
        of_root.groups = vec!["root".into()];
        let commands = next_commands(&of_root, &Surroundings { has_unit: false, ..root });
        assert_eq!(
            commands[1].split("  #").next(),
            Some("setfacl -R -m u:aftercast:rwX -m d:u:aftercast:rwX '/var/my rec'")
        );
        let own = Surroundings { is_root: false, config: Path::new("/home/me/a'b.toml"), ..root };
        let commands = next_commands(&proposal("/var/rec"), &own);
        assert_eq!(commands[2], "aftercast --config '/home/me/a'\\''b.toml' watch  # start");
    }
}
