//! Integration tests, one binary: linking FFmpeg once is enough.
#![expect(
    clippy::unwrap_used,
    reason = "a test that fails says where, and clippy's exception for tests does not reach their helpers"
)]

#[path = "../support/mod.rs"]
mod support;

mod accounted;
mod alarms;
mod announce;
mod antmedia;
mod architecture;
mod bad_input;
mod beside;
mod carried;
mod catalogue_failure;
mod clips;
mod clips_of_stores;
mod crash;
mod damage;
mod decoding;
mod deliver_addresses;
mod deliver_asking;
mod deliver_azure;
mod deliver_busy;
mod deliver_conformance;
mod deliver_crowd;
mod deliver_freeing;
mod deliver_gcs;
mod deliver_identity;
mod deliver_kill;
mod deliver_line;
mod deliver_policy;
mod deliver_queue;
mod deliver_requests;
mod deliver_s3;
mod deliver_secrets;
mod deliver_storm;
mod deliver_tags;
mod differential;
mod documentation;
mod escapes;
mod event_stream;
mod extras;
mod face;
mod face_reload;
mod ffmpeg;
mod fleet;
mod flv;
mod fragments;
mod fuzz;
mod kill;
mod leaving;
mod limits;
mod memory_limit;
mod nginx_rtmp;
mod nothing_lost;
mod operations;
mod owners;
mod packages;
mod page;
mod pictures;
mod players;
mod presentation;
mod priority;
mod process;
mod promises;
mod rebuild_stores;
mod recording_switch;
mod refusals;
mod salvage;
mod salvage_codecs;
mod salvage_media;
mod salvage_proof;
mod service;
mod setup;
mod sidecars;
mod state;
mod stop;
mod stuck;
mod temporary_names;
mod units;
mod unmounted;
mod verify;
mod views;
mod watch;
