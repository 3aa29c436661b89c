//! aftercast is what comes after the broadcast: it finds the recordings that an ingest server left on disk, finishes
//! them, catalogues them, delivers them to object storage, and only then, if asked, frees the local disk.

pub mod durable;
pub mod fault;
pub mod recording;
