//! A line to a store that counts how many requests with bytes of recordings are on it at once.
//!
//! It holds them back until as many are there as are wanted, and a moment longer, so that one too many would come as well.

use std::collections::BTreeMap;
use std::net::{SocketAddr, TcpStream};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use super::http::{Request, forward, read_request, reply, serve};

/// How long the first ones wait for the others; only where too few come does it take so long.
const PATIENCE: Duration = Duration::from_secs(20);
/// How long they wait for one too many.
const MOMENT: Duration = Duration::from_millis(300);

/// A running line. It ends with the process.
#[derive(Clone)]
pub struct Crowd {
    pub address: SocketAddr,
    counts: Arc<(Mutex<Counts>, Condvar)>,
}

#[derive(Debug, Default)]
struct Counts {
    now: BTreeMap<String, usize>,
    most_in: BTreeMap<String, usize>,
    most: usize,
    is_over: bool,
}

impl Crowd {
    /// Passes on to a server, once `wanted` requests with bytes of recordings have been there at once.
    pub fn before(server: SocketAddr, wanted: usize) -> Self {
        let counts: Arc<(Mutex<Counts>, Condvar)> = Arc::default();
        let counted = Arc::clone(&counts);
        let address = serve(move |client: TcpStream| {
            let Some(request) = read_request(&client, |_, length| length) else { return };
            if is_payload(&request) {
                hold(&counted, bucket_of(&request), wanted);
            }
            reply(&client, &forward(server, &request).unwrap_or_default());
        });
        Self { address, counts }
    }

    /// How many there were at once at most.
    pub fn most(&self) -> usize {
        self.counts.0.lock().unwrap().most
    }

    /// The same of each bucket.
    pub fn most_in_each(&self) -> BTreeMap<String, usize> {
        self.counts.0.lock().unwrap().most_in.clone()
    }
}

fn is_payload(request: &Request) -> bool {
    request.method == "PUT" && [".mp4", ".ts"].iter().any(|e| request.path().ends_with(e))
}

fn bucket_of(request: &Request) -> &str {
    request.path().split('/').nth(1).unwrap()
}

fn hold((counts, changed): &(Mutex<Counts>, Condvar), bucket: &str, wanted: usize) {
    let mut counting = counts.lock().unwrap();
    let present = counting.now.entry(bucket.to_owned()).or_default();
    *present += 1;
    let (here, all) = (*present, counting.now.values().sum());
    counting.most = counting.most.max(all);
    let most = counting.most_in.entry(bucket.to_owned()).or_default();
    *most = here.max(*most);
    changed.notify_all();
    let (counting, _) = changed.wait_timeout_while(counting, PATIENCE, |c| c.most < wanted && !c.is_over).unwrap();
    let (mut counting, _) = changed.wait_timeout_while(counting, MOMENT, |c| c.most <= wanted && !c.is_over).unwrap();
    counting.is_over = true;
    if let Some(present) = counting.now.get_mut(bucket) {
        *present -= 1;
    }
    changed.notify_all();
}
