//! `status`: asks the daemon whether it is ready, for people and for the health check of a container. It never opens the
//! catalogue, and does not start what is not running.

use super::super::executor::Executor;
use super::super::exit::Exit;
use super::super::output::Output;
use super::CommandError;
use crate::config::Config;
use crate::fault::chain;
use crate::operations::{FleetStatus, OperationError, ShowStatus, Status};
use crate::pipeline::PipelineContext;
use crate::printable::Printable;
use crate::recording::counted;
use crate::serve::Client;
use crate::stop::Stop;

/// Prints the state of the daemon; exit code 5 if none runs or if it is not ready.
pub fn run(config: &Config, out: &mut Output<'_>) -> Result<Exit, CommandError> {
    let socket = PipelineContext::socket_path(&config.state_dir);
    let daemon = Client::connect(&socket, &Stop::default()).map_err(|error| {
        let state_dir = Printable::path(&config.state_dir);
        OperationError::transient(format!("no daemon answers in the state directory `{state_dir}`: {}", chain(&error)))
            .with_next_step(
                "Start it with `aftercast watch` or `systemctl start aftercast`. No recording is lost meanwhile.",
            )
    })?;
    let status = Executor::Daemon(daemon).ask(&ShowStatus {})?;
    let printed = if out.is_json { out.json(&status) } else { print(&status, out) };
    printed.map_err(CommandError::output)?;
    Ok(if status.is_ready { Exit::Done } else { Exit::Environment })
}

fn print(status: &Status, out: &mut Output<'_>) -> std::io::Result<()> {
    let ready = if status.is_ready { "ready" } else { "not ready" };
    writeln!(out.out, "aftercast {} is {ready}: {} active, {} queued.", status.version, status.active, status.queued)?;
    for reason in &status.not_ready {
        writeln!(out.out, "not ready: {reason}")?;
    }
    for reason in &status.degraded {
        writeln!(out.out, "degraded: {}", Printable(reason))?;
    }
    if let Some(fleet) = &status.fleet {
        print_fleet(fleet, out)?;
    }
    for target in status.targets.iter().filter(|target| target.paused_until_ms.is_some()) {
        writeln!(out.out, "target {}: paused", target.name)?;
    }
    Ok(())
}

fn print_fleet(fleet: &FleetStatus, out: &mut Output<'_>) -> std::io::Result<()> {
    let FleetStatus { name, is_connected, waiting_vods, waiting_events, .. } = fleet;
    let connected = if *is_connected { "connected" } else { "not connected" };
    let (vods, events) = (counted(*waiting_vods, "VoD"), counted(*waiting_events, "event"));
    writeln!(out.out, "fleet: node {} is {connected}; {vods} and {events} not yet sent", Printable(name))?;
    fleet.hint.iter().try_for_each(|hint| writeln!(out.out, "{hint}"))?;
    fleet.warnings.iter().try_for_each(|warning| writeln!(out.out, "warning: {}", Printable(warning)))
}
