//! `watch`: the daemon. Owns the house, answers other commands through the socket, tells systemd when it is ready.

use std::path::PathBuf;
use std::sync::Arc;

use crossbeam_channel::{Sender, unbounded};
use tracing::{info, warn};

use super::super::args::{Cli, WatchArgs};
use super::super::exit::Exit;
use super::super::output::{End, Output};
use super::super::run::{configured, run_here, settings_of};
use super::super::socket::{Listener, Request};
use super::super::table::Style;
use super::super::{report, signals};
use super::Failure;
use crate::config::{self, Config, Sources};
use crate::discover::Mode;
use crate::fault::chain;
use crate::pipeline::{self, Control, Engine, House, Opening, Stop};

/// Watches until it is told to stop.
pub fn run(cli: &Cli, args: &WatchArgs, out: &mut Output<'_>) -> Result<Exit, Failure> {
    let config = configured(cli)?;
    let settings = settings_of(&config);
    let stop = Stop::default();
    let (orders, control) = unbounded();
    signals::listen(&stop, reloader(cli, orders));
    let socket = House::socket_path(&settings.state_dir);
    let opening = Opening { waits_for_commands: true, ..Opening::default() };
    let engine = Arc::new(Engine::start(settings, stop, opening).map_err(Failure::from_engine)?);
    say_if_root();
    let catalog = engine.house().catalog.clone();
    let stop = engine.house().stop.clone();
    catalog.when_failed(move || {
        // Nothing can be journalled any more; the service manager starts another process.
        stop.request();
        signals::end_soon(Exit::Environment);
    });
    signals::before_an_abrupt_end(Exit::Done, move || drop(catalog.interrupt_attempts(pipeline::now_ms())));
    if args.dry_run {
        let places = pipeline::configured_places(&engine.house().settings());
        return super::process::dry_run(&engine, &places, Mode::Watch, out);
    }
    let served = serve(&socket, &engine, config);
    let watched = pipeline::watch(&engine, &control, &|| ready());
    notify(&[sd_notify::NotifyState::Stopping]);
    drop(served);
    engine.stop_working();
    info!("Stopped.");
    watched.map_err(Failure::from_engine)?;
    Ok(Exit::Done)
}

/// Nothing here needs it, and what hostile recordings could do would be done with all rights.
fn say_if_root() {
    if rustix::process::geteuid().is_root() {
        warn!("running as root, which is not needed: use a user of its own in the recordings' group, with CAP_LEASE");
    }
}

fn ready() {
    info!("Ready: the first scan is done, changes are heard.");
    notify(&[sd_notify::NotifyState::Ready]);
}

fn notify(state: &[sd_notify::NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(state) {
        warn!(error = chain(&error), "The service manager could not be told.");
    }
}

/// Reads the configuration again at SIGHUP; an unsound one is said and the old one stays in force.
fn reloader(cli: &Cli, orders: Sender<Control>) -> impl Fn() + Send + 'static {
    let file: Option<PathBuf> = cli.config.clone();
    move || {
        info!("Reads the configuration again.");
        match config::load(&Sources::of_process(file.as_deref(), &[])) {
            Ok(config) => drop(orders.send(Control::Reload(Box::new(settings_of(&config))))),
            Err(error) => {
                report::print(&error);
                warn!("The old configuration stays in force.");
            }
        }
    }
}

/// Lets other commands in; without the socket the daemon works all the same.
fn serve(socket: &std::path::Path, engine: &Arc<Engine>, config: Config) -> Option<super::super::socket::Served> {
    let engine = Arc::clone(engine);
    let config = Arc::new(config);
    let answer = move |request: &Request, out: &mut dyn std::io::Write, err: &mut dyn std::io::Write| {
        answer(request, &engine, &config, out, err)
    };
    let served = Listener::bind(socket).and_then(|listener| listener.serve(answer));
    served.inspect_err(|error| warn!(error = chain(error), "Other commands cannot talk to this daemon.")).ok()
}

fn answer(
    request: &Request,
    engine: &Engine,
    config: &Config,
    out: &mut dyn std::io::Write,
    err: &mut dyn std::io::Write,
) -> u8 {
    let typed: Vec<_> = std::iter::once("aftercast".into()).chain(request.args()).collect();
    let cli = match Cli::read(&typed) {
        Ok(cli) => cli,
        Err(error) => {
            let _ = write!(err, "{error}");
            return Exit::Usage.code();
        }
    };
    let mut output = Output { out: End::new(out), err: End::new(err), is_json: cli.json, style: Style::Plain };
    match run_here(&cli, config, engine, Some(&request.directory()), &mut output) {
        Ok(exit) => exit.code(),
        Err(failure) => super::super::run::explain(&failure, &mut output).code(),
    }
}
