//! `open`: opens the daemon's page, logged in, or prints the link that does so.
//!
//! The link holds a one-time code in its fragment, which browsers send to no server. It is not given to `xdg-open` either, as all
//! users see the arguments of a process: the browser is led there by a file that only this user can read.

use std::env;
use std::fs::OpenOptions;
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::json;

use super::super::args::{Cli, OpenArgs};
use super::super::exit::Exit;
use super::super::output::Output;
use super::super::run::configured;
use super::CommandError;
use crate::operations::{LoginCode, MakeLogin, OperationError};
use crate::pipeline::{PipelineContext, Stop};
use crate::serve::Client;

/// Asks the daemon for a code and opens the page with it.
pub fn run(cli: &Cli, args: &OpenArgs, out: &mut Output<'_>) -> Result<Exit, CommandError> {
    let config = configured(cli)?;
    let socket = PipelineContext::socket_path(&config.state_dir);
    let daemon = Client::connect(&socket, &Stop::default()).map_err(|_| no_daemon())?;
    let made = daemon.perform(&MakeLogin {}, &mut |nothing| match nothing {})?;
    let link = link_of(&made)?;
    if out.is_json {
        out.json(&json!({ "url": link, "expiresMs": made.expires_ms })).map_err(CommandError::output)?;
        return Ok(Exit::Done);
    }
    if !args.print && has_display() && opened(&link).is_ok() {
        writeln!(out.err, "Opening the page in a browser.").map_err(CommandError::output)?;
        return Ok(Exit::Done);
    }
    writeln!(out.out, "{link}").map_err(CommandError::output)?;
    writeln!(out.err, "This link logs in once, within two minutes. Do not pass it on.")
        .map_err(CommandError::output)?;
    Ok(Exit::Done)
}

fn no_daemon() -> OperationError {
    OperationError::transient("no daemon answers in this state directory")
        .with_next_step("Start it: `aftercast watch`.")
}

fn link_of(made: &LoginCode) -> Result<String, OperationError> {
    let address = made.address.as_deref().ok_or_else(|| {
        OperationError::transient("the daemon does not serve the page")
            .with_next_step("Set `serve.listen` to an address and `serve.page` to true, and restart the daemon.")
    })?;
    Ok(format!("{address}#login={}", made.code))
}

fn has_display() -> bool {
    ["DISPLAY", "WAYLAND_DISPLAY"].into_iter().any(|name| env::var_os(name).is_some_and(|value| !value.is_empty()))
}

/// Has the desktop open a file of this user that leads to the link.
fn opened(link: &str) -> io::Result<()> {
    let runtime = env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from).ok_or(io::ErrorKind::NotFound)?;
    let file = runtime.join("aftercast-open.html");
    write_redirect(&file, link)?;
    let quiet = || Stdio::null();
    let mut command = Command::new("xdg-open");
    let status = command.arg(&file).stdin(quiet()).stdout(quiet()).stderr(quiet()).status()?;
    if status.success() { Ok(()) } else { Err(io::ErrorKind::Other.into()) }
}

fn write_redirect(file: &Path, link: &str) -> io::Result<()> {
    let _ = std::fs::remove_file(file);
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(file)?;
    // Address and code are made here and hold no character that HTML gives a meaning.
    write!(file, "<!doctype html><meta http-equiv=\"refresh\" content=\"0;url={link}\"><title>aftercast</title>")
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn the_code_is_in_the_fragment_and_only_the_user_reads_the_redirect() {
        let made = LoginCode { code: "0a1b".into(), expires_ms: 0, address: Some("http://127.0.0.1:8420/".into()) };
        let link = link_of(&made).unwrap();
        assert_eq!(link, "http://127.0.0.1:8420/#login=0a1b");
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("open.html");
        for _ in 0..2 {
            write_redirect(&file, &link).unwrap();
        }
        assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
        assert!(std::fs::read_to_string(&file).unwrap().contains("url=http://127.0.0.1:8420/#login=0a1b\""));
        assert!(link_of(&LoginCode { address: None, ..made }).unwrap_err().next_step.is_some());
    }
}
