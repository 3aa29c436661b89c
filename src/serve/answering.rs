//! Running an operation for a request, and its answer.
//!
//! An operation blocks, so it has a thread of its own. What it says crosses a short channel: a client that reads slowly slows
//! down its own operation only. When the answer is not wanted any more, the operation is told to stop.

use std::convert::Infallible;
use std::sync::Arc;

use axum::body::{Body, Bytes};
use axum::extract::Request;
use axum::http::header::{CONTENT_ENCODING, CONTENT_TYPE, LOCATION, VARY};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::{IntoResponse as _, Response};
use futures::stream;
use serde::Serialize;
use tokio::sync::{Semaphore, mpsc};

use super::answer_cache::AnswerCache;
use super::coding;
use super::routes::{AnswerForm, Method, Route};
use super::wire::{Arguments, JSON, LINES, PROBLEM, arguments_of};
use crate::fault::{Class, chain};
use crate::operations::{Context, ErrorKind, ListVods, Operation, OperationError, VodHistogram};
use crate::pipeline::Stop;

/// Operations at once.
pub(super) const MOST_OPERATIONS: u32 = 64;
/// What an operation may say before the client has read it.
const UNREAD: usize = 64;

/// What every request is answered with.
#[derive(Debug, Clone)]
pub(super) struct Service {
    pub context: Context,
    /// One permit for each operation under way.
    pub operations: Arc<Semaphore>,
    /// Lists that were asked for before.
    pub kept: Arc<AnswerCache>,
}

/// An operation, as far as its answer is concerned. What works with this is in the program once, not once for each operation.
#[derive(Debug, Clone, Copy)]
pub(super) struct AnsweredOperation {
    method: Method,
    form: AnswerForm,
    /// Whether it may be asked of all nodes.
    may_be_of_all: bool,
    work_of: fn(Arguments) -> Result<Work, OperationError>,
}

/// An operation with its arguments: runs, and says what it has to say.
type Work = Box<dyn FnOnce(&Context, &mpsc::Sender<OperationOutput>) + Send>;

impl AnsweredOperation {
    pub(super) fn of<O: Route>() -> Self {
        let work_of = |arguments: Arguments| arguments.read::<O>().map(work);
        let may_be_of_all = [ListVods::PATH, VodHistogram::PATH].contains(&O::PATH);
        Self { method: O::METHOD, form: O::ANSWER, may_be_of_all, work_of }
    }

    /// Whether an answer stays the same until a VoD of this node changes. What is asked of all nodes does not.
    fn may_keep(self, service: &Service) -> bool {
        self.form == AnswerForm::Kept && (!self.may_be_of_all || service.context.pipeline().fleet.is_none())
    }
}

/// Answers a request for an operation.
pub(super) async fn answer(asked: AnsweredOperation, service: Service, request: Request) -> Response {
    let target = request.uri().path_and_query().map(ToString::to_string).filter(|_| asked.may_keep(&service));
    let headers = request.headers().clone();
    let (config, changes) = (service.context.config(), service.context.pipeline().catalog.shared().vod_changes());
    if let Some(body) = target.as_ref().and_then(|target| service.kept.get(target, &config, changes)) {
        return data(&headers, body).await;
    }
    let running = match arguments_of(asked.method, request).await.and_then(asked.work_of) {
        Ok(work) => service.begin(work).await,
        Err(error) => Err(error),
    };
    let whole = match (running, asked.form) {
        (Err(error), _) => Err(error),
        (Ok(running), AnswerForm::Lines) => return running.lines().await,
        (Ok(running), AnswerForm::Whole | AnswerForm::Kept) => running.whole().await,
    };
    match whole {
        Ok(body) => {
            if let Some(target) = target {
                service.kept.put(&target, &config, changes, &body);
            }
            data(&headers, body).await
        }
        Err(error) => problem(&error),
    }
}

async fn data(headers: &HeaderMap, body: Bytes) -> Response {
    let fixed = [(CONTENT_TYPE, JSON), (VARY, "accept-encoding")];
    match coding::gzipped(headers, &body).await {
        Some(body) => (fixed, [(CONTENT_ENCODING, coding::GZIP)], body).into_response(),
        None => (fixed, body).into_response(),
    }
}

/// JSON that an operation says.
enum OperationOutput {
    Item(Vec<u8>),
    End(Result<Vec<u8>, OperationError>),
}

/// An operation under way; it is told to stop when this is dropped.
struct RunningOperation {
    said: mpsc::Receiver<OperationOutput>,
    _until: StopOnDrop,
}

struct StopOnDrop(Stop);

impl Drop for StopOnDrop {
    fn drop(&mut self) {
        self.0.request();
    }
}

impl Service {
    /// With so many operations at once.
    pub(super) fn new(context: Context, operations: u32) -> Self {
        Self { context, operations: Arc::new(Semaphore::new(operations as usize)), kept: Arc::default() }
    }

    async fn begin(&self, work: Work) -> Result<RunningOperation, OperationError> {
        let permit = self.turn().await?;
        let context = self.context.for_request();
        let (say, said) = mpsc::channel(UNREAD);
        let until = StopOnDrop(context.stop().clone());
        let thread = std::thread::Builder::new().name("operation".into());
        let spawned = thread.spawn(move || {
            work(&context, &say);
            drop(permit);
        });
        spawned.map_err(|e| OperationError::transient(format!("cannot start a thread for it: {}", chain(&e))))?;
        Ok(RunningOperation { said, _until: until })
    }
}

fn work<O: Operation>(operation: O) -> Work {
    Box::new(move |context, say| {
        let mut tell = |item: O::Item| {
            say.blocking_send(OperationOutput::Item(json(&item)?)).map_err(|_| OperationError::cancelled())
        };
        let ended = operation.run(context, &mut tell).and_then(|data| json(&data));
        // Whoever does not listen any more misses nothing: what was done is in the catalogue.
        let _ = say.blocking_send(OperationOutput::End(ended));
    })
}

fn json(value: &impl Serialize) -> Result<Vec<u8>, OperationError> {
    serde_json::to_vec(value).map_err(|e| OperationError::internal(format!("cannot write the response: {}", chain(&e))))
}

impl RunningOperation {
    /// What it says next; an operation that ends without a word has met a fault of the program.
    async fn next(&mut self) -> OperationOutput {
        self.said.recv().await.unwrap_or_else(|| OperationOutput::End(Err(fault())))
    }

    async fn whole(mut self) -> Result<Bytes, OperationError> {
        loop {
            match self.next().await {
                OperationOutput::Item(_) => {}
                OperationOutput::End(ended) => return ended.map(Bytes::from),
            }
        }
    }

    /// An error that comes before the first item is the whole answer.
    async fn lines(mut self) -> Response {
        let first = match self.next().await {
            OperationOutput::End(Err(error)) => return problem(&error),
            said => said,
        };
        let lines = stream::unfold(Some((Some(first), self)), |rest| async move {
            let (first, mut running) = rest?;
            let said = match first {
                Some(said) => said,
                None => running.next().await,
            };
            let is_last = matches!(said, OperationOutput::End(_));
            Some((Ok::<_, Infallible>(said.line()), (!is_last).then_some((None, running))))
        });
        ([(CONTENT_TYPE, LINES)], Body::from_stream(lines)).into_response()
    }
}

impl OperationOutput {
    fn line(self) -> Bytes {
        let (name, json) = match self {
            Self::Item(item) => ("item", item),
            Self::End(Ok(data)) => ("data", data),
            Self::End(Err(error)) => ("error", json(&error).unwrap_or_default()),
        };
        [b"{\"", name.as_bytes(), b"\":", &json, b"}\n"].concat().into()
    }
}

/// What a request is answered with that gets no turn.
pub(super) fn busy() -> OperationError {
    OperationError::transient("too many operations at once").with_next_step("Try again later.")
}

/// What an operation that panicked is answered with.
pub(super) fn fault() -> OperationError {
    OperationError::internal("internal error; please report it with the daemon's log")
}

/// An error as the body of an answer (RFC 9457).
#[derive(Serialize)]
struct ProblemBody<'a> {
    title: &'static str,
    status: u16,
    #[serde(flatten)]
    error: &'a OperationError,
}

/// The answer of a request that another node has not answered yet: where to ask.
fn pending(error: &OperationError) -> Response {
    let place = format!("/api/v1/commands/{}", error.command.as_deref().unwrap_or_default());
    let body = json(error).unwrap_or_default();
    let headers = [(CONTENT_TYPE, HeaderValue::from_static(JSON))];
    let mut answer = (StatusCode::ACCEPTED, headers, body).into_response();
    answer.headers_mut().extend(HeaderValue::from_str(&place).ok().map(|place| (LOCATION, place)));
    answer
}

/// The answer that an error is.
pub(super) fn problem(error: &OperationError) -> Response {
    let (status, title) = match (error.kind, error.class) {
        (ErrorKind::Invalid, _) => (StatusCode::BAD_REQUEST, "Invalid request"),
        (ErrorKind::NotFound, _) => (StatusCode::NOT_FOUND, "Not found"),
        (ErrorKind::Unauthorized, _) => (StatusCode::UNAUTHORIZED, "Token needed"),
        (ErrorKind::Forbidden, _) => (StatusCode::FORBIDDEN, "Not allowed"),
        (ErrorKind::WrongMethod, _) => (StatusCode::METHOD_NOT_ALLOWED, "Method not allowed"),
        (ErrorKind::OtherNode, _) => (StatusCode::CONFLICT, "Belongs to another node"),
        (ErrorKind::NodeAway, _) => (StatusCode::SERVICE_UNAVAILABLE, "Node not reachable"),
        (ErrorKind::Pending, _) => return pending(error),
        (ErrorKind::NotSupported, _) => (StatusCode::NOT_IMPLEMENTED, "Not supported"),
        (ErrorKind::StateInUse | ErrorKind::RootInUse, _) => (StatusCode::CONFLICT, "In use by another process"),
        (ErrorKind::Configuration, _) => (StatusCode::CONFLICT, "Invalid configuration"),
        (ErrorKind::Store, Class::Transient | Class::Cancelled) => {
            (StatusCode::SERVICE_UNAVAILABLE, "Object store currently not available")
        }
        (ErrorKind::Store, _) => (StatusCode::BAD_GATEWAY, "Object store refused"),
        (ErrorKind::Internal, _) => (StatusCode::INTERNAL_SERVER_ERROR, "Internal error"),
        (ErrorKind::Failed, Class::Permanent) => (StatusCode::UNPROCESSABLE_ENTITY, "Failed"),
        (ErrorKind::Failed, _) => (StatusCode::SERVICE_UNAVAILABLE, "Currently not possible"),
    };
    let body = json(&ProblemBody { title, status: status.as_u16(), error }).unwrap_or_default();
    (status, [(CONTENT_TYPE, PROBLEM)], body).into_response()
}

#[cfg(test)]
mod tests {
    use schemars::JsonSchema;
    use serde::Deserialize;

    use super::*;
    use crate::operations::{ItemSink, NoItem, SharedConfig};
    use crate::pipeline::{Engine, OpeningOptions, PipelineSettings};

    /// Ends when it is told to.
    #[derive(Serialize, Deserialize, JsonSchema)]
    struct UntilStopped;

    impl Operation for UntilStopped {
        type Item = u32;
        type Data = u32;

        fn run(&self, context: &Context, tell: ItemSink<'_, u32>) -> Result<u32, OperationError> {
            tell(7)?;
            while !context.stop().is_requested() {
                std::thread::sleep(std::time::Duration::from_millis(5));
            }
            Ok(8)
        }
    }

    /// Meets a fault of the program.
    #[derive(Serialize, Deserialize, JsonSchema)]
    struct Panics;

    impl Operation for Panics {
        type Item = NoItem;
        type Data = ();

        fn run(&self, _context: &Context, _tell: ItemSink<'_, NoItem>) -> Result<(), OperationError> {
            panic!("a fault")
        }
    }

    fn service(dir: &tempfile::TempDir, operations: u32) -> Service {
        let settings = PipelineSettings { state_dir: dir.path().join("state"), ..PipelineSettings::default() };
        let engine = Engine::start(settings, Stop::default(), OpeningOptions::default()).unwrap();
        let context = Context::new(Arc::new(engine), SharedConfig::new(crate::config::Config::default()));
        Service::new(context, operations)
    }

    #[tokio::test(start_paused = true)]
    async fn an_operation_ends_when_its_answer_is_not_wanted_any_more() {
        let dir = tempfile::tempdir().unwrap();
        let service = service(&dir, 1);
        let mut running = service.begin(work(UntilStopped)).await.unwrap();
        assert!(matches!(running.next().await, OperationOutput::Item(item) if item == b"7"));
        let refused = service.begin(work(UntilStopped)).await.err().unwrap();
        assert_eq!(problem(&refused).status(), StatusCode::SERVICE_UNAVAILABLE, "{refused}");
        drop(running);
        drop(service.operations.acquire().await.unwrap());
        assert!(!service.context.stop().is_requested(), "nothing else is stopped");
    }

    #[tokio::test]
    async fn a_stop_of_the_daemon_ends_operations_and_their_answers_arrive() {
        let dir = tempfile::tempdir().unwrap();
        let service = service(&dir, 1);
        let lines = service.begin(work(UntilStopped)).await.unwrap().lines().await;
        service.context.stop().request();
        let text = axum::body::to_bytes(lines.into_body(), 1 << 10).await.unwrap();
        assert_eq!(text, "{\"item\":7}\n{\"data\":8}\n");
    }

    #[tokio::test]
    async fn a_fault_of_the_program_is_an_answer() {
        let dir = tempfile::tempdir().unwrap();
        let answer = problem(&service(&dir, 1).begin(work(Panics)).await.unwrap().whole().await.unwrap_err());
        assert_eq!(answer.status(), StatusCode::INTERNAL_SERVER_ERROR);
        let text = axum::body::to_bytes(answer.into_body(), 1 << 10).await.unwrap();
        let said: serde_json::Value = serde_json::from_slice(&text).unwrap();
        assert_eq!((&said["kind"], &said["status"]), (&"internal".into(), &500.into()), "{said}");
    }
}
