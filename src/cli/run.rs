//! From arguments to an exit code: reads the configuration, opens the house or asks the daemon that has it, prints errors.

use std::ffi::OsString;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use super::args::{CatalogCommand, Cli, Command, ConfigCommand, ProcessArgs, QueueCommand, VodCommand};
use super::commands::{self, Failure};
use super::exit::Exit;
use super::output::{End, Output};
use super::table::Style;
use super::{logging, memory, progress, report, signals, socket};
use crate::catalog::CatalogError;
use crate::config::{self, Config, ConfigError, Sources};
use crate::deliver::{TargetOptions, readable_secrets};
use crate::discover::{Mode, Server};
use crate::durable::RootError;
use crate::pipeline::{self, Engine, House, NameOverrides, Opening, PipelineError, Settings, Stop};
use crate::recording::name::printable_text;

/// Runs what was typed; returns the exit code.
pub fn main(args: impl IntoIterator<Item = OsString>) -> u8 {
    memory::give_back_large_blocks();
    let typed: Vec<OsString> = args.into_iter().collect();
    let cli = match Cli::read(&typed) {
        Ok(cli) => cli,
        Err(error) => {
            let _ = error.print();
            return if error.use_stderr() { Exit::Usage.code() } else { Exit::Done.code() };
        }
    };
    logging::start(&cli);
    let (mut out, mut err) = (progress::beside_bars(io::stdout()), progress::beside_bars(io::stderr()));
    let style = if cli.json { Style::Plain } else { Style::of_stdout() };
    let mut output = Output { out: End::new(&mut out), err: End::new(&mut err), is_json: cli.json, style };
    let exit = match run(&cli, &typed[1..], &mut output) {
        Ok(exit) => exit,
        Err(failure) => explain(&failure, &mut output),
    };
    let _ = output.out.as_it_is().flush();
    let _ = output.err.as_it_is().flush();
    exit.code()
}

/// Prints why a command ended early. A reader of the results who went away is no failure.
pub fn explain(failure: &Failure, out: &mut Output<'_>) -> Exit {
    let (exit, text) = match failure {
        Failure::Configuration(error) => (Exit::Configuration, report::of_fault(error.as_ref())),
        Failure::InUse(error) => (Exit::StateInUse, report::of_fault(error)),
        Failure::RootInUse(error) => (Exit::StateInUse, report::of_fault(error)),
        Failure::Fault(error) => (Exit::of_class(error.class()), report::of_fault(error.as_ref())),
        Failure::Usage(text) => (Exit::Usage, format!("Error: {}\n", printable_text(text))),
        Failure::Output(error) if error.kind() == io::ErrorKind::BrokenPipe => return Exit::Done,
        Failure::Output(error) => (Exit::Environment, report::render(error, &[])),
    };
    let _ = out.err.as_it_is().write_all(text.as_bytes());
    exit
}

fn run(cli: &Cli, typed: &[OsString], out: &mut Output<'_>) -> Result<Exit, Failure> {
    match &cli.command {
        Command::Completions { shell } => commands::help::completions(*shell, out),
        Command::Man => commands::help::man(out),
        Command::Config(ConfigCommand::ImportAntmedia { file }) => commands::config::import(file, out),
        Command::Config(command) => commands::config::run(&configured(cli)?, command, out),
        Command::Inspect(args) => commands::inspect::run(&configured(cli)?, &args.file, out),
        Command::Doctor => commands::doctor::run(&configured(cli)?, out),
        Command::Watch(args) => commands::watch::run(cli, args, out),
        Command::Recover(args) if args.output.is_some() => commands::recover::run(&configured(cli)?, args, out),
        _ => with_house(cli, typed, out),
    }
}

/// Reads the configuration that the arguments name; its warnings are said once.
pub fn configured(cli: &Cli) -> Result<Config, Failure> {
    let state_dir = cli.state_dir.as_ref().map(|dir| std::path::absolute(dir).unwrap_or_else(|_| dir.clone()));
    let overrides: Vec<_> =
        state_dir.iter().map(|dir| ("state_dir".to_owned(), dir.to_string_lossy().into_owned())).collect();
    let config = config::load(&Sources::of_process(cli.config.as_deref(), &overrides)).map_err(Failure::from_config)?;
    config.warnings.iter().for_each(|warning| report::warn(warning));
    if uses_secrets(&cli.command) {
        for secret in readable_secrets(&config.deliver) {
            report::warn(&format!("{secret}. {}", secret.remedy()));
        }
    }
    Ok(config)
}

/// Whether a command is a start, or a look at the settings. `doctor` lists its findings itself.
const fn uses_secrets(command: &Command) -> bool {
    matches!(
        command,
        Command::Watch(_) | Command::Process(_) | Command::Recover(_) | Command::Config(ConfigCommand::Check)
    )
}

/// What the pipeline needs of the configuration.
pub fn settings_of(config: &Config) -> Settings {
    Settings {
        state_dir: config.state_dir.clone(),
        watch: config.watch.clone(),
        finish: config.finish.clone(),
        deliver: config.deliver.clone(),
        retain: config.retain.clone(),
        events: config.events,
    }
}

impl Failure {
    fn from_config(error: ConfigError) -> Self {
        Self::Configuration(Box::new(error))
    }

    /// A house or a root that is in use is told apart from every other failure.
    pub fn from_engine(error: PipelineError) -> Self {
        match error {
            PipelineError::Catalog(in_use @ CatalogError::InUse { .. }) => Self::InUse(in_use),
            PipelineError::Root(in_use @ RootError::InUse { .. }) => Self::RootInUse(in_use),
            other => Self::Fault(Box::new(other)),
        }
    }
}

/// Opens the house; where the daemon has it, asks the daemon to run the same command.
fn with_house(cli: &Cli, typed: &[OsString], out: &mut Output<'_>) -> Result<Exit, Failure> {
    let config = configured(cli)?;
    let settings = settings_for(cli, &config);
    let path = House::socket_path(&settings.state_dir);
    let stop = Stop::default();
    signals::listen(&stop, || ());
    let sets_aside = matches!(cli.command, Command::Catalog(CatalogCommand::Rebuild { .. }));
    let opening = Opening { sets_aside, asks_no_store: asks_no_store(&cli.command), ..Opening::default() };
    match Engine::start(settings, stop, opening).map_err(Failure::from_engine) {
        Ok(engine) => {
            let catalog = engine.house().catalog.clone();
            signals::before_an_abrupt_end(Exit::Interrupted, move || {
                drop(catalog.interrupt_attempts(pipeline::now_ms()));
            });
            let exit = run_here(cli, &config, &engine, None, out);
            engine.stop_working();
            drop(engine);
            match exit {
                Err(Failure::RootInUse(in_use)) => ask_owner(in_use, typed, out),
                exit => exit,
            }
        }
        Err(Failure::InUse(in_use)) => match socket::ask(&path, typed, out.out.as_it_is(), out.err.as_it_is()) {
            Ok(code) => Ok(Exit::from_code(code)),
            Err(_) => Err(Failure::InUse(in_use)),
        },
        Err(other) => Err(other),
    }
}

/// Without a configuration that names it, the process that owns a root is found by the root: the command is its to run.
fn ask_owner(in_use: RootError, typed: &[OsString], out: &mut Output<'_>) -> Result<Exit, Failure> {
    let socket = match &in_use {
        RootError::InUse { owner: Some(owner), .. } => House::socket_path(&owner.state_dir),
        _ => return Err(Failure::RootInUse(in_use)),
    };
    match socket::ask(&socket, typed, out.out.as_it_is(), out.err.as_it_is()) {
        Ok(code) => Ok(Exit::from_code(code)),
        Err(_) => Err(Failure::RootInUse(in_use)),
    }
}

/// Whether a command works with what is on this machine alone; it does so without credentials.
const fn asks_no_store(command: &Command) -> bool {
    match command {
        Command::Vod(command) => {
            matches!(command, VodCommand::List { .. } | VodCommand::Show { .. } | VodCommand::Export { .. })
        }
        Command::Queue(command) => matches!(command, QueueCommand::List { .. } | QueueCommand::Retry { .. }),
        Command::Retain(args) => args.dry_run,
        Command::Catalog(_) => true,
        _ => false,
    }
}

/// `--target URL` takes the place of the configured targets. What is typed ends sooner where it uses every core: at its lower
/// priority it gives way to a server beside it, so none is left to that.
fn settings_for(cli: &Cli, config: &Config) -> Settings {
    let mut settings = settings_of(config);
    if settings.finish.jobs == 0 && settings.finish.background_nice > 0 {
        settings.finish.jobs = std::thread::available_parallelism().map_or(1, usize::from);
    }
    let args = match &cli.command {
        Command::Process(args) => Some(args),
        Command::Recover(args) => Some(&args.process),
        _ => None,
    };
    if let Some(args) = args.filter(|args| !args.target.is_empty()) {
        let named =
            args.target.iter().enumerate().map(|(n, url)| TargetOptions::new(&format!("target-{}", n + 1), url));
        settings.deliver.targets = named.collect();
    }
    settings
}

/// Runs a command on an open house; `directory` is where a command behind the socket was typed.
pub fn run_here(
    cli: &Cli,
    config: &Config,
    engine: &Engine,
    directory: Option<&std::path::Path>,
    out: &mut Output<'_>,
) -> Result<Exit, Failure> {
    let house: &Arc<House> = engine.house();
    match &cli.command {
        Command::Process(args) => process(args, Mode::Process, config, engine, directory, out),
        Command::Recover(args) if args.undo => {
            commands::undo::run(house, &absolute(&args.process.paths, directory), out)
        }
        Command::Recover(args) => process(&args.process, Mode::Recover, config, engine, directory, out),
        Command::Vod(command) => commands::vod::run(house, command, out),
        Command::Queue(command) => commands::queue::run(house, command, directory, out),
        Command::Retain(args) => commands::retain::run(house, args, out),
        Command::Catalog(command) => commands::catalog::run(house, command, directory, out),
        _ => Err(Failure::Usage("this command does not need the catalogue; run it without the daemon".into())),
    }
}

fn process(
    args: &ProcessArgs,
    mode: Mode,
    config: &Config,
    engine: &Engine,
    directory: Option<&std::path::Path>,
    out: &mut Output<'_>,
) -> Result<Exit, Failure> {
    if directory.is_some() && !args.target.is_empty() {
        let why =
            "the daemon delivers to the targets of its configuration: leave `--target` out, or stop the daemon first";
        return Err(Failure::Usage(why.into()));
    }
    let server = args.server.as_deref().map(server_named).transpose()?;
    let names = NameOverrides { server, template: args.template.clone(), stream: args.stream.clone() };
    let paths = absolute(&args.paths, directory);
    let is_own_process = directory.is_none();
    let mut places = pipeline::places_of(&paths, &engine.house().settings(), &names);
    for place in places.iter_mut().filter(|p| !config.watch.roots.iter().any(|r| r.path == p.root.path)) {
        // A path outside every root is read like the section says, unless the command line says otherwise.
        let defaults = config.root_at(place.root.path.clone());
        place.root.server = names.server.unwrap_or(defaults.server);
        place.root.template = names.template.clone().or(defaults.template);
    }
    if args.dry_run {
        return commands::process::dry_run(engine, &places, mode, out);
    }
    let _bars = is_own_process.then(|| super::bars::Bars::draw(engine.house()));
    if is_own_process {
        engine.resume()?;
        // Before the scan: what it finds of a recording that is being carried on is not what will be there afterwards.
        engine.pool().wait_until_idle();
    }
    commands::process::run(engine, args, (places, mode), is_own_process, out)
}

fn server_named(name: &str) -> Result<Server, Failure> {
    let names: Vec<_> = Server::ALL.into_iter().map(Server::name).collect();
    let unknown = || Failure::Usage(format!("`{name}` is not a server; use one of {}", names.join(", ")));
    Server::from_name(name).ok_or_else(unknown)
}

/// Paths as they were meant where they were typed.
pub fn absolute(paths: &[PathBuf], directory: Option<&std::path::Path>) -> Vec<PathBuf> {
    let from_here = |path: &PathBuf| match directory {
        Some(directory) => directory.join(path),
        None => std::path::absolute(path).unwrap_or_else(|_| path.clone()),
    };
    paths.iter().map(from_here).collect()
}
