//! The switch of an ingest server: whether it records a stream, and telling it to, through the interface that it has for that.
//!
//! ```text
//! RootOptions { server, app, control } ─▶ Control ─▶ one or a few HTTP requests ─▶ Said | Switched
//! ```
//!
//! Nothing is asked unless a root names the address. Redirects are not followed, answers are bounded in size and time, and the
//! credentials are read for each request and shown nowhere. What a server says about itself is its word, not proof: whether a file
//! grows is seen elsewhere (`discover`).

mod antmedia;
mod error;
mod http;
mod mediamtx;
mod nginx_rtmp;
mod ome;

use std::path::PathBuf;
use std::time::Duration;

use url::Url;

pub use error::ControlError;

use crate::discover::{RootOptions, Server};
use crate::stop::Stop;
use http::Http;

/// The container that a server is asked to record into, where it has a choice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Format {
    /// MP4.
    #[default]
    Mp4,
    /// `WebM`.
    WebM,
}

/// What a server says of a stream's recording.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Said {
    /// Whether it records; `None` if its answer does not tell.
    pub is_recording: Option<bool>,
    /// Its answer in words, to follow the server's name.
    pub detail: String,
}

/// What came of a switch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Switched {
    /// The server did it; the file that it names, if it names one.
    Done(Option<PathBuf>),
    /// The server says that it was so before.
    Already,
    /// The server changed nothing and does not say why: it was so before, or there is no such stream.
    Unchanged,
}

/// The servers that have a switch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    AntMedia,
    MediaMtx,
    NginxRtmp,
    Ome,
}

impl Kind {
    const fn of(server: Server) -> Option<Self> {
        match server {
            Server::AntMedia => Some(Self::AntMedia),
            Server::MediaMtx => Some(Self::MediaMtx),
            Server::NginxRtmp => Some(Self::NginxRtmp),
            Server::Ome => Some(Self::Ome),
            // SRS had one in its experimental RAW API, which 4.0 removed; `dvr_apply` is read from its configuration only.
            Server::Srs | Server::LiveKit | Server::Obs | Server::Auto => None,
        }
    }
}

/// Whether a server has an interface that switches the recording of one stream.
pub const fn has_switch(server: Server) -> bool {
    Kind::of(server).is_some()
}

/// The switch of one root's server.
#[derive(Debug)]
pub struct Control {
    kind: Kind,
    url: Url,
    credentials_file: Option<PathBuf>,
    /// The application of the root.
    app: String,
}

impl Control {
    /// The switch of a root's server; `None` if no address is set, or the server has none.
    pub fn of(root: &RootOptions) -> Option<Self> {
        let kind = Kind::of(root.server)?;
        let url = Url::parse(root.control.url.as_deref()?).ok()?;
        Some(Self { kind, url, credentials_file: root.control.credentials_file.clone(), app: root.application() })
    }

    /// What the server says of a stream's recording; ends early when a stop is asked for.
    pub async fn ask(&self, stream: &str, stop: &Stop) -> Result<Said, ControlError> {
        let asked = async {
            let http = self.http(http::ASK_TIMEOUT)?;
            match self.kind {
                Kind::AntMedia => antmedia::ask(&http, &self.app, stream).await,
                Kind::MediaMtx => mediamtx::ask(&http, stream).await,
                Kind::NginxRtmp => Ok(nginx_rtmp::ask()),
                Kind::Ome => ome::ask(&http, &self.app, stream).await,
            }
        };
        until(stop, asked).await
    }

    /// Whether the server answers, accepts the credentials and, where it says so, has the application: asked without switching anything.
    /// In words, to follow the server's name; ends early when a stop is asked for.
    pub async fn probe(&self, stop: &Stop) -> Result<String, ControlError> {
        let probed = async {
            let http = self.http(http::ASK_TIMEOUT)?;
            match self.kind {
                Kind::AntMedia => antmedia::probe(&http, &self.app).await,
                Kind::MediaMtx => mediamtx::probe(&http).await,
                Kind::NginxRtmp => nginx_rtmp::probe(&http, &self.app).await,
                Kind::Ome => ome::probe(&http, &self.app).await,
            }
        };
        until(stop, probed).await
    }

    /// Tells the server to record a stream, or not to; ends early when a stop is asked for.
    pub async fn switch(&self, stream: &str, on: bool, format: Format, stop: &Stop) -> Result<Switched, ControlError> {
        let switched = async {
            let http = self.http(http::SWITCH_TIMEOUT)?;
            match self.kind {
                Kind::AntMedia => antmedia::switch(&http, &self.app, stream, on, format).await,
                Kind::MediaMtx => mediamtx::switch(&http, stream, on).await,
                Kind::NginxRtmp => nginx_rtmp::switch(&http, &self.app, stream, on).await,
                Kind::Ome => ome::switch(&http, &self.app, stream, on).await,
            }
        };
        until(stop, switched).await
    }

    fn http(&self, timeout: Duration) -> Result<Http, ControlError> {
        let authorization = match self.kind {
            Kind::AntMedia => http::as_it_is,
            Kind::MediaMtx | Kind::NginxRtmp => http::basic_or_bearer,
            Kind::Ome => http::basic,
        };
        Http::new(self.url.clone(), self.credentials_file.as_deref(), authorization, timeout)
    }
}

async fn until<T>(stop: &Stop, work: impl Future<Output = Result<T, ControlError>>) -> Result<T, ControlError> {
    tokio::select! {
        () = stop.requested() => Err(ControlError::Stopped),
        done = work => done,
    }
}
