//! Keys of `[fleet]`.

use super::{Accessors, Key, PATH, Section, TEXT, ValueKind, put, quote_path, secret};
use crate::config::value::{Value, ValueError, quote};
use crate::fleet;

const DATABASE: ValueKind = ValueKind {
    unit: "URL",
    wants: r#"the URL of a PostgreSQL database without a password, such as "postgres://aftercast@db.example/aftercast""#,
};
const SECRET: ValueKind = ValueKind {
    unit: "path or env:NAME",
    wants: r#"an absolute path such as "/etc/aftercast/db-password", or "env:NAME" for an environment variable"#,
};
const API_URL: ValueKind = ValueKind {
    unit: "URL",
    wants: r#"the URL of this node's HTTP interface, such as "https://ingest-1.example:8420""#,
};

pub(super) static KEYS: [Key; 5] = [
    Key::new(
        Section::Fleet,
        "database",
        DATABASE,
        Accessors::Whole(
            |c, v| put(&mut c.fleet.database, database(v).map(Some)),
            |c| shown(c.fleet.database.as_deref()),
        ),
        "PostgreSQL database that several nodes share. Without it, this node works alone. TLS is required for a host that is not on loopback, unless the URL ends with `?sslmode=disable` or `?sslmode=prefer`.",
    )
    .like(r#""postgres://aftercast@db-1.example,db-2.example/aftercast""#),
    Key::new(
        Section::Fleet,
        "password_file",
        SECRET,
        Accessors::Whole(
            |c, v| put(&mut c.fleet.password_file, secret(v).map(Some)),
            |c| c.fleet.password_file.as_deref().map(quote_path),
        ),
        "File whose first line is the password for the database. \"env:NAME\" takes it from the environment.",
    )
    .like(r#""/etc/aftercast/db-password""#),
    Key::new(
        Section::Fleet,
        "ca_file",
        PATH,
        Accessors::Whole(
            |c, v| put(&mut c.fleet.ca_file, v.absolute_path().map(Some)),
            |c| c.fleet.ca_file.as_deref().map(quote_path),
        ),
        "Certificates (PEM) that the database's certificate is checked against. Default: those of the system.",
    )
    .like(r#""/etc/aftercast/db-ca.crt""#),
    Key::new(
        Section::Fleet,
        "name",
        TEXT,
        Accessors::Whole(|c, v| put(&mut c.fleet.name, v.filled_text().map(Some)), |c| shown(c.fleet.name.as_deref())),
        "Name of this node in lists. Default: the name of the host.",
    )
    .like(r#""ingest-1""#),
    Key::new(
        Section::Fleet,
        "api_url",
        API_URL,
        Accessors::Whole(|c, v| put(&mut c.fleet.api_url, api_url(v).map(Some)), |c| shown(c.fleet.api_url.as_deref())),
        "Where other nodes redirect players to for recordings that only this node has.",
    )
    .like(r#""https://ingest-1.example:8420""#),
];

fn shown(text: Option<&str>) -> Option<String> {
    text.map(quote)
}

fn database(value: &Value) -> Result<String, ValueError> {
    let url = value.filled_text()?;
    fleet::check_address(&url).map_err(ValueError::meaning)?;
    Ok(url)
}

fn api_url(value: &Value) -> Result<String, ValueError> {
    let url = value.filled_text()?;
    fleet::http_address(&url).ok_or_else(|| ValueError::meaning("it is not an HTTP URL without credentials and query"))
}
