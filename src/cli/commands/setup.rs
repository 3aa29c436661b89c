//! `setup`: the first run. What decides is in `operations::setup`; here it is asked for, shown and applied.

use std::io;
use std::path::{Path, PathBuf};

use serde_json::json;

use super::super::args::{Cli, SetupArgs};
use super::super::asking::{self, Answers};
use super::super::exit::Exit;
use super::super::output::Output;
use super::super::run::absolute;
use super::{CommandError, doctor};
use crate::config::{self, DraftTarget};
use crate::discover::Server;
use crate::operations::Check;
use crate::operations::setup::{self, Accounts, Credential, FoundServer, Proposal, Surroundings, Wishes};
use crate::printable::Printable;
use crate::recording::name::printable;

/// Where the service's configuration is.
const SYSTEM_CONFIG: &str = "/etc/aftercast/config.toml";
const SYSTEM_STATE: &str = "/var/lib/aftercast";
/// Where packages and operators put the unit.
const UNITS: [&str; 3] = [
    "/etc/systemd/system/aftercast.service",
    "/lib/systemd/system/aftercast.service",
    "/usr/lib/systemd/system/aftercast.service",
];

/// What is the same for a run with questions and one without.
struct Run<'a> {
    accounts: Accounts,
    is_root: bool,
    config: PathBuf,
    state_dir: Option<PathBuf>,
    args: &'a SetupArgs,
}

/// Sets up, with or without questions.
pub fn run(cli: &Cli, args: &SetupArgs, out: &mut Output<'_>) -> Result<Exit, CommandError> {
    let has_questions = !args.yes && !args.dry_run;
    if has_questions && !asking::is_possible() {
        return Err(CommandError::usage(
            "`setup` asks questions, and there is no terminal to ask on: take the proposal with `--yes` (and `--root`, \
             `--server`, `--target` …), or print it with `--dry-run`",
        ));
    }
    let is_root = rustix::process::geteuid().is_root();
    let default = if is_root { SYSTEM_CONFIG } else { "config.toml" };
    let config = cli.config.clone().unwrap_or_else(|| PathBuf::from(default));
    let state_dir = cli.state_dir.clone().or_else(|| is_root.then(|| PathBuf::from(SYSTEM_STATE)));
    let run = Run {
        accounts: Accounts::here(),
        is_root,
        config: absolute(&[config]).remove(0),
        state_dir: state_dir.map(|directory| absolute(&[directory]).remove(0)),
        args,
    };
    let wishes = wishes(&run)?;
    let found = setup::find();
    if has_questions {
        with_questions(&run, wishes, &found, &mut Answers::of_terminal(), out)
    } else {
        without_questions(&run, &wishes, &found, out)
    }
}

/// What the arguments ask for.
fn wishes(run: &Run<'_>) -> Result<Wishes, CommandError> {
    let args = run.args;
    let server = args.server.as_deref().map(server).transpose().map_err(CommandError::usage)?;
    let target = args.target.as_deref().map(|url| target(url, args)).transpose().map_err(CommandError::usage)?;
    Ok(Wishes {
        roots: absolute(&args.root)
            .into_iter()
            .map(|path| {
                let place = setup::place(&path);
                (path, place)
            })
            .collect(),
        server,
        target,
        group: args.group.clone(),
        state_dir: run.state_dir.clone(),
    })
}

fn server(name: &str) -> Result<Server, String> {
    let names: Vec<_> = Server::ALL.iter().map(|server| server.name()).collect();
    Server::from_name(name).ok_or_else(|| format!("`{name}` is not a server: use {}", names.join(", ")))
}

fn target(url: &str, args: &SetupArgs) -> Result<DraftTarget, String> {
    config::check_target(url, args.endpoint.as_deref()).map_err(|why| format!("the target cannot be used: {why}"))?;
    let file = |text: &String| {
        let pair = text.split_once('=').map(|(name, path)| (name.to_owned(), path.to_owned()));
        pair.ok_or_else(|| {
            "`--credential-file` takes NAME=FILE, such as `access_key_id_file=/etc/aftercast/key-id`".to_owned()
        })
    };
    Ok(DraftTarget {
        endpoint: args.endpoint.clone(),
        region: args.region.clone(),
        credential_files: args.credential_file.iter().map(file).collect::<Result<_, _>>()?,
        ..DraftTarget::new("primary", url.trim())
    })
}

fn proposed(run: &Run<'_>, wishes: &Wishes, found: &[FoundServer]) -> Result<Proposal, CommandError> {
    setup::propose(found, wishes, &run.accounts).map_err(|why| CommandError::usage(why.to_string()))
}

fn without_questions(
    run: &Run<'_>,
    wishes: &Wishes,
    found: &[FoundServer],
    out: &mut Output<'_>,
) -> Result<Exit, CommandError> {
    show_found(found, out).map_err(CommandError::output)?;
    let proposal = proposed(run, wishes, found)?;
    let text = setup::text(&proposal);
    let checked = setup::check(&run.config, &text)?;
    if run.args.dry_run || is_own(&run.config) {
        show_text(&text, out).map_err(CommandError::output)?;
        return if run.args.dry_run { Ok(Exit::Done) } else { Err(setup::taken(&run.config).into()) };
    }
    if setup::is_packaged(&run.config) {
        say_replaced(run, out).map_err(CommandError::output)?;
    }
    setup::write_configuration(&run.config, &text, run.is_root, &run.accounts)?;
    let checks = setup::checks_of_service(&checked, run.is_root, &run.accounts);
    finished(run, &proposal, &text, &checks, out)
}

/// Whether somebody's own file has that name: anything but the configuration as the package installs it.
fn is_own(config: &Path) -> bool {
    setup::is_taken(config) && !setup::is_packaged(config)
}

fn say_replaced(run: &Run<'_>, out: &mut Output<'_>) -> io::Result<()> {
    writeln!(out.err, "{} is as the package installed it: it will be replaced.", printable(&run.config))
}

fn show_found(found: &[FoundServer], out: &mut Output<'_>) -> io::Result<()> {
    setup::summary(found).iter().try_for_each(|line| writeln!(out.err, "{line}"))
}

fn show_text(text: &str, out: &mut Output<'_>) -> io::Result<()> {
    if out.is_json {
        out.json(&json!({ "configuration": text }))
    } else {
        out.out.as_it_is().write_all(text.as_bytes())
    }
}

/// Says what was written, what `doctor` says about it, and what comes next.
fn finished(
    run: &Run<'_>,
    proposal: &Proposal,
    text: &str,
    checks: &[Check],
    out: &mut Output<'_>,
) -> Result<Exit, CommandError> {
    let has_unit = UNITS.iter().any(|unit| Path::new(unit).exists());
    let surroundings =
        Surroundings { is_root: run.is_root, has_unit, accounts: &run.accounts, config: &shown_config(&run.config) };
    let commands = setup::next_commands(proposal, &surroundings);
    print_finished(run, text, checks, &commands, out).map_err(CommandError::output)?;
    Ok(if checks.iter().all(|check| check.is_ok) { Exit::Done } else { Exit::Environment })
}

/// `config.toml` in the working directory needs no option.
fn shown_config(config: &Path) -> PathBuf {
    let here = std::env::current_dir().ok();
    let is_here = here.is_some_and(|here| config == here.join("config.toml"));
    if is_here { PathBuf::from("config.toml") } else { config.to_owned() }
}

fn print_finished(
    run: &Run<'_>,
    text: &str,
    checks: &[Check],
    commands: &[String],
    out: &mut Output<'_>,
) -> io::Result<()> {
    if out.is_json {
        return out.json(&json!({ "file": run.config, "configuration": text, "checks": checks, "next": commands }));
    }
    writeln!(out.out, "Wrote {}.", printable(&run.config))?;
    writeln!(out.out)?;
    doctor::print(checks, out)?;
    writeln!(out.out)?;
    writeln!(out.out, "Next:")?;
    commands.iter().try_for_each(|command| writeln!(out.out, "  {command}"))
}

fn with_questions(
    run: &Run<'_>,
    mut wishes: Wishes,
    found: &[FoundServer],
    answers: &mut Answers<'_>,
    out: &mut Output<'_>,
) -> Result<Exit, CommandError> {
    show_found(found, out).map_err(CommandError::output)?;
    let is_taken = is_own(&run.config);
    if is_taken {
        let said = writeln!(out.err, "{} exists: the configuration will only be printed.", printable(&run.config));
        said.map_err(CommandError::output)?;
    } else if setup::is_packaged(&run.config) {
        say_replaced(run, out).map_err(CommandError::output)?;
    }
    let executor = |error: io::Error| match error.kind() {
        io::ErrorKind::UnexpectedEof => CommandError::usage(format!("{}; nothing was written", Printable(&error))),
        _ => CommandError::output(error),
    };
    if wishes.roots.is_empty() {
        wishes.roots = ask_roots(found, &mut wishes.server, answers, out).map_err(executor)?;
    }
    let mut secrets = Vec::new();
    if wishes.target.is_none() {
        let uploads = found.iter().flat_map(|server| &server.uploads).next();
        wishes.target = ask_target(run, uploads, &mut secrets, answers, out).map_err(executor)?;
    }
    let proposal = proposed(run, &wishes, found)?;
    let text = setup::text(&proposal);
    let checked = setup::check(&run.config, &text)?;
    writeln!(out.err).map_err(CommandError::output)?;
    show_text(&text, out).map_err(CommandError::output)?;
    writeln!(out.err).map_err(CommandError::output)?;
    if is_taken {
        return Err(setup::taken(&run.config).into());
    }
    let question = format!("Write this to {}?", printable(&run.config));
    if !answers.yes(&question, true, out).map_err(executor)? {
        writeln!(out.err, "Nothing was written.").map_err(CommandError::output)?;
        return Ok(Exit::Done);
    }
    for secret in &secrets {
        setup::write_credential(secret, run.is_root, &run.accounts)?;
    }
    setup::write_configuration(&run.config, &text, run.is_root, &run.accounts)?;
    let checks = setup::checks_of_service(&checked, run.is_root, &run.accounts);
    finished(run, &proposal, &text, &checks, out)
}

type Roots = Vec<(PathBuf, setup::PathKind)>;

/// Asks for each directory that was found, then for others.
fn ask_roots(
    found: &[FoundServer],
    server: &mut Option<Server>,
    answers: &mut Answers<'_>,
    out: &mut Output<'_>,
) -> io::Result<Roots> {
    let mut roots: Roots = Vec::new();
    let there = |root: &&setup::FoundRoot| matches!(root.place, setup::PathKind::Directory { .. });
    for of in found.iter().filter(|of| server.is_none_or(|only| of.server == only)) {
        for root in of.roots.iter().filter(there) {
            let path = printable(&root.root.path);
            let question = format!("Watch {path} ({})?", of.server.title());
            let is_known = roots.iter().any(|(known, _)| *known == root.root.path);
            if !is_known && answers.yes(&question, root.root.is_on, out)? {
                roots.push((root.root.path.clone(), root.place.clone()));
            }
        }
    }
    loop {
        let question =
            if roots.is_empty() { "Directory of the recordings" } else { "Another directory (empty: no other)" };
        let needs_one = roots.is_empty();
        let more = answers.line(question, None, out, |answer| another(answer, needs_one))?;
        let Some(more) = more else { return Ok(roots) };
        if server.is_none() && roots.is_empty() {
            let of = answers.line("Which server writes there", Some(Server::Auto.name()), out, self::server)?;
            *server = (of != Server::Auto).then_some(of);
        }
        roots.push(more);
    }
}

fn another(answer: &str, needs_one: bool) -> Result<Option<(PathBuf, setup::PathKind)>, String> {
    if answer.is_empty() {
        return if needs_one { Err("name at least one directory".into()) } else { Ok(None) };
    }
    let path = absolute(&[PathBuf::from(answer)]).remove(0);
    match setup::place(&path) {
        setup::PathKind::Missing => Err("it does not exist".into()),
        setup::PathKind::Other(why) => Err(why),
        place @ setup::PathKind::Directory { .. } => Ok(Some((path, place))),
    }
}

fn ask_target(
    run: &Run<'_>,
    known: Option<&DraftTarget>,
    secrets: &mut Vec<Credential>,
    answers: &mut Answers<'_>,
    out: &mut Output<'_>,
) -> io::Result<Option<DraftTarget>> {
    let question =
        "Upload to (s3://bucket/prefix, az://container/prefix, gs://bucket/prefix, file:///path; `-`: nowhere)";
    let default = known.map_or("-", |known| &known.url);
    let url = answers.line(question, Some(default), out, |url| match url {
        "-" | "" => Ok(None),
        url => config::check_target(url, None).map(|()| Some(url.trim().to_owned())),
    })?;
    let Some(url) = url else { return Ok(None) };
    let known = known.filter(|known| known.url == url);
    let mut target = known.cloned().unwrap_or_else(|| DraftTarget::new("primary", &url));
    if url.starts_with("s3://") {
        let endpoint = target.endpoint.clone().unwrap_or_default();
        target.endpoint =
            answers.line("Endpoint (`-`: Amazon S3)", Some(or_dash(&endpoint)), out, |endpoint| match endpoint {
                "-" => Ok(None),
                endpoint => config::check_target(&url, Some(endpoint)).map(|()| Some(endpoint.to_owned())),
            })?;
        let region = target.region.clone().unwrap_or_default();
        target.region = answers.line("Region (`-`: from the environment)", Some(or_dash(&region)), out, |region| {
            Ok((region != "-").then(|| region.to_owned()))
        })?;
    }
    ask_credentials(run, &mut target, secrets, answers, out)?;
    Ok(Some(target))
}

fn or_dash(text: &str) -> &str {
    if text.is_empty() { "-" } else { text }
}

/// What each store takes as credentials, with what it is called.
fn credentials_of(url: &str) -> &'static [(&'static str, &'static str)] {
    match url.split("://").next() {
        Some("s3") => &[("access_key_id_file", "Access key id"), ("secret_access_key_file", "Secret access key")],
        Some("az") => &[("account_name_file", "Storage account name"), ("account_key_file", "Account key")],
        Some("gs") => &[("service_account_file", "Service account key (JSON)")],
        _ => &[],
    }
}

fn ask_credentials(
    run: &Run<'_>,
    target: &mut DraftTarget,
    secrets: &mut Vec<Credential>,
    answers: &mut Answers<'_>,
    out: &mut Output<'_>,
) -> io::Result<()> {
    let wanted = credentials_of(&target.url);
    let is_typed = !target.url.starts_with("gs://");
    let choices = [
        "the environment, or the cloud's own credential chain",
        "files that exist",
        "typed now, and kept in files of mode 0600",
    ];
    let choices = if is_typed { &choices[..] } else { &choices[..2] };
    if wanted.is_empty() {
        return Ok(());
    }
    writeln!(out.err, "Where do the credentials come from?")?;
    let choice = answers.choice("Credentials", choices, out)?;
    for (name, what) in wanted.iter().filter(|_| choice > 0) {
        let path = if choice == 1 {
            answers.line(&format!("{what}, file"), None, out, existing)?
        } else {
            let directory = run.config.parent().unwrap_or(Path::new("/"));
            let default = directory.join(format!("{}.{}", target.name, name.trim_end_matches("_file")));
            let path = answers.line(&format!("{what}, file to write"), default.to_str(), out, unused)?;
            let value = Answers::secret(what, out)?;
            secrets.push(Credential { name: (*name).to_owned(), path: path.clone(), value });
            path
        };
        target.credential_files.push(((*name).to_owned(), path.to_string_lossy().into_owned()));
    }
    Ok(())
}

fn existing(answer: &str) -> Result<PathBuf, String> {
    let path = absolute(&[PathBuf::from(answer)]).remove(0);
    if path.is_file() { Ok(path) } else { Err("there is no such file".into()) }
}

fn unused(answer: &str) -> Result<PathBuf, String> {
    let path = absolute(&[PathBuf::from(answer)]).remove(0);
    if setup::is_taken(&path) { Err("it exists; a file is never overwritten".into()) } else { Ok(path) }
}
