//! One run of a hook command: without a shell, in a process group of its own, for a limited time.

use std::ffi::OsString;
use std::process::Stdio;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process_group};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _};
use tokio::process::{Child, Command};
use tracing::info;

use super::error::AnnounceError;
use super::message;
use super::options::CommandOptions;
use crate::catalog::LoggedEvent;
use crate::printable::Printable;
use crate::stop::Stop;

/// Of what a command says so much is logged, bytes.
const SAID_BYTES: usize = 4 << 10;
/// How long what the command has left behind may keep its output open.
const LAST_WORDS: Duration = Duration::from_secs(1);
/// How long a command may take to end when the program ends.
const GRACE: Duration = Duration::from_secs(2);

/// The environment variables that a command gets.
pub const VARIABLES: [&str; 11] = [
    "AFTERCAST_EVENT",
    "AFTERCAST_EVENT_ID",
    "AFTERCAST_SEQUENCE",
    "AFTERCAST_PATH",
    "AFTERCAST_STREAM",
    "AFTERCAST_VOD_ID",
    "AFTERCAST_SIZE_BYTES",
    "AFTERCAST_DURATION_MS",
    "AFTERCAST_TARGET",
    "AFTERCAST_KEY",
    "AFTERCAST_URL",
];

/// The values of [`VARIABLES`]; what an event does not say is empty.
fn values(logged: &LoggedEvent, id: &str) -> [OsString; 11] {
    let event = &logged.event;
    let (vod, object) = (event.vod(), event.object());
    let text = |text: Option<&str>| OsString::from(text.unwrap_or_default());
    [
        event.name().into(),
        id.into(),
        logged.sequence.to_string().into(),
        event.path().map(|path| path.as_os_str().to_owned()).unwrap_or_default(),
        text(event.stream_id()),
        text(event.vod_id()),
        text(vod.map(|vod| vod.size_bytes.to_string()).as_deref()),
        text(vod.map(|vod| vod.duration_ms.to_string()).as_deref()),
        text(event.target()),
        text(object.map(|object| object.key.as_str())),
        text(object.map(|object| object.url.as_str())),
    ]
}

/// Placeholders of arguments, and the variable that each is.
const PLACEHOLDERS: [(&str, &str); 5] = [
    ("{event}", "AFTERCAST_EVENT"),
    ("{path}", "AFTERCAST_PATH"),
    ("{stream}", "AFTERCAST_STREAM"),
    ("{vod_id}", "AFTERCAST_VOD_ID"),
    ("{url}", "AFTERCAST_URL"),
];

/// An argument that is a placeholder as a whole becomes that value; all others stay as they are.
fn argument(text: &str, values: &[OsString; 11]) -> OsString {
    let variable = PLACEHOLDERS.iter().find(|(placeholder, _)| *placeholder == text).map(|(_, variable)| *variable);
    let at = variable.and_then(|variable| VARIABLES.iter().position(|name| *name == variable));
    at.map_or_else(|| text.into(), |at| values[at].clone())
}

/// The group of a command; what is left of it is killed when this is dropped before the command has ended.
struct ProcessGroup(Option<Pid>);

impl ProcessGroup {
    fn signal(&self, signal: Signal) {
        // Its number belongs to nobody else: the leader is not waited for, or was at this moment.
        if let Some(group) = self.0 {
            let _ = kill_process_group(group, signal);
        }
    }
}

impl Drop for ProcessGroup {
    fn drop(&mut self) {
        self.signal(Signal::KILL);
    }
}

/// Runs a command for an event, to its end or to that of its time.
pub(super) async fn run(
    command: &CommandOptions,
    logged: &LoggedEvent,
    id: &str,
    stop: &Stop,
) -> Result<(), AnnounceError> {
    let (program, arguments) = command.command.split_first().ok_or(AnnounceError::Panicked)?;
    let values = values(logged, id);
    let mut child = Command::new(program);
    child.args(arguments.iter().map(|text| argument(text, &values))).envs(VARIABLES.iter().zip(&values));
    child.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).process_group(0).current_dir("/");
    let spawned = child.spawn();
    let mut child = spawned.map_err(|source| AnnounceError::Spawn { program: program.clone(), source })?;
    let group = child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw);
    let mut group = ProcessGroup(group);
    let said = tokio::spawn(hear(child.stdout.take(), child.stderr.take()));
    let told = tokio::spawn(tell(child.stdin.take(), message::json_of(logged)));
    let ended = tokio::select! {
        ended = tokio::time::timeout(command.timeout, child.wait()) => {
            ended.map_err(|_| AnnounceError::TimedOut(command.timeout))
        }
        () = stop.requested() => Err(stopped(&group, &mut child).await),
    };
    if ended.is_ok() {
        // It has ended, and what it started besides is its own affair.
        group.0 = None;
    }
    drop(group);
    told.abort();
    log(command, logged, said).await;
    match ended {
        Ok(Ok(status)) if status.success() => Ok(()),
        Ok(Ok(status)) => Err(AnnounceError::Ended(status)),
        Ok(Err(source)) => Err(AnnounceError::Spawn { program: program.clone(), source }),
        Err(error) => Err(error),
    }
}

/// Asks a command to end; it is killed if it does not.
async fn stopped(group: &ProcessGroup, child: &mut Child) -> AnnounceError {
    group.signal(Signal::TERM);
    let _ = tokio::time::timeout(GRACE, child.wait()).await;
    AnnounceError::Stopped
}

/// Writes the event; a command that reads nothing is no failure.
async fn tell(stdin: Option<tokio::process::ChildStdin>, json: Vec<u8>) {
    if let Some(mut stdin) = stdin {
        let _ = stdin.write_all(&json).await;
        let _ = stdin.write_all(b"\n").await;
    }
}

/// Reads all that is said, so that nobody waits for a full pipe, and keeps its beginning.
async fn hear(out: Option<impl AsyncRead + Unpin>, err: Option<impl AsyncRead + Unpin>) -> (Vec<u8>, Vec<u8>) {
    async fn one(from: Option<impl AsyncRead + Unpin>) -> Vec<u8> {
        let (mut said, mut buffer) = (Vec::new(), [0; 4 << 10]);
        let Some(mut from) = from else { return said };
        while let Ok(read @ 1..) = from.read(&mut buffer).await {
            let room = SAID_BYTES.saturating_sub(said.len());
            said.extend_from_slice(&buffer[..read.min(room)]);
        }
        said
    }
    tokio::join!(one(out), one(err))
}

async fn log(command: &CommandOptions, logged: &LoggedEvent, said: tokio::task::JoinHandle<(Vec<u8>, Vec<u8>)>) {
    let abort = said.abort_handle();
    let Ok(Ok((out, err))) = tokio::time::timeout(LAST_WORDS, said).await else { return abort.abort() };
    for (stream, said) in [("stdout", out), ("stderr", err)] {
        let said = String::from_utf8_lossy(&said);
        for line in said.lines().filter(|line| !line.trim().is_empty()) {
            let line = Printable(line);
            info!(command = command.name, sequence = logged.sequence, stream, "{line}");
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::time::Instant;

    use super::*;
    use crate::recording::{Event, VodFacts};
    use crate::runtime::Runtime;

    fn freed(name: &str) -> LoggedEvent {
        let (vod_id, stream_id, path) = ("v1".to_owned(), name.to_owned(), format!("/srv/{name}.mp4").into());
        let vod = VodFacts { vod_id, stream_id, path, size_bytes: 5, duration_ms: 7, start_ms: 1 };
        LoggedEvent { sequence: 3, at_ms: 4, event: Event::Freed { vod } }
    }

    fn shell(dir: &Path, script: &str, timeout: Duration) -> CommandOptions {
        let dir = dir.to_str().unwrap();
        let words = ["/bin/sh", "-c", script, dir, "{path}", "x{path}", "{url}"];
        CommandOptions { timeout, ..CommandOptions::new("hook", words.map(str::to_owned).to_vec()) }
    }

    fn run_here(command: &CommandOptions, logged: &LoggedEvent, stop: &Stop) -> Result<(), AnnounceError> {
        Runtime::start().unwrap().block_on(run(command, logged, "msg_1", stop))
    }

    const LONG: Duration = Duration::from_secs(60);

    #[test]
    fn it_gets_the_event_as_arguments_environment_and_json_whatever_its_name() {
        let dir = tempfile::tempdir().unwrap();
        let script = r#"printf '%s\n' "$1" "$2" "$3" "$AFTERCAST_EVENT" "$AFTERCAST_STREAM" "$AFTERCAST_EVENT_ID" > "$0/said"; cat >> "$0/said""#;
        let name = "a b;$(touch pwned)\u{1b}[2J\"'";
        run_here(&shell(dir.path(), script, LONG), &freed(name), &Stop::default()).unwrap();
        let said = std::fs::read_to_string(dir.path().join("said")).unwrap();
        let lines: Vec<_> = said.lines().collect();
        let path = format!("/srv/{name}.mp4");
        assert_eq!(lines[..6], [path.as_str(), "x{path}", "", "local.freed", name, "msg_1"]);
        let json: serde_json::Value = serde_json::from_str(lines[6]).unwrap();
        assert_eq!(json["vod"]["path"], path);
    }

    #[test]
    fn a_status_other_than_0_and_a_program_that_is_not_there_are_failures() {
        let dir = tempfile::tempdir().unwrap();
        let ended = run_here(&shell(dir.path(), "exit 3", LONG), &freed("x"), &Stop::default());
        assert!(matches!(&ended, Err(AnnounceError::Ended(status)) if status.code() == Some(3)), "{ended:?}");
        let missing = CommandOptions::new("hook", vec!["/nowhere/hook".into()]);
        assert!(matches!(run_here(&missing, &freed("x"), &Stop::default()), Err(AnnounceError::Spawn { .. })));
    }

    #[test]
    fn the_whole_group_is_killed_when_its_time_is_over() {
        let dir = tempfile::tempdir().unwrap();
        let script = r#"(sleep 2; touch "$0/alive") & trap '' TERM; while :; do sleep 1; done"#;
        let begun = Instant::now();
        let ended = run_here(&shell(dir.path(), script, Duration::from_millis(200)), &freed("x"), &Stop::default());
        assert!(matches!(ended, Err(AnnounceError::TimedOut(_))), "{ended:?}");
        assert!(begun.elapsed() < Duration::from_secs(2), "its output was not waited for");
        std::thread::sleep(Duration::from_millis(2_500));
        assert!(!dir.path().join("alive").exists(), "what it had started lives");
    }

    #[test]
    fn a_stop_ends_it_soon() {
        let dir = tempfile::tempdir().unwrap();
        let stop = Stop::default();
        let asked = stop.clone();
        std::thread::spawn(move || {
            std::thread::sleep(Duration::from_millis(100));
            asked.request();
        });
        let begun = Instant::now();
        let ended = run_here(&shell(dir.path(), "sleep 60", LONG), &freed("x"), &stop);
        assert!(matches!(ended, Err(AnnounceError::Stopped)), "{ended:?}");
        assert!(begun.elapsed() < GRACE + LONG / 10);
    }

    #[test]
    fn much_output_holds_up_nothing_and_neither_does_what_is_left_behind() {
        let dir = tempfile::tempdir().unwrap();
        let script = "head -c 5000000 /dev/zero; sleep 30 &";
        let begun = Instant::now();
        run_here(&shell(dir.path(), script, LONG), &freed("x"), &Stop::default()).unwrap();
        assert!(begun.elapsed() < Duration::from_secs(20));
    }
}
