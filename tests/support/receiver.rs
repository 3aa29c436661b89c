//! A receiver of webhooks that fails in every way it is told to, and remembers what it was sent.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Read as _;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::Value;

use super::http::{Request, Response, read_request, reply};

/// What becomes of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reaction {
    /// It is answered with this status.
    Answers(u16),
    /// It is read, and not answered before the client gives up.
    Hangs,
    /// The connection is closed without an answer.
    Closes,
}

/// A request that was read.
#[derive(Debug, Clone)]
pub struct ReceivedRequest {
    pub request: Request,
    /// When, milliseconds since the Unix epoch.
    pub at_ms: i64,
    pub was_taken: bool,
}

impl ReceivedRequest {
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.request.body).unwrap_or_else(|e| panic!("{e}: {:?}", self.request))
    }

    pub fn id(&self) -> String {
        self.request.header("webhook-id").unwrap_or_else(|| panic!("no id: {:?}", self.request)).to_owned()
    }
}

type Decide = dyn Fn(&Request) -> Reaction + Send + Sync;

/// The receiver; its port is closed when it is dropped.
pub struct Receiver {
    address: SocketAddr,
    got: Arc<Mutex<Vec<ReceivedRequest>>>,
    ends: Arc<AtomicBool>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Receiver {
    /// Listens on a free port.
    pub fn start(decide: impl Fn(&Request) -> Reaction + Send + Sync + 'static) -> Self {
        Self::listen(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)), Arc::default(), Arc::new(decide))
    }

    /// Closes the port, and listens on it again after a while; nothing that was sent is forgotten.
    pub fn restart(&mut self, after: Duration, decide: impl Fn(&Request) -> Reaction + Send + Sync + 'static) {
        self.close();
        std::thread::sleep(after);
        *self = Self::listen(self.address, Arc::clone(&self.got), Arc::new(decide));
    }

    fn listen(address: SocketAddr, got: Arc<Mutex<Vec<ReceivedRequest>>>, decide: Arc<Decide>) -> Self {
        let listener = TcpListener::bind(address).unwrap();
        let (address, ends) = (listener.local_addr().unwrap(), Arc::new(AtomicBool::new(false)));
        let (told, to) = (Arc::clone(&ends), Arc::clone(&got));
        let thread = std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                if told.load(Ordering::SeqCst) {
                    return;
                }
                let (to, decide) = (Arc::clone(&to), Arc::clone(&decide));
                std::thread::spawn(move || take(&client, &to, &*decide));
            }
        });
        Self { address, got, ends, thread: Some(thread) }
    }

    fn close(&mut self) {
        self.ends.store(true, Ordering::SeqCst);
        // Wakes it.
        drop(TcpStream::connect(self.address));
        if let Some(thread) = self.thread.take() {
            thread.join().unwrap();
        }
    }

    pub fn url(&self) -> String {
        format!("http://{}/hook", self.address)
    }

    /// Every request that was read, in order.
    pub fn got(&self) -> Vec<ReceivedRequest> {
        self.got.lock().unwrap().clone()
    }

    /// Sequence numbers of the events that were taken.
    pub fn taken(&self) -> BTreeSet<u64> {
        let taken = self.got().into_iter().filter(|got| got.was_taken);
        taken.map(|got| got.json()["sequence"].as_u64().unwrap()).collect()
    }

    /// Ids by sequence number: fails if one event came under several ids, or several under one.
    #[track_caller]
    pub fn ids(&self) -> BTreeMap<u64, String> {
        let mut ids = BTreeMap::new();
        for got in self.got() {
            let known = ids.entry(got.json()["sequence"].as_u64().unwrap()).or_insert_with(|| got.id());
            assert_eq!(*known, got.id(), "one event, one id");
        }
        assert_eq!(ids.values().collect::<BTreeSet<_>>().len(), ids.len(), "one id, one event");
        ids
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        if self.thread.is_some() {
            self.close();
        }
    }
}

fn take(mut client: &TcpStream, to: &Mutex<Vec<ReceivedRequest>>, decide: &Decide) {
    let Some(request) = read_request(client, |_, length| length) else { return };
    let does = decide(&request);
    let was_taken = matches!(does, Reaction::Answers(200..=299));
    to.lock().unwrap().push(ReceivedRequest { request, at_ms: aftercast::clock::Clock::default().now_ms(), was_taken });
    match does {
        Reaction::Answers(status) => {
            reply(client, &Response::new(status).with("location", "http://127.0.0.1:1/").bytes(false));
        }
        Reaction::Hangs => drop(client.read(&mut [0; 64])),
        Reaction::Closes => {}
    }
}
