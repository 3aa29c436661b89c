//! Clients that do not read what they asked for.

use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, duplex};
use tokio::sync::{Semaphore, watch};
use tokio::time::timeout;

use super::TestServer;
use crate::serve::listening::ConnectionService;

/// More than any limit; the clock of these tests goes on by itself.
const LONG: Duration = Duration::from_secs(3_600);

#[tokio::test(start_paused = true)]
async fn a_reader_of_events_that_never_reads_is_disconnected() {
    let stage = TestServer::new(&[("root", None)]);
    for number in 0..100 {
        let vod = stage.add("root", &format!("room{number}.mp4"), b"bytes", |_| {});
        // Each deletion is an event.
        assert_eq!(stage.ask("DELETE", &format!("/api/v1/vods/{}", vod.vod_id), &[]).await.status, 200);
    }
    let connections = Arc::new(Semaphore::new(1));
    let permit = Arc::clone(&connections).try_acquire_owned().unwrap();
    let (_open, closing) = watch::channel(false);
    let answering = ConnectionService { router: stage.router.clone(), closing, permit };
    let (ours, mut theirs) = duplex(4 << 10);
    theirs.write_all(b"GET /api/v1/events?after=0 HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
    timeout(LONG, answering.converse(ours)).await.unwrap();
    assert_eq!(connections.available_permits(), 1);
    // What was in the pipe is there, and then the end.
    let mut read = Vec::new();
    theirs.read_to_end(&mut read).await.unwrap();
    let read = String::from_utf8(read).unwrap();
    assert!(read.starts_with("HTTP/1.1 200 ") && read.contains("data: {"), "{read}");
}

#[tokio::test(start_paused = true)]
async fn a_reader_of_events_that_reads_stays() {
    let stage = TestServer::new(&[("root", None)]);
    let permit = Arc::new(Semaphore::new(1)).try_acquire_owned().unwrap();
    let (_open, closing) = watch::channel(false);
    let answering = ConnectionService { router: stage.router.clone(), closing, permit };
    let (ours, mut theirs) = duplex(1 << 10);
    theirs.write_all(b"GET /api/v1/events HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
    let reads = async {
        let mut read = [0; 1 << 10];
        while theirs.read(&mut read).await.unwrap() > 0 {}
    };
    let (served, ended) = tokio::join!(timeout(LONG, answering.converse(ours)), timeout(LONG, reads));
    assert!(served.is_err() && ended.is_err(), "it was disconnected");
}
