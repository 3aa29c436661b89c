//! Fills a delivery queue for the bench: so many deliveries of one file to one target, all due.
//!
//! `cargo run --release --example waiting -- STATE_DIR FILE TARGET DELIVERIES`

use std::error::Error;
use std::path::{Path, PathBuf};

use aftercast::catalog::Catalog;
use aftercast::durable;
use aftercast::recording::{Asset, AssetFile, Delivery, DeliveryState, Kind};

/// Queued with one flush.
const TOGETHER: u64 = 100;

fn main() -> Result<(), Box<dyn Error>> {
    let args: Vec<_> = std::env::args().skip(1).collect();
    let [state_dir, file, target, count] = &args[..] else {
        return Err("usage: waiting STATE_DIR FILE TARGET DELIVERIES".into());
    };
    let (file, count) = (PathBuf::from(file), count.parse()?);
    let files = vec![AssetFile::new(file.clone(), durable::fingerprint(&file)?)];
    let root = file.parent().unwrap_or(Path::new("/")).to_owned();
    let waiting = |number: u64| {
        let id = format!("waiting{number:017}");
        Delivery {
            id: Delivery::id_of(&id, target),
            asset: Asset {
                id,
                kind: Kind::Recording,
                vod_id: None,
                stream_id: "room".into(),
                root: root.clone(),
                start_ms: 0,
                duration_ms: None,
                salvaged: false,
                files: files.clone(),
            },
            target: target.clone(),
            state: DeliveryState::Waiting { due_ms: 0, last_fault: None },
            attempts: 0,
            queued_ms: number.cast_signed(),
        }
    };
    let catalog = Catalog::open(Path::new(state_dir))?;
    for first in (0..count).step_by(usize::try_from(TOGETHER)?) {
        let together: Vec<_> = (first..count.min(first + TOGETHER)).map(waiting).collect();
        catalog.enqueue(&together)?;
    }
    Ok(())
}
