//! aftercast is what comes after the broadcast: it finds the recordings that an ingest server left on disk, finishes
//! them, catalogues them, delivers them to object storage, and only then, if asked, frees the local disk.

pub mod announce;
pub mod archive;
pub mod catalog;
pub mod cli;
pub mod clip;
pub mod clock;
pub mod config;
pub mod control;
pub mod cpu_permits;
pub mod deliver;
pub mod discover;
pub mod durable;
pub mod fault;
pub mod finish;
pub mod fleet;
pub mod human;
pub mod ingest;
pub mod isobmff;
pub mod media;
pub mod memory;
pub mod open_files;
pub mod operations;
pub mod pipeline;
pub mod printable;
pub mod progress;
pub mod recording;
pub mod retain;
pub mod runtime;
pub mod salvage;
mod secret;
pub mod serve;
pub mod stop;
pub mod threads;
