//! Keys of `[serve]`.

use std::net::SocketAddr;
use std::path::PathBuf;

use super::{Accessors, Key, PATH, SWITCH, Section, ValueKind, put, quote_path, secret};
use crate::config::ServeOptions;
use crate::config::value::{Value, ValueError, quote, quote_list};

const ADDRESS: ValueKind = ValueKind {
    unit: "address or off",
    wants: r#"an IP address with a port such as "127.0.0.1:8420" or "[::1]:8420", or "off""#,
};
const ORIGINS: ValueKind =
    ValueKind { unit: "list", wants: r#"a list of origins such as ["https://vod.example.org"]"# };

const SECRET: ValueKind = ValueKind {
    unit: "path or env:NAME",
    wants: r#"an absolute path such as "/etc/aftercast/token", or "env:NAME" for an environment variable"#,
};

/// A key that names a file.
const fn file(
    name: &'static str,
    shape: ValueKind,
    set: fn(&mut crate::config::Config, &Value) -> Result<(), ValueError>,
    show: fn(&crate::config::Config) -> Option<String>,
    why: &'static str,
) -> Key {
    Key::new(Section::Serve, name, shape, Accessors::Whole(set, show), why)
}

pub(super) static KEYS: [Key; 7] = [
    Key::new(
        Section::Serve,
        "listen",
        ADDRESS,
        Accessors::Whole(|c, v| put(&mut c.serve.listen, address(v)), |c| Some(shown(&c.serve))),
        "Where `aftercast watch` serves HTTP. An address that is not loopback needs a token.",
    )
    .or(r#""127.0.0.1:8420""#),
    file(
        "read_token_file",
        SECRET,
        |c, v| put(&mut c.serve.read_token_file, secret(v).map(Some)),
        |c| path(c.serve.read_token_file.as_ref()),
        "File whose first line is the token for requests that only read. \"env:NAME\" takes it from the environment.",
    )
    .like(r#""/etc/aftercast/read.token""#),
    file(
        "operate_token_file",
        SECRET,
        |c, v| put(&mut c.serve.operate_token_file, secret(v).map(Some)),
        |c| path(c.serve.operate_token_file.as_ref()),
        "File whose first line is the token for every request, also those that change something. \"env:NAME\" takes it from the environment.",
    )
    .like(r#""/etc/aftercast/operate.token""#),
    file(
        "tls_cert",
        PATH,
        |c, v| put(&mut c.serve.tls_cert, v.absolute_path().map(Some)),
        |c| path(c.serve.tls_cert.as_ref()),
        "Certificate chain (PEM), for HTTPS without a proxy; `tls_key` belongs to it.",
    )
    .like(r#""/etc/aftercast/tls.crt""#),
    file(
        "tls_key",
        PATH,
        |c, v| put(&mut c.serve.tls_key, v.absolute_path().map(Some)),
        |c| path(c.serve.tls_key.as_ref()),
        "Private key (PEM) of `tls_cert`.",
    )
    .like(r#""/etc/aftercast/tls.key""#),
    Key::new(
        Section::Serve,
        "page",
        SWITCH,
        Accessors::Whole(|c, v| put(&mut c.serve.page, v.boolean()), |c| Some(c.serve.page.to_string())),
        "Whether the page for browsers is served at `/`.",
    )
    .or("true"),
    Key::new(
        Section::Serve,
        "origins",
        ORIGINS,
        Accessors::Whole(|c, v| put(&mut c.serve.origins, v.list()), |c| Some(quote_list(&c.serve.origins))),
        "Origins of other sites whose pages may read answers (CORS); [\"*\"] is every site.",
    )
    .or("[]"),
];

fn address(value: &Value) -> Result<Option<SocketAddr>, ValueError> {
    let text = value.text()?;
    if text == "off" {
        return Ok(None);
    }
    text.parse().map(Some).map_err(|_| ValueError::Kind(format!("`{text}`")))
}

fn shown(options: &ServeOptions) -> String {
    quote(&options.listen.map_or_else(|| "off".to_owned(), |address| address.to_string()))
}

fn path(path: Option<&PathBuf>) -> Option<String> {
    path.map(|path| quote_path(path))
}
