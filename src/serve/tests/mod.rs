//! The router over a real catalogue, without a socket.

mod antmedia;
mod media;
mod unread;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use axum::Router;
use axum::body::{Body, Bytes, to_bytes};
use axum::http::{HeaderMap, Request, StatusCode};
use serde_json::Value;
use tower::ServiceExt as _;

use super::answering::Service;
use super::routes::router;
use crate::config::Config;
use crate::deliver::TargetOptions;
use crate::durable;
use crate::operations::{Context, SharedConfig};
use crate::pipeline::{Engine, OpeningOptions, PipelineSettings, Stop};
use crate::recording::journey::Evidence;
use crate::recording::*;

/// A server with roots and VoDs.
struct TestServer {
    dir: tempfile::TempDir,
    engine: Arc<Engine>,
    router: Router,
}

/// An answer.
struct TestResponse {
    status: StatusCode,
    headers: HeaderMap,
    body: Bytes,
}

impl TestResponse {
    fn json(&self) -> Value {
        assert_eq!(self.header("content-type"), "application/json");
        serde_json::from_slice(&self.body).unwrap_or_else(|e| panic!("{e}: {:?}", self.body))
    }

    fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }
}

impl TestServer {
    /// With these directories as roots, some of them with names of their own.
    fn new(roots: &[(&str, Option<&str>)]) -> Self {
        Self::with_targets(roots, |_| Vec::new())
    }

    fn with_targets(roots: &[(&str, Option<&str>)], targets: impl FnOnce(&Path) -> Vec<TargetOptions>) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mut config = Config::default();
        for (path, app) in roots {
            let path = dir.path().join(path);
            std::fs::create_dir_all(&path).unwrap();
            durable::declare_root(&path);
            let mut root = config.root_at(path);
            root.app = app.map(str::to_owned);
            config.watch.roots.push(root);
        }
        config.deliver.targets = targets(dir.path());
        let (state_dir, watch) = (dir.path().join("state"), config.watch.clone());
        let settings =
            PipelineSettings { state_dir, watch, deliver: config.deliver.clone(), ..PipelineSettings::default() };
        let engine = Arc::new(Engine::start(settings, Stop::default(), OpeningOptions::default()).unwrap());
        let context = Context::new(Arc::clone(&engine), SharedConfig::new(config));
        let router = router(Service::new(context, 64));
        Self { dir, engine, router }
    }

    fn path(&self, below: &str) -> PathBuf {
        self.dir.path().join(below)
    }

    /// A VoD whose file holds these bytes.
    fn add(&self, root: &str, name: &str, bytes: &[u8], change: impl FnOnce(&mut VodRecord)) -> VodRecord {
        let path = self.path(root).join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, bytes).unwrap();
        let fingerprint = durable::fingerprint(&path).unwrap();
        let mut vod = vod(&self.path(root), name, fingerprint);
        change(&mut vod);
        assert_eq!(self.engine.pipeline().catalog.merge_rebuilt(std::slice::from_ref(&vod)).unwrap().added, 1);
        vod
    }

    async fn ask(&self, method: &str, uri: &str, headers: &[(&str, &str)]) -> TestResponse {
        let request = Request::builder().method(method).uri(uri);
        let request = headers.iter().fold(request, |request, (name, value)| request.header(*name, *value));
        let response = self.router.clone().oneshot(request.body(Body::empty()).unwrap()).await.unwrap();
        let (status, headers) = (response.status(), response.headers().clone());
        let body = to_bytes(response.into_body(), usize::MAX).await.unwrap();
        TestResponse { status, headers, body }
    }

    async fn get(&self, uri: &str) -> TestResponse {
        self.ask("GET", uri, &[]).await
    }
}

fn vod(root: &Path, name: &str, fingerprint: Fingerprint) -> VodRecord {
    let vod_name = name.rsplit('/').next().unwrap().to_owned();
    let stream = vod_name.split('.').next().unwrap().to_owned();
    VodRecord {
        version: VOD_VERSION,
        vod_id: vod_id(&stream, name, &[]),
        stream_id: stream.clone(),
        stream_name: stream,
        vod_name,
        file_path: root.join(name),
        root: root.to_owned(),
        duration: 8_000,
        creation_date: 1_000,
        start_time: 500,
        start_source: StartSource::Mtime,
        file_size: fingerprint.size_bytes,
        preview_file_path: None,
        pictures: Pictures::default(),
        vod_type: VodType::Stream,
        container: Container::Mp4,
        tracks: Vec::new(),
        bitrate: 1_000,
        declared_duration: None,
        wall_clock: None,
        defects: Vec::new(),
        outcome: Outcome::Kept,
        splice: None,
        splice_undo: None,
        salvaged: false,
        salvage: None,
        digest: None,
        server: "antmedia".into(),
        rendition: None,
        source_path: root.join(name),
        source: fingerprint,
        source_changed_ns: None,
        evidence: Evidence::Lease,
        original_path: None,
        fingerprint,
        remote: Vec::new(),
        freed_at: None,
        description: None,
        metadata: std::collections::BTreeMap::default(),
    }
}
