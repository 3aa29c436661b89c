//! `config check | print | import-…`.

use serde_json::json;

use super::super::args::{ConfigCommand, ImportArgs};
use super::super::exit::Exit;
use super::super::output::Output;
use super::super::table::Table;
use super::CommandError;
use crate::config::{self, Config, Sources};
use crate::deliver::Targets;
use crate::discover::{Server, running_servers};
use crate::ingest::IngestError;
use crate::operations::{OperationError, settings_of};
use crate::pipeline::PipelineError;
use crate::recording::name::printable;
use crate::runtime::Runtime;

/// Runs `check` or `print` on a configuration that was read already.
pub fn run(config: &Config, command: &ConfigCommand, out: &mut Output<'_>) -> Result<Exit, CommandError> {
    match command {
        ConfigCommand::Print => print(config, out),
        ConfigCommand::Check => check(config, out),
        _ => import(command, out),
    }
}

fn check(config: &Config, out: &mut Output<'_>) -> Result<Exit, CommandError> {
    let runtime = Runtime::start().map_err(PipelineError::Runtime)?;
    Targets::open(&config.deliver, &runtime).map_err(|e| OperationError::configuration(&e))?;
    let read = config.file.as_ref().map_or_else(
        || "No configuration file; using the defaults.".to_owned(),
        |file| format!("`{}` is valid.", printable(file)),
    );
    if out.is_json {
        out.json(&json!({ "sound": true, "file": config.file })).map_err(CommandError::output)?;
    } else {
        writeln!(out.out, "{read}").map_err(CommandError::output)?;
    }
    Ok(Exit::Done)
}

fn print(config: &Config, out: &mut Output<'_>) -> Result<Exit, CommandError> {
    let settings = settings_of(config);
    if out.is_json {
        settings.values.iter().try_for_each(|setting| out.json(setting)).map_err(CommandError::output)?;
        return Ok(Exit::Done);
    }
    if let Some(file) = &settings.file {
        writeln!(out.err, "File: {}", printable(file)).map_err(CommandError::output)?;
    }
    let mut table = Table::new(&["KEY", "VALUE", "FROM"]);
    for setting in settings.values {
        table.row([setting.key, setting.value, setting.origin]);
    }
    out.table(&table, "").map_err(CommandError::output)?;
    Ok(Exit::Done)
}

/// Prints a configuration made from that of an ingest server; needs no configuration of ours.
pub fn import(command: &ConfigCommand, out: &mut Output<'_>) -> Result<Exit, CommandError> {
    let text = match command {
        ConfigCommand::ImportAntmedia { file } => config::import_antmedia_file(file),
        ConfigCommand::ImportMediamtx(args) => of_server(Server::MediaMtx, args),
        ConfigCommand::ImportSrs(args) => of_server(Server::Srs, args),
        ConfigCommand::ImportNginxRtmp(args) => of_server(Server::NginxRtmp, args),
        ConfigCommand::ImportOme(args) => of_server(Server::Ome, args),
        ConfigCommand::ImportLivekit(args) => of_server(Server::LiveKit, args),
        ConfigCommand::Check | ConfigCommand::Print => return Err(CommandError::usage("this command imports nothing")),
    };
    let text = text.map_err(|e| OperationError::configuration(&e))?;
    out.out.as_it_is().write_all(text.as_bytes()).map_err(CommandError::output)?;
    Ok(Exit::Done)
}

fn of_server(server: Server, args: &ImportArgs) -> Result<String, IngestError> {
    config::import_server(server, args.file.as_deref(), &running_servers(), Sources::of_process(None, &[]).env)
}
