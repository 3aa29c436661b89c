//! nginx with the RTMP module: `rtmp_control`, `…/record/start` and `…/record/stop` with `app` and `name`; the address may add
//! `rec`, the recorder's name, and `srv`, the number of the server block.
//!
//! Read in `ngx_rtmp_control_module.c` (Debian's 1.2.2 in the tests, and `04065c9a`). It answers 200 with the path of the file, and
//! 204 or an empty 200 if nothing changed: the recorder is so already, or, from 1.1.5 on, nobody publishes the stream. It cannot be
//! asked for a recorder's state.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt as _;
use std::path::PathBuf;

use reqwest::Method;

use super::error::ControlError;
use super::http::Http;
use super::{Said, Switched};

/// Its status page does not have recorders.
pub(super) fn ask() -> Said {
    Said { is_recording: None, detail: "cannot be asked whether it records".to_owned() }
}

/// A stream that nobody publishes, and a method that the module has not: it switches nothing even if somebody does.
const PROBED: [&str; 2] = ["record", "state"];
const PROBED_NAME: &str = "aftercast-doctor";

/// Of a stream that nobody publishes it answers 204; before 1.1.5 it answers 400 and says so, once it has found the application.
pub(super) async fn probe(http: &Http, app: &str) -> Result<String, ControlError> {
    let answer = http.ask(Method::GET, &PROBED, &[("app", app), ("name", PROBED_NAME)], None).await?;
    match answer.status {
        204 => Ok("answers".to_owned()),
        400 if answer.body.starts_with(b"Live stream not found") => {
            Ok(format!("answers; it has the application `{app}`"))
        }
        200..=299 => Err(ControlError::NotUnderstood("it is no answer of `rtmp_control`")),
        _ => Err(answer.refused(&[])),
    }
}

pub(super) async fn switch(http: &Http, app: &str, stream: &str, on: bool) -> Result<Switched, ControlError> {
    let path = ["record", if on { "start" } else { "stop" }];
    let answer = http.ask(Method::GET, &path, &[("app", app), ("name", stream)], None).await?;
    match answer.status {
        204 => Ok(Switched::Unchanged),
        200 if answer.body.is_empty() => Ok(Switched::Unchanged),
        // A page of anything else that listens there is no path.
        200 if answer.body.starts_with(b"<") => Err(ControlError::NotUnderstood("it is no path of a recording")),
        200 => Ok(Switched::Done(Some(PathBuf::from(OsString::from_vec(answer.body))))),
        _ => Err(answer.refused(&[])),
    }
}
