//! What stands behind identities without keys: a fake authority that gives a bearer token for the token of a workload, and a
//! line to an Azure emulator that lets in who has the bearer token.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use aftercast::deliver::TargetOptions;

use super::http::{Request, Response, forward, read_request, reply, serve};
use super::stores::Azure;

/// What the authority wants to see.
pub const ASSERTION: &str = "header.workload-of-a-pod.signature";
/// What it gives for it.
pub const BEARER: &str = "bearer-that-nobody-may-see";
pub const TENANT: &str = "tenant-of-the-studio";
pub const CLIENT: &str = "recorder";

/// The form of a request, decoded.
pub fn form(request: &Request) -> Vec<(String, String)> {
    url::form_urlencoded::parse(&request.body).into_owned().collect()
}

/// An authority; what it was asked.
pub fn authority() -> (SocketAddr, Arc<Mutex<Vec<Request>>>) {
    let seen: Arc<Mutex<Vec<Request>>> = Arc::default();
    let keeps = Arc::clone(&seen);
    let address = serve(move |client| {
        let Some(request) = read_request(&client, |_, length| length) else { return };
        reply(&client, &token_for(&request).bytes(false));
        keeps.lock().unwrap().push(request);
    });
    (address, seen)
}

fn token_for(request: &Request) -> Response {
    if request.target != format!("/{TENANT}/oauth2/v2.0/token") {
        return Response::new(404);
    }
    let form = form(request);
    let is = |name: &str, value: &str| form.iter().any(|(n, v)| n == name && v == value);
    let json = |status, body: String| Response::new(status).with("content-type", "application/json").saying(body);
    if !is("client_id", CLIENT) {
        let said = "AADSTS700016: Application with identifier 'x' was not found in the directory.";
        return json(400, format!(r#"{{"error":"unauthorized_client","error_description":"{said}"}}"#));
    }
    if !is("client_assertion", ASSERTION) {
        let said = "AADSTS700213: No matching federated identity record found for presented assertion subject.";
        let said = format!("{said}\\r\\nTrace ID: 0\\r\\nCorrelation ID: 0");
        return json(
            401,
            format!(r#"{{"error":"invalid_client","error_description":"{said}","error_codes":[700213]}}"#),
        );
    }
    json(200, format!(r#"{{"token_type":"Bearer","expires_in":3599,"access_token":"{BEARER}"}}"#))
}

/// A target in a container of an emulator that wants the bearer token and nothing else; what was asked of it.
pub fn guarded(server: &Azure, container: &str) -> (TargetOptions, Arc<Mutex<Vec<Request>>>) {
    let mut target = server.signed_for(container, "racwdl");
    let signature = std::fs::read_to_string(target.credential_files.remove("sas").unwrap()).unwrap();
    let (server, seen) = (server.address(), Arc::<Mutex<Vec<Request>>>::default());
    let keeps = Arc::clone(&seen);
    let address = serve(move |client| {
        let Some(mut request) = read_request(&client, |_, length| length) else { return };
        keeps.lock().unwrap().push(request.clone());
        let is_let_in = request.header("authorization") == Some(&format!("Bearer {BEARER}"));
        if !is_let_in {
            return reply(&client, &Response::error(401, "InvalidAuthenticationInfo").bytes(request.method == "HEAD"));
        }
        request.headers.retain(|(name, _)| name != "authorization");
        let joint = if request.target.contains('?') { '&' } else { '?' };
        request.target = format!("{}{joint}{signature}", request.target);
        reply(&client, &forward(server, &request).unwrap_or_default());
    });
    let path = target.endpoint.as_ref().unwrap().rsplit('/').next().unwrap().to_owned();
    target.endpoint = Some(format!("http://{address}/{path}"));
    (target, seen)
}
