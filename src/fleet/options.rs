//! What an operator says about the fleet.

use std::path::PathBuf;
use std::str::FromStr as _;

use tokio_postgres::Config;
use url::Url;

use crate::fault::chain;

/// `[fleet]`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct FleetOptions {
    /// URL of the database; `None`: this node is alone. Never with a password.
    pub database: Option<String>,
    /// The file that holds the password, or `env:NAME`.
    pub password_file: Option<PathBuf>,
    /// Certificates (PEM) that the database's certificate is checked against, in place of the system's.
    pub ca_file: Option<PathBuf>,
    /// Name of this node; the host's name if none.
    pub name: Option<String>,
    /// Where other nodes send players for media that is only here.
    pub api_url: Option<String>,
}

impl FleetOptions {
    /// Whether this node has others.
    pub const fn is_on(&self) -> bool {
        self.database.is_some()
    }

    /// Name of this node.
    pub fn node_name(&self) -> String {
        let of_host = || rustix::system::uname().nodename().to_string_lossy().into_owned();
        self.name.clone().unwrap_or_else(of_host)
    }
}

/// The address of an HTTP interface without a slash at its end; `None` if it is none. What another node says of itself is as little to be
/// trusted as what a stranger says: nothing but `http` and `https`, and nobody is sent to a place with credentials or a query.
pub fn http_address(text: &str) -> Option<String> {
    let url = Url::parse(text).ok()?;
    let is_plain = url.username().is_empty() && url.password().is_none() && url.query().is_none();
    let is_http = matches!(url.scheme(), "http" | "https") && url.has_host() && url.fragment().is_none();
    (is_plain && is_http).then(|| url.as_str().trim_end_matches('/').to_owned())
}

/// Whether a URL names a database and holds no password.
pub fn check_address(url: &str) -> Result<(), String> {
    if !url.starts_with("postgres://") && !url.starts_with("postgresql://") {
        return Err("it does not begin with `postgres://`".to_owned());
    }
    // The words of the parser name keys, never values.
    let config = Config::from_str(url).map_err(|error| chain(&error))?;
    if config.get_password().is_some() {
        return Err("it must not contain a password; name a file in `password_file`".to_owned());
    }
    if config.get_hosts().is_empty() {
        return Err("it names no host".to_owned());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_is_sent_to_what_is_not_the_address_of_an_http_interface() {
        for (said, understood) in [
            ("https://b.example/", Some("https://b.example")),
            ("HTTP://b.example:8420/a/", Some("http://b.example:8420/a")),
            ("https://b.example\r\nset-cookie: x", None),
            ("javascript:alert(1)", None),
            ("data:text/html,x", None),
            ("//b.example", None),
            ("file:///etc/passwd", None),
            ("https://user:secret@b.example", None),
            ("https://b.example/?next=", None),
            ("https://b.example/#", None),
            ("", None),
        ] {
            assert_eq!(http_address(said).as_deref(), understood, "{said:?}");
        }
    }

    #[test]
    fn an_address_names_hosts_and_holds_no_secret() {
        for good in [
            "postgres://aftercast@db.example/aftercast",
            "postgresql://aftercast@a:5432,b:5433/aftercast?target_session_attrs=read-write&sslmode=require",
            "postgres:///aftercast?host=/run/postgresql&user=aftercast",
        ] {
            assert_eq!(check_address(good), Ok(()), "{good}");
        }
        for bad in [
            "mysql://db/x",
            "db.example",
            "postgres://a:hunter2@db/x",
            "postgres://db/x?password=hunter2",
            "postgres:///x",
        ] {
            let words = check_address(bad).unwrap_err();
            assert!(!words.contains("hunter2"), "{words}");
        }
    }
}
