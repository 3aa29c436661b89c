//! From arguments to an exit code: reads the configuration, opens the state directory or asks the daemon that has it, prints errors.

use std::ffi::OsString;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use jiff::tz::TimeZone;

use super::args::{CatalogCommand, Cli, Command, ConfigCommand, ProcessArgs, QueueCommand, VodCommand};
use super::bars::ProgressBars;
use super::commands::{self, CommandError};
use super::executor::Executor;
use super::exit::Exit;
use super::output::{Output, OutputStream};
use super::table::Style;
use super::{logging, memory, progress, report, signals};
use crate::config::{self, Config, Sources};
use crate::deliver::{TargetOptions, readable_secrets};
use crate::discover::Mode;
use crate::finish::{SalvageInPlace, SpliceMode};
use crate::media::apart;
use crate::operations::{Context, ErrorKind, OperationError, Plan, Process, ProcessBucket, SharedConfig};
use crate::pipeline::{Engine, OpeningOptions, PipelineContext, PipelineSettings, Stop};
use crate::serve::Client;

/// Runs what was typed; returns the exit code.
pub fn main(args: impl IntoIterator<Item = OsString>) -> u8 {
    memory::give_back_large_blocks();
    let typed: Vec<OsString> = args.into_iter().collect();
    if let Some(code) = apart::serve(&typed) {
        return code;
    }
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
    let mut output =
        Output { out: OutputStream::new(&mut out), err: OutputStream::new(&mut err), is_json: cli.json, style };
    let exit = match run(&cli, &mut output) {
        Ok(exit) => exit,
        Err(failure) => explain(&failure, &mut output),
    };
    let _ = output.out.as_it_is().flush();
    let _ = output.err.as_it_is().flush();
    exit.code()
}

/// Prints why a command ended early. A reader of the results who went away is no failure.
fn explain(failure: &CommandError, out: &mut Output<'_>) -> Exit {
    let (exit, text) = match failure {
        CommandError::Operation(error) => (Exit::from(error), report::of_operation(error)),
        CommandError::Output(error) if error.kind() == io::ErrorKind::BrokenPipe => return Exit::Done,
        CommandError::Output(error) => (Exit::Environment, report::render(error, &[])),
    };
    let _ = out.err.as_it_is().write_all(text.as_bytes());
    exit
}

fn run(cli: &Cli, out: &mut Output<'_>) -> Result<Exit, CommandError> {
    match &cli.command {
        Command::Completions { shell } => commands::help::completions(*shell, out),
        Command::Man { output: Some(directory) } => commands::help::man_pages(directory),
        Command::Man { output: None } => commands::help::man(out),
        Command::Config(command @ (ConfigCommand::Check | ConfigCommand::Print)) => {
            commands::config::run(&configured(cli)?, command, out)
        }
        Command::Config(command) => commands::config::import(command, out),
        Command::Setup(args) => commands::setup::run(cli, args, out),
        Command::Inspect(args) => commands::inspect::run(&configured(cli)?, &args.file, out),
        Command::Status => commands::status::run(&configured(cli)?, out),
        Command::Doctor => commands::doctor::run(&configured(cli)?, out),
        Command::Open(args) => commands::open::run(cli, args, out),
        Command::Batch(command) => commands::batch::run(&configured(cli)?, command, out),
        Command::Watch(args) => commands::watch::run(cli, args, out),
        Command::Recover(args) if args.output.is_some() => commands::recover::run(&configured(cli)?, args, out),
        _ => with_house(cli, out),
    }
}

/// Reads the configuration that the arguments name; its warnings are said once.
pub fn configured(cli: &Cli) -> Result<Config, CommandError> {
    let state_dir = cli.state_dir.as_ref().map(|dir| std::path::absolute(dir).unwrap_or_else(|_| dir.clone()));
    let overrides: Vec<_> =
        state_dir.iter().map(|dir| ("state_dir".to_owned(), dir.to_string_lossy().into_owned())).collect();
    let config = config::load(&Sources::of_process(cli.config.as_deref(), &overrides))
        .map_err(|e| OperationError::configuration(&e))?;
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
        Command::Watch(_)
            | Command::Process(_)
            | Command::Recover(_)
            | Command::Work(_)
            | Command::Config(ConfigCommand::Check)
    )
}

/// What the pipeline needs of the configuration.
pub fn settings_of(config: &Config) -> PipelineSettings {
    PipelineSettings {
        state_dir: config.state_dir.clone(),
        watch: config.watch.clone(),
        finish: config.finish.clone(),
        deliver: config.deliver.clone(),
        retain: config.retain.clone(),
        events: config.events,
        announce: config.announce.clone(),
        pictures: config.pictures,
        fleet: config.fleet.clone(),
    }
}

/// Opens the state directory; where a daemon has it, asks the daemon.
fn with_house(cli: &Cli, out: &mut Output<'_>) -> Result<Exit, CommandError> {
    let config = configured(cli)?;
    let settings = settings_for(cli, &config);
    let socket = PipelineContext::socket_path(&settings.state_dir);
    let zone = config.finish.time_zone.clone();
    let stop = Stop::default();
    signals::listen(&stop, || ());
    let sets_aside = matches!(cli.command, Command::Catalog(CatalogCommand::Rebuild { .. }));
    let opening = OpeningOptions {
        sets_aside,
        asks_no_store: asks_no_store(&cli.command),
        is_the_program: true,
        ..OpeningOptions::default()
    };
    let in_use = match Engine::start(settings, stop.clone(), opening) {
        Ok(engine) => match run_here(cli, config, engine, out) {
            Err(CommandError::Operation(in_use)) if in_use.kind == ErrorKind::RootInUse => in_use,
            exit => return exit,
        },
        Err(error) => OperationError::of_pipeline(&error),
    };
    // Without a configuration that names it, the process that owns a root is found by the root: the command is its to run.
    let socket = match in_use.kind {
        ErrorKind::StateInUse => Some(socket),
        ErrorKind::RootInUse => in_use.owner.as_deref().map(PipelineContext::socket_path),
        _ => None,
    };
    match socket.and_then(|socket| Client::connect(&socket, &stop).ok()) {
        Some(daemon) => dispatch(cli, &Executor::Daemon(daemon), &zone, out),
        None => Err(CommandError::Operation(in_use)),
    }
}

fn run_here(cli: &Cli, config: Config, engine: Engine, out: &mut Output<'_>) -> Result<Exit, CommandError> {
    let (engine, zone) = (Arc::new(engine), config.finish.time_zone.clone());
    let (catalog, clock) = (engine.pipeline().catalog.clone(), engine.pipeline().clock.clone());
    signals::before_an_abrupt_end(Exit::Interrupted, move || {
        drop(catalog.interrupt_attempts(clock.now_ms()));
    });
    let executor = Executor::Here(Context::new(Arc::clone(&engine), SharedConfig::new(config)));
    let exit = dispatch(cli, &executor, &zone, out);
    engine.stop_working();
    exit
}

/// Whether a command works with what is on this machine alone; it does so without credentials.
const fn asks_no_store(command: &Command) -> bool {
    match command {
        Command::Vod(command) => {
            matches!(command, VodCommand::List { .. } | VodCommand::Show { .. } | VodCommand::Export { .. })
        }
        Command::Queue(command) => matches!(command, QueueCommand::List { .. } | QueueCommand::Retry { .. }),
        Command::Retain(args) => args.dry_run,
        Command::Catalog(_) | Command::Events(_) | Command::Stream(_) | Command::Rescan(_) | Command::Adopt(_) => true,
        _ => false,
    }
}

/// `--target URL` takes the place of the configured targets. What is typed ends sooner where it uses every core: at its lower
/// priority it gives way to a server beside it, so none is left to that.
fn settings_for(cli: &Cli, config: &Config) -> PipelineSettings {
    let mut settings = settings_of(config);
    if settings.finish.jobs == 0 && settings.finish.background_nice > 0 {
        settings.finish.jobs = std::thread::available_parallelism().map_or(1, usize::from);
    }
    if matches!(cli.command, Command::Work(_)) {
        // Never in place: a process that is suspended in the middle of that would leave the recording to another one half changed.
        settings.finish.salvage_in_place = SalvageInPlace::Never;
        if matches!(settings.finish.splice, SpliceMode::Auto | SpliceMode::InsertRange) {
            settings.finish.splice = SpliceMode::Reflink;
        }
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

fn dispatch(cli: &Cli, executor: &Executor, zone: &TimeZone, out: &mut Output<'_>) -> Result<Exit, CommandError> {
    match &cli.command {
        Command::Process(args) => process(executor, args, Mode::Process, out),
        Command::Recover(args) if args.undo => commands::undo::run(executor, &absolute(&args.process.paths), out),
        Command::Recover(args) => process(executor, &args.process, Mode::Recover, out),
        Command::Vod(command) => commands::vod::run(executor, command, zone, out),
        Command::Queue(command) => commands::queue::run(executor, command, out),
        Command::Events(command) => commands::events::run(executor, command, zone, out),
        Command::Stream(command) => commands::stream::run(executor, command, zone, out),
        Command::Rescan(args) => commands::rescan::run(executor, args, out),
        Command::Adopt(args) => commands::adopt::run(executor, args, out),
        Command::Retain(args) => commands::retain::run(executor, args, out),
        Command::Catalog(command) => commands::catalog::run(executor, command, out),
        Command::Work(args) => commands::work::run(executor, args, out),
        _ => Err(CommandError::usage("this command does not need the catalogue")),
    }
}

fn process(executor: &Executor, args: &ProcessArgs, mode: Mode, out: &mut Output<'_>) -> Result<Exit, CommandError> {
    if matches!(executor, Executor::Daemon(_)) && !args.target.is_empty() {
        let why = "a daemon is running and delivers to the targets of its own configuration: omit `--target`, or stop \
             the daemon first";
        return Err(CommandError::usage(why));
    }
    if let Some(bucket) = bucket_of(args, mode)? {
        return commands::bucket::run(executor, &bucket, out);
    }
    let process = Process {
        paths: absolute(&args.paths),
        mode,
        wait: args.wait,
        again: args.again,
        server: args.server.clone(),
        template: args.template.clone(),
        stream: args.stream.clone(),
        shard: args.shard,
    };
    if args.dry_run {
        return commands::process::dry_run(executor, &Plan(process), out);
    }
    let _bars = match executor {
        Executor::Here(context) => Some(ProgressBars::draw(context.engine().pipeline())),
        Executor::Daemon(_) => None,
    };
    if let Executor::Here(context) = executor {
        process.check()?;
        context.carry_on()?;
    }
    commands::process::run(executor, &process, out)
}

/// The bucket that is meant, if what was typed is a URL.
fn bucket_of(args: &ProcessArgs, mode: Mode) -> Result<Option<ProcessBucket>, CommandError> {
    const SCHEMES: [&str; 3] = ["s3://", "az://", "gs://"];
    let is_url = |path: &PathBuf| SCHEMES.iter().any(|scheme| path.to_string_lossy().starts_with(scheme));
    if !args.paths.iter().any(is_url) {
        return Ok(None);
    }
    let [url] = args.paths.as_slice() else {
        return Err(CommandError::usage("a bucket is processed alone: give one URL and no other paths"));
    };
    let names = args.server.is_some() || args.template.is_some() || args.stream.is_some();
    if names || args.wait || args.again || !args.target.is_empty() {
        let why = "--server, --template, --stream, --wait, --again and --target do not apply to recordings in a bucket: the finished \
                   object goes beside the original";
        return Err(CommandError::usage(why));
    }
    Ok(Some(ProcessBucket { url: url.to_string_lossy().into_owned(), mode, dry_run: args.dry_run, shard: args.shard }))
}

/// Paths as they were meant where they were typed.
pub fn absolute(paths: &[PathBuf]) -> Vec<PathBuf> {
    paths.iter().map(|path| std::path::absolute(path).unwrap_or_else(|_| path.clone())).collect()
}
