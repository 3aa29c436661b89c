//! Who may ask for what on TCP: bearer tokens (RFC 6750) with one of two roles.
//!
//! What only reads needs the role *read*, what changes something the role *operate*. On a loopback address reading needs no token,
//! as everybody on the machine could read the files as well. The Unix socket asks for none: its file belongs to the daemon's user.
//! Only digests of the tokens are kept, and they are compared in constant time.

use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard};

use axum::extract::{Request, State};
use axum::http::header::{AUTHORIZATION, HOST, WWW_AUTHENTICATE};
use axum::http::uri::Authority;
use axum::http::{HeaderMap, HeaderValue, Method};
use axum::middleware::Next;
use axum::response::Response;
use blake3::Hash;

use super::answering::problem;
use super::error::ServeError;
use super::sessions::{self, Asker, Sessions};
use super::{page, sharing};
use crate::config::ServeOptions;
use crate::operations::OperationError;
use crate::secret;

/// What a token allows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Role {
    /// To look at everything.
    Read,
    /// Also to change and delete.
    Operate,
}

impl Role {
    /// The role that a method needs.
    pub fn needed_for(method: &Method) -> Self {
        // OPTIONS is answered by the CORS layer before anything else.
        if matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS) { Self::Read } else { Self::Operate }
    }

    /// Its name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Operate => "operate",
        }
    }
}

/// Digests of the tokens that are known.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tokens(Vec<(Hash, Role)>);

impl Tokens {
    /// Adds one.
    pub fn add(&mut self, token: &str, role: Role) {
        self.0.push((blake3::hash(token.as_bytes()), role));
    }

    /// Reads the configured ones.
    pub(super) fn of(options: &ServeOptions) -> Result<Self, ServeError> {
        let mut tokens = Self::default();
        let files = [(&options.read_token_file, Role::Read), (&options.operate_token_file, Role::Operate)];
        for (file, role) in files {
            let Some(path) = file else { continue };
            let text = secret::read(path).map_err(|source| ServeError::Token { path: path.clone(), source })?;
            let token = text.lines().next().unwrap_or_default().trim();
            if token.len() < SHORTEST_TOKEN {
                return Err(ServeError::ShortToken(path.clone()));
            }
            tokens.add(token, role);
        }
        Ok(tokens)
    }

    /// Whether none is known.
    pub const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The role of a token; all are compared, so that the time tells nothing.
    fn role_of(&self, token: &str) -> Option<Role> {
        let digest = blake3::hash(token.as_bytes());
        let matching = |(known, role): &(Hash, Role)| (*known == digest).then_some(*role);
        self.0.iter().map(matching).fold(None, Option::max)
    }
}

/// Fewer characters are guessed or typed for fun.
const SHORTEST_TOKEN: usize = 16;

/// What requests that come in on an address are held against.
#[derive(Debug)]
pub struct AccessPolicy {
    address: SocketAddr,
    tokens: RwLock<Tokens>,
    sessions: Sessions,
    reads_are_free: bool,
    has_page: bool,
}

/// Paths that are answered without a token everywhere: they say nothing but that the program runs.
const OPEN: [&str; 1] = ["/healthz"];

impl AccessPolicy {
    /// For an address that is listened on.
    pub const fn of(address: SocketAddr, tokens: Tokens, sessions: Sessions) -> Self {
        let reads_are_free = address.ip().is_loopback();
        Self { address, tokens: RwLock::new(tokens), sessions, reads_are_free, has_page: false }
    }

    /// An error if with these tokens everybody who reaches the address could read everything.
    pub(super) fn allows(&self, tokens: &Tokens) -> Result<(), ServeError> {
        let is_open = tokens.is_empty() && !self.reads_are_free;
        if is_open { Err(ServeError::Open(self.address)) } else { Ok(()) }
    }

    /// Other tokens are known from the next request on. Sessions that were begun with the former ones end: a token is replaced because
    /// somebody has it who should not.
    ///
    /// Says whether they are others.
    pub(super) fn replace(&self, tokens: Tokens) -> bool {
        let before = std::mem::replace(&mut *self.tokens.write().unwrap_or_else(PoisonError::into_inner), tokens);
        let are_others = before != *self.tokens();
        if are_others {
            self.sessions.end_all();
        }
        are_others
    }

    fn tokens(&self) -> RwLockReadGuard<'_, Tokens> {
        self.tokens.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// The page is served, too; its files need no token.
    #[must_use]
    pub fn with_page(self, has_page: bool) -> Self {
        Self { has_page, ..self }
    }

    /// The sessions of the page.
    pub(super) const fn sessions(&self) -> &Sessions {
        &self.sessions
    }

    /// With which role a request may be answered, if it may; none where nothing is to be known of who asks.
    fn check(&self, request: &Request) -> Result<Option<Role>, AccessDenied> {
        let path = request.uri().path();
        let is_reading = Role::needed_for(request.method()) == Role::Read;
        let is_open = OPEN.contains(&path)
            || (is_reading && sharing::is_link(path))
            || (self.has_page && is_reading && page::is_part(path));
        if is_open {
            return Ok(None);
        }
        if has_token_in_query(request.uri().query().unwrap_or_default()) {
            return Err(AccessDenied::InQuery);
        }
        // A session is begun with any token or with a code, and ended by whoever has it.
        let is_session = path == sessions::PATH && !is_reading;
        let needed = if is_session { Role::Read } else { Role::needed_for(request.method()) };
        let Some(presented) = request.headers().get(AUTHORIZATION) else {
            let is_free = needed == Role::Read && self.reads_are_free && names_this_machine(request.headers());
            return match () {
                () if is_session => Ok(None),
                () if is_free => Ok(Some(Role::Read)),
                () if self.sessions.may_read_media(request) => Ok(Some(Role::Read)),
                () => Err(self.missing(needed)),
            };
        };
        let role = bearer(presented).and_then(|token| self.role_of(token)).ok_or(AccessDenied::Unknown)?;
        if role >= needed { Ok(Some(role)) } else { Err(AccessDenied::ReadOnly) }
    }

    fn role_of(&self, token: &str) -> Option<Role> {
        self.tokens().role_of(token).max(self.sessions.role_of(blake3::hash(token.as_bytes())))
    }

    /// What a request is answered knowing of who asks.
    fn asker(&self, role: Option<Role>, generation: u64) -> Asker {
        Asker { role, generation, has_tokens: !self.tokens().is_empty() }
    }

    fn missing(&self, needed: Role) -> AccessDenied {
        if self.tokens().is_empty() { AccessDenied::NoneConfigured } else { AccessDenied::Missing(needed) }
    }
}

/// Whether a request was made to a loopback name. A page of another site whose name leads to 127.0.0.1 (DNS rebinding), or a proxy that
/// serves everybody, sends another name.
fn names_this_machine(headers: &HeaderMap) -> bool {
    let Some(host) = headers.get(HOST).map(HeaderValue::to_str) else { return true };
    let Some(authority) = host.ok().and_then(|host| host.parse::<Authority>().ok()) else { return false };
    let host = authority.host().trim_start_matches('[').trim_end_matches(']');
    host.eq_ignore_ascii_case("localhost") || host.parse().is_ok_and(|address: IpAddr| address.is_loopback())
}

/// The token of `Authorization: Bearer TOKEN`; the scheme's case does not matter (RFC 9110, 11.1).
pub(super) fn bearer(header: &HeaderValue) -> Option<&str> {
    let (scheme, token) = header.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then_some(token.trim())
}

/// A token in a URL ends up in logs and histories (RFC 6750, 5.3).
fn has_token_in_query(query: &str) -> bool {
    query.split('&').filter_map(|pair| pair.split('=').next()).any(|name| matches!(name, "token" | "access_token"))
}

/// Why a request is not answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum AccessDenied {
    NoneConfigured,
    Missing(Role),
    Unknown,
    ReadOnly,
    InQuery,
}

impl AccessDenied {
    fn response(self) -> Response {
        let with_header = "Send the header `Authorization: Bearer TOKEN`.";
        let (error, challenge) = match self {
            Self::NoneConfigured => (
                OperationError::unauthorized("this request needs a token, and none is configured").with_next_step(
                    "Set `serve.operate_token_file` and send SIGHUP to the daemon, or use the command line.",
                ),
                Some("Bearer"),
            ),
            Self::Missing(role) => (
                OperationError::unauthorized(format!("this request needs a token with the role `{}`", role.name()))
                    .with_next_step(with_header),
                Some("Bearer"),
            ),
            Self::Unknown => (
                OperationError::unauthorized("the token is not known").with_next_step(with_header),
                Some("Bearer error=\"invalid_token\""),
            ),
            Self::ReadOnly => (
                OperationError::forbidden("the token has the role `read`; this request needs `operate`"),
                Some("Bearer error=\"insufficient_scope\""),
            ),
            Self::InQuery => (
                OperationError::invalid("tokens in URLs are not accepted: they end up in logs")
                    .with_next_step(with_header),
                None,
            ),
        };
        let mut response = problem(&error);
        if let Some(challenge) = challenge {
            response.headers_mut().insert(WWW_AUTHENTICATE, HeaderValue::from_static(challenge));
        }
        response
    }
}

/// Answers what may be answered.
pub(super) async fn guard(State(access): State<Arc<AccessPolicy>>, mut request: Request, next: Next) -> Response {
    let generation = access.sessions.generation();
    match access.check(&request) {
        Ok(role) => {
            request.extensions_mut().insert(access.asker(role, generation));
            next.run(request).await
        }
        Err(refusal) => refusal.response(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn access(address: &str) -> AccessPolicy {
        let mut tokens = Tokens::default();
        tokens.add("reader", Role::Read);
        tokens.add("operator", Role::Operate);
        AccessPolicy::of(address.parse().unwrap(), tokens, Sessions::default()).with_page(true)
    }

    fn asked(method: &str, uri: &str, token: Option<&str>) -> Request {
        let mut request = Request::builder().method(method).uri(uri);
        if let Some(token) = token {
            request = request.header(AUTHORIZATION, token);
        }
        request.body(axum::body::Body::empty()).unwrap()
    }

    #[test]
    fn sessions_end_with_the_tokens_that_they_were_begun_with() {
        let policy = access("127.0.0.1:8420");
        let session = policy.sessions.begin_for_test(Role::Operate);
        let allowed =
            |policy: &AccessPolicy| policy.check(&asked("POST", "/api/v1/process", Some(&format!("Bearer {session}"))));
        policy.replace(access("127.0.0.1:8420").tokens().clone());
        assert_eq!(allowed(&policy), Ok(Some(Role::Operate)), "the tokens are the same");
        policy.replace(Tokens::default());
        assert_eq!(allowed(&policy), Err(AccessDenied::Unknown));
    }

    #[test]
    fn each_method_address_and_token_has_its_answer() {
        use AccessDenied::{InQuery, Missing, ReadOnly, Unknown};
        const LOCAL: &str = "127.0.0.1:8420";
        const PUBLIC: &str = "0.0.0.0:8420";
        let cases = [
            (LOCAL, "GET", "/api/v1/vods", None, Ok(())),
            (LOCAL, "HEAD", "/api/v1/vods", None, Ok(())),
            (LOCAL, "GET", "/api/v1/vods", Some("Bearer wrong"), Err(Unknown)),
            (LOCAL, "GET", "/api/v1/vods", Some("Basic cmVhZGVy"), Err(Unknown)),
            (LOCAL, "POST", "/api/v1/process", None, Err(Missing(Role::Operate))),
            (LOCAL, "POST", "/api/v1/process", Some("Bearer reader"), Err(ReadOnly)),
            (LOCAL, "POST", "/api/v1/process", Some("bearer operator"), Ok(())),
            (LOCAL, "DELETE", "/api/v1/vods/a", Some("Bearer reader"), Err(ReadOnly)),
            (LOCAL, "GET", "/api/v1/vods?token=operator", None, Err(InQuery)),
            (LOCAL, "GET", "/api/v1/vods?limit=1&access_token=reader", Some("Bearer reader"), Err(InQuery)),
            (PUBLIC, "GET", "/healthz", None, Ok(())),
            (PUBLIC, "GET", "/share/a/1/b", None, Ok(())),
            // An application may have the name `share`.
            (PUBLIC, "DELETE", "/share/a/1/b", None, Err(Missing(Role::Operate))),
            (PUBLIC, "DELETE", "/share/rest/v2/vods/a", None, Err(Missing(Role::Operate))),
            (PUBLIC, "GET", "/share/rest/v2/vods/list/0/50", None, Err(Missing(Role::Read))),
            (PUBLIC, "GET", "/share/streams/a/b/c.mp4", None, Err(Missing(Role::Read))),
            (PUBLIC, "GET", "/readyz", None, Err(Missing(Role::Read))),
            (PUBLIC, "GET", "/api/v1/vods", None, Err(Missing(Role::Read))),
            (PUBLIC, "GET", "/api/v1/vods", Some("Bearer reader"), Ok(())),
            (PUBLIC, "PUT", "/live/rest/v2/broadcasts/a/recording/true", Some("Bearer reader"), Err(ReadOnly)),
            (PUBLIC, "PATCH", "/api/v1/vods/a", Some("Bearer operator"), Ok(())),
            (PUBLIC, "GET", "/", None, Ok(())),
            (PUBLIC, "HEAD", "/_page/0/app.js", None, Ok(())),
            (PUBLIC, "POST", "/", None, Err(Missing(Role::Operate))),
            (PUBLIC, "GET", "/page", None, Err(Missing(Role::Read))),
            (PUBLIC, "GET", "/api/v1/session", None, Err(Missing(Role::Read))),
            (PUBLIC, "POST", "/api/v1/session", None, Ok(())),
            (PUBLIC, "POST", "/api/v1/session", Some("Bearer reader"), Ok(())),
            (PUBLIC, "POST", "/api/v1/session", Some("Bearer wrong"), Err(Unknown)),
            (LOCAL, "POST", "/api/v1/login", None, Err(Missing(Role::Operate))),
            (LOCAL, "POST", "/api/v1/login", Some("Bearer reader"), Err(ReadOnly)),
        ];
        for (address, method, uri, token, answer) in cases {
            let said = access(address).check(&asked(method, uri, token)).map(drop);
            assert_eq!(said, answer, "{address} {method} {uri} {token:?}");
        }
        let without_page = access(PUBLIC).with_page(false);
        assert_eq!(without_page.check(&asked("GET", "/", None)), Err(Missing(Role::Read)));
        let none = AccessPolicy::of(LOCAL.parse().unwrap(), Tokens::default(), Sessions::default());
        assert_eq!(none.check(&asked("POST", "/api/v1/process", None)), Err(AccessDenied::NoneConfigured));
    }

    #[test]
    fn reading_is_free_only_for_who_asks_this_machine_by_its_own_name() {
        let free = |host: &str| {
            let mut request = asked("GET", "/api/v1/vods", None);
            request.headers_mut().insert(HOST, host.parse().unwrap());
            access("127.0.0.1:8420").check(&request).is_ok()
        };
        assert!(["127.0.0.1:8420", "localhost", "LOCALHOST:80", "[::1]:8420", "127.1.2.3"].into_iter().all(free));
        assert!(!["rebound.example:8420", "192.0.2.1", "localhost.example", ":::", ""].into_iter().any(free));
    }

    #[test]
    fn a_refusal_names_the_header_and_no_token() {
        for refusal in [AccessDenied::NoneConfigured, AccessDenied::Missing(Role::Read), AccessDenied::Unknown] {
            let response = refusal.response();
            assert_eq!(response.status(), 401);
            assert!(response.headers().contains_key(WWW_AUTHENTICATE));
        }
        assert_eq!(AccessDenied::ReadOnly.response().status(), 403);
        assert_eq!(AccessDenied::InQuery.response().status(), 400);
    }
}
