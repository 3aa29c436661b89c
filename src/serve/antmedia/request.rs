//! What a request asks for: its path and parameters, whichever way clients write them. Pure.

use axum::http::{Method, Uri};
use percent_encoding::percent_decode_str;

/// Parameters by name.
pub(super) type QueryParameters = Vec<(String, String)>;

/// A request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct AntMediaRequest {
    pub method: Method,
    /// The application that is named, if one is.
    pub app: Option<String>,
    /// What is behind `rest/v2`, decoded, without an empty last segment.
    pub path: Vec<String>,
    pub parameters: QueryParameters,
}

impl AntMediaRequest {
    pub(super) fn of(method: &Method, uri: &Uri) -> Self {
        let request = Self::at(method, uri.path(), uri.query().unwrap_or_default());
        if request.app.is_some() || request.path != ["request"] {
            return request;
        }
        // The panel's proxy: the path is a parameter, and the others follow it.
        let (proxied, others): (QueryParameters, QueryParameters) =
            request.parameters.into_iter().partition(|(name, _)| name == "_path");
        let path = proxied.first().map_or("", |(_, path)| path.as_str()).trim_start_matches('/');
        let (path, query) = path.split_once('?').unwrap_or((path, ""));
        let mut inner = Self::at(method, &format!("/{path}"), query);
        inner.parameters.extend(others);
        inner
    }

    /// Parameters may follow the path with `&`, as Ant Media's own examples have it.
    fn at(method: &Method, path: &str, query: &str) -> Self {
        let (path, more) = path.split_once('&').unwrap_or((path, ""));
        let mut segments: Vec<&str> = path.trim_start_matches('/').split('/').collect();
        while segments.last().is_some_and(|last| last.is_empty()) {
            segments.pop();
        }
        let (app, rest) = match &segments[..] {
            ["rest", "v2", rest @ ..] => (None, rest),
            [app, "rest", "v2", rest @ ..] => (Some(decoded(app)), rest),
            _ => (None, &[][..]),
        };
        let parameters = [more, query].into_iter().flat_map(parameters_of).collect();
        Self { method: method.clone(), app, path: rest.iter().map(|segment| decoded(segment)).collect(), parameters }
    }

    /// A parameter; an empty one counts as none.
    pub(super) fn parameter(&self, name: &str) -> Option<&str> {
        let found = self.parameters.iter().find(|(known, value)| known == name && !value.is_empty());
        found.map(|(_, value)| value.as_str())
    }
}

fn parameters_of(query: &str) -> QueryParameters {
    serde_urlencoded::from_str(query).unwrap_or_default()
}

/// What is not UTF-8 becomes the replacement character, which no path of the catalogue has.
fn decoded(text: &str) -> String {
    percent_decode_str(text).decode_utf8_lossy().into_owned()
}

/// The first segment of a path, and the rest.
pub(super) fn app_and_path(path: &str) -> (String, String) {
    let (app, path) = path.trim_start_matches('/').split_once('/').unwrap_or_default();
    (decoded(app), decoded(path))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(uri: &str) -> (Option<String>, String, QueryParameters) {
        let request = AntMediaRequest::of(&Method::GET, &uri.parse().unwrap());
        (request.app, request.path.join(" "), request.parameters)
    }

    #[test]
    fn every_way_of_writing_is_the_same_request() {
        let parameters: QueryParameters =
            [("sort_by", ""), ("order_by", "desc")].map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec();
        for uri in [
            "/live/rest/v2/vods/list/0/50?sort_by=&order_by=desc",
            "/live/rest/v2/vods/list/0/50&sort_by=&order_by=desc",
            "/live/rest/v2/vods/list/0/50&sort_by=?order_by=desc",
            "/live/rest/v2/vods/list/0/50/?sort_by=&order_by=desc",
            "/rest/v2/request?_path=live/rest/v2/vods/list/0/50&sort_by=&order_by=desc",
            "/rest/v2/request?_path=/live/rest/v2/vods/list/0/50&sort_by=&order_by=desc",
            "/rest/v2/request?_path=live%2Frest%2Fv2%2Fvods%2Flist%2F0%2F50&sort_by=&order_by=desc",
            "/rest/v2/request?_path=live%2Frest%2Fv2%2Fvods%2Flist%2F0%2F50%3Fsort_by%3D&order_by=desc",
            "/rest/v2/request?_path=live/rest/v2/vods/list/0/50%26sort_by%3D&order_by=desc",
        ] {
            let (app, path, found) = request(uri);
            assert_eq!((app.as_deref(), path.as_str()), (Some("live"), "vods list 0 50"), "{uri}");
            assert_eq!(found, parameters, "{uri}");
        }
        assert_eq!(request("/rest/v2/vods/&ids=a,b"), (None, "vods".into(), vec![("ids".into(), "a,b".into())]));
        assert_eq!(request("/rest/v2/vods/count/a%20b%2Fc").1, "vods count a b/c");
        assert_eq!(request("/my%20app/rest/v2/version").0.as_deref(), Some("my app"));
        assert_eq!(request("/rest/v2/request").1, "");
        assert_eq!(request("/rest/v2/request?_path=rest/v2/request").1, "request");
        assert_eq!(request("/%ff/rest/v2/%FF").1, "\u{fffd}");
    }
}
