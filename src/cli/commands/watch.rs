//! `watch`: the daemon. Owns the state directory, answers other commands through the socket, tells systemd when it is ready.

use std::io::IsTerminal as _;
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};

use crossbeam_channel::{Sender, unbounded};
use tracing::{debug, error, info, warn};

use super::super::args::{Cli, WatchArgs};
use super::super::executor::Executor;
use super::super::exit::Exit;
use super::super::output::Output;
use super::super::run::{configured, settings_of};
use super::super::{report, signals};
use super::CommandError;
use crate::config::{self, Config, Origin, Sources};
use crate::discover::Mode;
use crate::fault::{Fault as _, chain};
use crate::media;
use crate::open_files;
use crate::operations::{CommandThreads, Context, OperationError, Plan, Process, SharedConfig};
use crate::pipeline::{self, Control, Engine, OpeningOptions, PipelineContext, Stop};
use crate::serve::{HttpServer, Secrets, ServeError};

/// Watches until it is told to stop.
pub fn run(cli: &Cli, args: &WatchArgs, out: &mut Output<'_>) -> Result<Exit, CommandError> {
    let config = configured(cli)?;
    let files = open_files::raise_limit();
    let settings = settings_of(&config);
    let (stop, in_force) = (Stop::default(), SharedConfig::new(config));
    let (orders, control) = unbounded();
    let secrets = Arc::default();
    signals::listen(&stop, reloader(cli, orders, &in_force, &secrets));
    let socket = PipelineContext::socket_path(&settings.state_dir);
    let opening = OpeningOptions { waits_for_commands: true, is_the_program: true, ..OpeningOptions::default() };
    let engine = Engine::start(settings, stop, opening).map_err(|e| OperationError::of_pipeline(&e))?;
    let engine = Arc::new(engine);
    debug!(files, "open files allowed");
    say_if_root();
    say_if_ffmpeg_is_missing();
    let catalog = engine.pipeline().catalog.clone();
    let (stop, clock) = (engine.pipeline().stop.clone(), engine.pipeline().clock.clone());
    catalog.when_failed(move || {
        // Nothing can be journalled any more; the service manager starts another process.
        stop.request();
        signals::end_soon(Exit::Environment);
    });
    signals::before_an_abrupt_end(Exit::Done, move || drop(catalog.interrupt_attempts(clock.now_ms())));
    let context = Context::new(Arc::clone(&engine), in_force);
    if args.dry_run {
        return super::process::dry_run(&Executor::Here(context), &Plan(Process::of_roots(Mode::Watch)), out);
    }
    // Without the socket the daemon works all the same.
    let served = HttpServer::open(&socket, context.clone());
    let served = served.inspect_err(|error| {
        warn!(error = chain(error), "cannot open the control socket; other commands cannot connect to this daemon");
    });
    if let Ok(served) = &served {
        listen(served, &context.config())?;
        if let Some(address) = context.logins().address().filter(|_| std::io::stderr().is_terminal()) {
            writeln!(out.err, "The page: {address} (`aftercast open` logs a browser in)")
                .map_err(CommandError::output)?;
        }
        let _ = secrets.set(served.secrets());
    }
    let commands = CommandThreads::begin(&context);
    let watched = pipeline::watch(&engine, &control, &|| {
        context.say_ready();
        ready();
    });
    notify(&[sd_notify::NotifyState::Stopping]);
    if let Ok(served) = &served {
        served.close();
    }
    commands.join();
    engine.stop_working();
    drop(served);
    info!("stopped");
    watched.map_err(|e| OperationError::of_pipeline(&e))?;
    Ok(Exit::Done)
}

/// Serves on TCP. An address that was set and cannot be had ends the start; the default one is not missed.
fn listen(server: &HttpServer, config: &Config) -> Result<(), CommandError> {
    match server.listen(&config.serve) {
        Ok(None) => {}
        Ok(Some(address)) => info!(%address, "serving HTTP"),
        Err(error @ ServeError::Address { .. }) if matches!(config.origin("serve.listen"), Origin::Default) => {
            warn!(error = chain(&error), hint = error.hint(), "HTTP is not served");
        }
        Err(error) => return Err(CommandError::Operation(OperationError::in_one_line(&error))),
    }
    Ok(())
}

/// Nothing here needs it, and what hostile recordings could do would be done with all rights.
fn say_if_root() {
    if rustix::process::geteuid().is_root() {
        warn!("running as root, which is not needed: use a dedicated user in the recordings' group, with CAP_LEASE");
    }
}

/// Recordings that need no FFmpeg are finished all the same, and the others are retried: no reason not to start.
fn say_if_ffmpeg_is_missing() {
    if let Err(error) = media::is_installed() {
        let hint = error.hint().unwrap_or_default();
        error!(error = chain(&error), hint, "FFmpeg is not usable; recordings that need it wait");
    }
}

fn ready() {
    info!("ready; watching for changes");
    notify(&[sd_notify::NotifyState::Ready]);
}

fn notify(state: &[sd_notify::NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(state) {
        warn!(error = chain(&error), "cannot notify the service manager");
    }
}

/// Reads the configuration again at SIGHUP, and the files of tokens and certificates; what is unsound is said and the old one stays in force.
fn reloader(
    cli: &Cli,
    orders: Sender<Control>,
    in_force: &SharedConfig,
    secrets: &Arc<OnceLock<Secrets>>,
) -> impl Fn() + Send + 'static {
    let (in_force, secrets) = (in_force.clone(), Arc::clone(secrets));
    let file: Option<PathBuf> = cli.config.clone();
    move || {
        info!("reloading configuration");
        match config::load(&Sources::of_process(file.as_deref(), &[])) {
            Ok(config) => {
                let (in_force, secrets) = (in_force.clone(), Arc::clone(&secrets));
                let settings = Box::new(settings_of(&config));
                let then = Box::new(move || {
                    if let Some(secrets) = secrets.get() {
                        reload_secrets(secrets, &config);
                    }
                    in_force.set(config);
                });
                drop(orders.send(Control::Reload { settings, then }));
            }
            Err(error) => {
                report::print(&error);
                warn!("configuration not reloaded; the old one stays in force");
            }
        }
    }
}

fn reload_secrets(secrets: &Secrets, config: &Config) {
    match secrets.reload(&config.serve) {
        Ok(()) => debug!("tokens and certificate reloaded"),
        Err(error) => {
            error!(
                error = chain(&error),
                hint = error.hint(),
                "tokens and certificate not reloaded; the old ones stay in force"
            );
        }
    }
}
