//! Sessions of the page: what a browser gets for a token or a one-time code, so that it keeps neither.
//!
//! A session is a bearer token of its own with the role of what it was made for, valid for 12 hours and in memory only. A
//! browser sends no header with the pictures and videos of a page, so a session also sets a cookie: `HttpOnly`, `SameSite=Strict`, and good
//! for reading media only. Its path is the one that the browser sees, so that it works below any prefix of a proxy.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use axum::extract::{Request, State};
use axum::http::header::{CACHE_CONTROL, COOKIE, SET_COOKIE};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method};
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use axum::{Extension, Json, Router};
use blake3::Hash;
use serde::Deserialize;
use serde_json::json;

use super::access::{Role, bearer};
use super::answering::{Service, problem};
use crate::operations::OperationError;
use crate::pipeline::now_ms;

/// Where a session is made, looked at and ended.
pub(super) const PATH: &str = "/api/v1/session";
/// What media asked for with the cookie ends with.
const MEDIA: [&str; 5] = ["/media", "/poster", "/sprite", "/sprite.vtt", "/clip"];
const COOKIE_NAME: &str = "aftercast_media";
/// How long a session lives.
const LIVES_S: i64 = 12 * 3_600;
/// Sessions at once; the oldest makes room.
const MOST: usize = 256;
const BODY_LIMIT_BYTES: usize = 4 << 10;

/// The sessions of this process.
#[derive(Debug, Clone, Default)]
pub struct Sessions(Arc<Mutex<Vec<Session>>>);

#[derive(Debug)]
struct Session {
    token: Hash,
    cookie: Hash,
    role: Role,
    expires_ms: i64,
}

/// What a browser is given.
struct Given {
    token: String,
    cookie: String,
    expires_ms: i64,
}

impl Sessions {
    fn begin(&self, role: Role, now_ms: i64) -> Result<Given, OperationError> {
        let secret = || {
            let mut bytes = [0; 24];
            let filled = getrandom::fill(&mut bytes);
            filled.map_err(|e| OperationError::internal(format!("no random numbers: {e}")))?;
            Ok::<_, OperationError>(hex::encode(bytes))
        };
        let given = Given { token: secret()?, cookie: secret()?, expires_ms: now_ms + LIVES_S * 1_000 };
        let (token, cookie) = (blake3::hash(given.token.as_bytes()), blake3::hash(given.cookie.as_bytes()));
        let mut sessions = self.lock();
        sessions.retain(|session| session.expires_ms > now_ms);
        if sessions.len() >= MOST {
            sessions.remove(0);
        }
        sessions.push(Session { token, cookie, role, expires_ms: given.expires_ms });
        Ok(given)
    }

    /// The role of a session's token.
    pub fn role_of(&self, digest: Hash) -> Option<Role> {
        let now_ms = now_ms();
        let sessions = self.lock();
        let known = sessions.iter().filter(|session| session.expires_ms > now_ms && session.token == digest);
        known.map(|session| session.role).max()
    }

    /// Whether a request for media has the cookie of a session.
    pub(super) fn may_read_media(&self, request: &Request) -> bool {
        let is_reading = matches!(*request.method(), Method::GET | Method::HEAD);
        let is_media = MEDIA.iter().any(|end| request.uri().path().ends_with(end));
        is_reading && is_media && cookies(request.headers()).any(|cookie| self.has_cookie(cookie))
    }

    fn has_cookie(&self, cookie: &str) -> bool {
        let (digest, now_ms) = (blake3::hash(cookie.as_bytes()), now_ms());
        self.lock().iter().any(|session| session.expires_ms > now_ms && session.cookie == digest)
    }

    fn end(&self, digest: Hash) {
        self.lock().retain(|session| session.token != digest);
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Session>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn cookies(headers: &HeaderMap) -> impl Iterator<Item = &str> {
    let all = headers.get_all(COOKIE).into_iter().filter_map(|header| header.to_str().ok());
    let pairs = all.flat_map(|header| header.split(';')).filter_map(|pair| pair.trim().split_once('='));
    pairs.filter(|(name, _)| *name == COOKIE_NAME).map(|(_, value)| value)
}

/// Who asks, as `guard` has found out; nobody where no token was sent and none is needed to begin a session.
#[derive(Debug, Clone, Copy)]
pub(super) struct Asker {
    pub role: Option<Role>,
    /// Whether anything could be operated with another token.
    pub has_tokens: bool,
}

/// What a session is made for besides the token of the request.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Asked {
    code: Option<String>,
}

/// Whether this server does TLS itself.
#[derive(Debug, Clone, Copy)]
struct IsTls(bool);

/// The path of sessions.
pub(super) fn routes(sessions: Sessions, is_tls: bool) -> Router<Service> {
    let paths = Router::new().route(PATH, get(show).post(begin).delete(end));
    paths.layer(Extension(sessions)).layer(Extension(IsTls(is_tls)))
}

/// What the one who asks may do.
async fn show(Extension(asker): Extension<Asker>) -> Response {
    let role = asker.role.map(Role::name);
    ([(CACHE_CONTROL, "no-store")], Json(json!({ "role": role, "hasTokens": asker.has_tokens }))).into_response()
}

async fn begin(
    State(service): State<Service>,
    Extension(sessions): Extension<Sessions>,
    Extension(IsTls(is_tls)): Extension<IsTls>,
    Extension(asker): Extension<Asker>,
    request: Request,
) -> Response {
    let is_secure = is_tls || request.headers().get("x-forwarded-proto").is_some_and(|scheme| scheme == "https");
    match role_for(&service, asker, request).await.and_then(|role| Ok((role, sessions.begin(role, now_ms())?))) {
        Err(error) => problem(&error),
        Ok((role, given)) => {
            let secure = if is_secure { "; Secure" } else { "" };
            let cookie =
                format!("{COOKIE_NAME}={}; HttpOnly; SameSite=Strict; Max-Age={LIVES_S}{secure}", given.cookie);
            let said = json!({ "token": given.token, "role": role.name(), "expiresMs": given.expires_ms });
            (no_store(&cookie), Json(said)).into_response()
        }
    }
}

/// The role that a session is made with: of the token that was sent, else that of a code.
async fn role_for(service: &Service, by: Asker, request: Request) -> Result<Role, OperationError> {
    let body = axum::body::to_bytes(request.into_body(), BODY_LIMIT_BYTES).await.unwrap_or_default();
    let wish: Asked = if body.is_empty() {
        Asked::default()
    } else {
        serde_json::from_slice(&body).map_err(|e| OperationError::invalid(format!("the request is not valid: {e}")))?
    };
    match (by.role, wish.code) {
        (_, Some(code)) if service.context.logins().redeem(&code, now_ms()) => Ok(Role::Operate),
        (_, Some(_)) => Err(OperationError::unauthorized("this login link was used before or has expired")
            .with_next_step("Run `aftercast open` for a new one.")),
        (Some(role), None) => Ok(role),
        (None, None) => Err(OperationError::unauthorized("a session needs a token or a login code")),
    }
}

async fn end(Extension(sessions): Extension<Sessions>, headers: HeaderMap) -> Response {
    if let Some(token) = headers.get(axum::http::header::AUTHORIZATION).and_then(bearer) {
        sessions.end(blake3::hash(token.as_bytes()));
    }
    (no_store(&format!("{COOKIE_NAME}=; HttpOnly; SameSite=Strict; Max-Age=0")), Json(json!({}))).into_response()
}

fn no_store(cookie: &str) -> [(HeaderName, HeaderValue); 2] {
    let cookie = HeaderValue::from_str(cookie).unwrap_or_else(|_| HeaderValue::from_static(""));
    [(SET_COOKIE, cookie), (CACHE_CONTROL, HeaderValue::from_static("no-store"))]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(method: &str, path: &str, cookie: &str) -> Request {
        let request = Request::builder().method(method).uri(path).header(COOKIE, cookie);
        request.body(axum::body::Body::empty()).unwrap()
    }

    #[test]
    fn a_cookie_reads_media_and_nothing_else() {
        let sessions = Sessions::default();
        let given = sessions.begin(Role::Operate, now_ms()).unwrap();
        let cookie = format!("a=b; {COOKIE_NAME}={}", given.cookie);
        let may = |method, path| sessions.may_read_media(&request(method, path, &cookie));
        assert!(may("GET", "/api/v1/vods/a/media") && may("HEAD", "/api/v1/streams/a/clip"));
        assert!(!may("GET", "/api/v1/vods") && !may("POST", "/api/v1/vods/a/media"));
        let with_token = format!("{COOKIE_NAME}={}", given.token);
        assert!(!sessions.may_read_media(&request("GET", "/api/v1/vods/a/media", &with_token)));
        assert_eq!(sessions.role_of(blake3::hash(given.cookie.as_bytes())), None);
    }

    #[test]
    fn a_session_ends_when_it_is_told_or_old() {
        let sessions = Sessions::default();
        let (old, ended) = (sessions.begin(Role::Read, 0).unwrap(), sessions.begin(Role::Read, now_ms()).unwrap());
        let role = |token: &str| sessions.role_of(blake3::hash(token.as_bytes()));
        assert_eq!((role(&old.token), role(&ended.token)), (None, Some(Role::Read)));
        sessions.end(blake3::hash(ended.token.as_bytes()));
        assert_eq!(role(&ended.token), None);
    }
}
