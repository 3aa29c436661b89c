//! Sessions of the page: what a browser gets for a token or a one-time code, so that it keeps neither.
//!
//! A session is a bearer token of its own with the role of what it was made for, valid for 12 hours and in memory only. A
//! browser sends no header with the pictures and videos of a page, so a session also sets a cookie: `HttpOnly`, `SameSite=Strict`, and good
//! for reading media only. Its path is the one that the browser sees, so that it works below any prefix of a proxy.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use axum::extract::{Request, State};
use axum::http::header::{AUTHORIZATION, CACHE_CONTROL, COOKIE, SET_COOKIE};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method};
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use axum::{Extension, Json, Router};
use blake3::Hash;
use serde::Deserialize;
use serde_json::json;

use super::access::{Role, bearer};
use super::answering::{Service, problem};
use super::wire::{body_of, not_valid};
use crate::clock::Clock;
use crate::operations::OperationError;

/// Where a session is made, looked at and ended.
pub(super) const PATH: &str = "/api/v1/session";
/// What is read with the cookie: media below a VoD, and clips below a stream.
const MEDIA_OF_VOD: [&str; 4] = ["media", "poster", "sprite", "sprite.vtt"];
const COOKIE_NAME: &str = "aftercast_media";
/// How long a session lives.
const LIVES_S: i64 = 12 * 3_600;
/// Sessions at once; the oldest makes room.
const MOST: usize = 256;
const BODY_LIMIT_BYTES: usize = 4 << 10;

/// The sessions of this process.
#[derive(Debug, Clone, Default)]
pub struct Sessions {
    known: Arc<Mutex<Known>>,
    clock: Clock,
}

#[derive(Debug, Default)]
struct Known {
    sessions: Vec<Session>,
    /// How often the tokens that sessions are begun with were replaced.
    generation: u64,
}

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
    /// None yet; they expire by this clock.
    pub fn timed_by(clock: &Clock) -> Self {
        Self { known: Arc::default(), clock: clock.clone() }
    }

    /// Begins one for a request that was let in with the tokens of a generation. It lives no longer than the session that it is begun with.
    fn begin(&self, role: Role, generation: u64, by: Option<Hash>) -> Result<Given, OperationError> {
        let secret = || {
            let mut bytes = [0; 24];
            let filled = getrandom::fill(&mut bytes);
            filled.map_err(|e| OperationError::internal(format!("no random numbers: {e}")))?;
            Ok::<_, OperationError>(hex::encode(bytes))
        };
        let (now_ms, mut known) = (self.clock.now_ms(), self.lock());
        if known.generation != generation {
            return Err(OperationError::unauthorized("the tokens were replaced meanwhile"));
        }
        known.sessions.retain(|session| session.expires_ms > now_ms);
        let parent = by.and_then(|by| known.sessions.iter().find(|session| session.token == by));
        let expires_ms = (now_ms + LIVES_S * 1_000).min(parent.map_or(i64::MAX, |parent| parent.expires_ms));
        let given = Given { token: secret()?, cookie: secret()?, expires_ms };
        let (token, cookie) = (blake3::hash(given.token.as_bytes()), blake3::hash(given.cookie.as_bytes()));
        if known.sessions.len() >= MOST {
            // Nobody may log those out who may do more.
            let Some(oldest) = known.sessions.iter().position(|session| session.role <= role) else {
                return Err(OperationError::transient("too many sessions").with_next_step("Log out elsewhere."));
            };
            known.sessions.remove(oldest);
        }
        known.sessions.push(Session { token, cookie, role, expires_ms });
        Ok(given)
    }

    /// The role of a session's token.
    pub fn role_of(&self, digest: Hash) -> Option<Role> {
        let (now_ms, known) = (self.clock.now_ms(), self.lock());
        let found = known.sessions.iter().filter(|session| session.expires_ms > now_ms && session.token == digest);
        found.map(|session| session.role).max()
    }

    /// Whether a request for media has the cookie of a session.
    pub(super) fn may_read_media(&self, request: &Request) -> bool {
        let is_reading = matches!(*request.method(), Method::GET | Method::HEAD);
        let below = request.uri().path().strip_prefix("/api/v1/").unwrap_or_default();
        let is_media = match below.split('/').collect::<Vec<_>>()[..] {
            ["vods", _, what] => MEDIA_OF_VOD.contains(&what),
            ["streams", _, "clip"] => true,
            _ => false,
        };
        is_reading && is_media && cookies(request.headers()).any(|cookie| self.has_cookie(cookie))
    }

    fn has_cookie(&self, cookie: &str) -> bool {
        let (digest, now_ms) = (blake3::hash(cookie.as_bytes()), self.clock.now_ms());
        self.lock().sessions.iter().any(|session| session.expires_ms > now_ms && session.cookie == digest)
    }

    fn end(&self, digest: Hash) {
        self.lock().sessions.retain(|session| session.token != digest);
    }

    /// Ends every session, and lets none begin for a request that was let in before.
    pub(super) fn end_all(&self) {
        let mut known = self.lock();
        known.sessions.clear();
        known.generation += 1;
    }

    /// How often all sessions were ended.
    pub(super) fn generation(&self) -> u64 {
        self.lock().generation
    }

    /// A session's token.
    #[cfg(test)]
    pub(super) fn begin_for_test(&self, role: Role) -> String {
        self.begin(role, self.generation(), None).unwrap().token
    }

    fn lock(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
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
    /// Of the sessions, from before it was looked at who asks.
    pub generation: u64,
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
    let by = request.headers().get(AUTHORIZATION).and_then(bearer).map(|token| blake3::hash(token.as_bytes()));
    let role = role_for(&service, asker, request).await;
    match role.and_then(|role| Ok((role, sessions.begin(role, asker.generation, by)?))) {
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
    let body = body_of(request.into_body(), BODY_LIMIT_BYTES).await?;
    let wish: Asked =
        if body.is_empty() { Asked::default() } else { serde_json::from_slice(&body).map_err(|e| not_valid(&e))? };
    match (by.role, wish.code) {
        (_, Some(code)) if service.context.logins().redeem(&code, service.context.pipeline().clock.now_ms()) => {
            Ok(Role::Operate)
        }
        (_, Some(_)) => Err(OperationError::unauthorized("this login link was used before or has expired")
            .with_next_step("Run `aftercast open` for a new one.")),
        (Some(role), None) => Ok(role),
        (None, None) => Err(OperationError::unauthorized("a session needs a token or a login code")),
    }
}

async fn end(Extension(sessions): Extension<Sessions>, headers: HeaderMap) -> Response {
    if let Some(token) = headers.get(AUTHORIZATION).and_then(bearer) {
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
    use std::time::Duration;

    use super::*;

    fn request(method: &str, path: &str, cookie: &str) -> Request {
        let request = Request::builder().method(method).uri(path).header(COOKIE, cookie);
        request.body(axum::body::Body::empty()).unwrap()
    }

    #[test]
    fn a_cookie_reads_media_and_nothing_else() {
        let sessions = Sessions::default();
        let given = sessions.begin(Role::Operate, 0, None).unwrap();
        let cookie = format!("a=b; {COOKIE_NAME}={}", given.cookie);
        let may = |method, path| sessions.may_read_media(&request(method, path, &cookie));
        assert!(may("GET", "/api/v1/vods/a/media") && may("HEAD", "/api/v1/streams/a/clip"));
        assert!(!may("GET", "/api/v1/vods") && !may("POST", "/api/v1/vods/a/media"));
        assert!(!may("GET", "/live/rest/v2/vods/count/clip") && !may("GET", "/api/v1/a/vods/b/media"));
        let with_token = format!("{COOKIE_NAME}={}", given.token);
        assert!(!sessions.may_read_media(&request("GET", "/api/v1/vods/a/media", &with_token)));
        assert_eq!(sessions.role_of(blake3::hash(given.cookie.as_bytes())), None);
    }

    #[test]
    fn a_session_ends_when_it_is_told_or_old() {
        let clock = Clock::standing_at(1_000);
        let sessions = Sessions::timed_by(&clock);
        let begin = || sessions.begin(Role::Read, 0, None).unwrap();
        let old = begin();
        clock.advance(Duration::from_secs(LIVES_S.unsigned_abs()));
        let ended = begin();
        let role = |token: &str| sessions.role_of(blake3::hash(token.as_bytes()));
        assert_eq!((role(&old.token), role(&ended.token)), (None, Some(Role::Read)));
        sessions.end(blake3::hash(ended.token.as_bytes()));
        assert_eq!(role(&ended.token), None);
    }

    #[test]
    fn a_request_from_before_the_tokens_were_replaced_begins_no_session() {
        let sessions = Sessions::default();
        let before = sessions.generation();
        sessions.end_all();
        assert!(sessions.begin(Role::Operate, before, None).is_err());
        assert!(sessions.begin(Role::Operate, sessions.generation(), None).is_ok());
    }

    #[test]
    fn a_session_that_is_begun_with_another_lives_no_longer() {
        let clock = Clock::standing_at(1_000);
        let sessions = Sessions::timed_by(&clock);
        let first = sessions.begin(Role::Read, 0, None).unwrap();
        clock.advance(Duration::from_secs(1));
        let by = Some(blake3::hash(first.token.as_bytes()));
        assert_eq!(sessions.begin(Role::Read, 0, by).unwrap().expires_ms, first.expires_ms);
    }

    #[test]
    fn a_reader_logs_no_operator_out() {
        let sessions = Sessions::default();
        let operator = sessions.begin(Role::Operate, 0, None).unwrap();
        for _ in 0..=MOST {
            sessions.begin(Role::Read, 0, None).unwrap();
        }
        assert_eq!(sessions.role_of(blake3::hash(operator.token.as_bytes())), Some(Role::Operate));
    }
}
