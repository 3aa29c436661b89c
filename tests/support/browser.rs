//! Headless Chromium before a recording.

use std::fs;
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::str::FromStr;

use super::daemon::until;

const OPTIONS: [&str; 10] = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--autoplay-policy=no-user-gesture-required",
    "--enable-logging=stderr",
];

/// Lets Chromium play a file, go to a time of it and play on: the time it then says, seconds. `None`, and a word about it, where there is
/// no Chromium. Fails with what Chromium says if it does not.
pub fn seek_in_chromium(video: &Path, directory: &Path, to_s: f64) -> Option<f64> {
    let script = format!(
        "let gone=false;v.onerror=()=>console.log('error '+v.error.message);\
         v.ontimeupdate=()=>{{if(!gone&&v.currentTime>0.1){{gone=true;v.currentTime={to_s}}}\
         else if(gone&&!v.seeking&&v.currentTime>{to_s}+0.2)console.log('played '+v.currentTime+' ')}}"
    );
    said_in_chromium(video, directory, &script)
}

/// Lets Chromium play a file for a while: how wide its pictures are, in pixels; `None`, and a word about it, where there is no
/// Chromium. Fails with what Chromium says if it does not play.
pub fn width_in_chromium(video: &Path, directory: &Path) -> Option<u32> {
    let script = "v.onerror=()=>console.log('error '+v.error.message);\
                  v.ontimeupdate=()=>{if(v.currentTime>0.4)console.log('played '+v.videoWidth+' ')}";
    said_in_chromium(video, directory, script)
}

/// What the page of a recording says behind "played ".
fn said_in_chromium<T: FromStr>(video: &Path, directory: &Path, script: &str) -> Option<T> {
    let page = directory.join("page.html");
    let source = format!("file://{}", video.display());
    let body = format!(
        "<title>a recording</title><video id=v src='{source}' muted autoplay></video><script>{script}</script>"
    );
    fs::write(&page, body).unwrap();
    let log = directory.join("chromium.log");
    let mut command = Command::new("chromium");
    command
        .args(OPTIONS)
        .arg(format!("--user-data-dir={}", directory.join("profile").display()))
        .arg(format!("file://{}", page.display()))
        .stdout(Stdio::null())
        .stderr(fs::File::create(&log).unwrap());
    let Ok(mut chromium) = command.spawn() else {
        let _ = writeln!(std::io::stderr(), "skipped: there is no chromium here to play {}", video.display());
        return None;
    };
    let said = until("chromium to play", || {
        let said = fs::read_to_string(&log).unwrap_or_default();
        said.lines().find(|line| line.contains("CONSOLE")).map(str::to_owned)
    });
    chromium.kill().unwrap();
    chromium.wait().unwrap();
    let number = said.split("played ").nth(1).and_then(|rest| rest.split(' ').next()?.parse().ok());
    Some(number.unwrap_or_else(|| panic!("{}: {said}", video.display())))
}
