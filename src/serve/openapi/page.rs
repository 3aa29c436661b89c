//! The document as a page: one section for each request.

use std::fmt::Write as _;

use serde_json::Value;

const STYLE: &str = "body{font:16px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem;color-scheme:light dark}\
code,pre{font:14px/1.4 ui-monospace,monospace}h2{margin-top:2.5rem;font-size:1.1rem}b{font-weight:600}\
table{border-collapse:collapse;width:100%}td,th{text-align:left;vertical-align:top;padding:.25rem 1rem .25rem 0}\
pre{overflow:auto;max-height:24rem;border:1px solid #8884;border-radius:6px;padding:.75rem}summary{cursor:pointer}";

/// Writes it.
pub(super) fn of(document: &Value) -> String {
    let mut page =
        String::from("<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><title>aftercast API</title>");
    let info = &document["info"];
    let _ = write!(
        page,
        "<meta name=\"viewport\" content=\"width=device-width\"><style>{STYLE}</style><h1>aftercast {}</h1><p>{}</p>\
         <p>The same for programs: <a href=\"openapi.json\">openapi.json</a></p>",
        escaped(&info["version"]),
        escaped(&info["description"])
    );
    for (path, methods) in document["paths"].as_object().into_iter().flatten() {
        for (method, operation) in methods.as_object().into_iter().flatten() {
            section(&mut page, path, method, operation);
        }
    }
    let _ = write!(page, "<h2>Types</h2>");
    for (name, schema) in document["components"]["schemas"].as_object().into_iter().flatten() {
        details(&mut page, name, schema);
    }
    page.push_str("</html>");
    page
}

fn section(page: &mut String, path: &str, method: &str, operation: &Value) {
    let method = method.to_uppercase();
    let _ =
        write!(page, "<h2><b>{method}</b> <code>{}</code></h2><p>{}</p>", escape(path), escaped(&operation["summary"]));
    let parameters = operation["parameters"].as_array().map(Vec::as_slice).unwrap_or_default();
    if !parameters.is_empty() {
        page.push_str("<table><tr><th>argument<th>where<th>what for");
        for p in parameters {
            let needed = if p["required"] == true { ", needed" } else { "" };
            let (name, place, text) = (escaped(&p["name"]), escaped(&p["in"]), escaped(&p["description"]));
            let _ = write!(page, "<tr><td><code>{name}</code><td>{place}{needed}<td>{text}");
        }
        page.push_str("</table>");
    }
    for (_, content) in operation["requestBody"]["content"].as_object().into_iter().flatten() {
        details(page, "body", &content["schema"]);
    }
    for (kind, content) in operation["responses"]["200"]["content"].as_object().into_iter().flatten() {
        details(page, &format!("answer ({kind})"), &content["schema"]);
    }
}

fn details(page: &mut String, name: &str, schema: &Value) {
    let text = serde_json::to_string_pretty(schema).unwrap_or_default();
    let _ = write!(page, "<details><summary>{}</summary><pre>{}</pre></details>", escape(name), escape(&text));
}

fn escaped(text: &Value) -> String {
    escape(text.as_str().unwrap_or_default())
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}
