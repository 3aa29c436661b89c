//! What `doctor` looks at: nothing is sent and nothing is run.

use std::path::Path;

use super::error::AnnounceError;
use super::options::{AnnounceOptions, WebhookOptions};
use super::{secret, webhook};
use crate::fault::{Fault, chain};

/// One thing that was looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EndpointCheck {
    /// The endpoint: `webhook/NAME` or `command/NAME`.
    pub subject: String,
    /// What was looked at.
    pub name: &'static str,
    /// Whether nothing is missing.
    pub is_ok: bool,
    /// What was seen.
    pub detail: String,
    /// What to do about it.
    pub hint: Option<String>,
}

/// Looks at the settings of every endpoint.
pub fn checks(options: &AnnounceOptions) -> Vec<EndpointCheck> {
    let webhooks = options.webhooks.iter().map(|webhook| {
        let subject = format!("webhook/{}", webhook.name);
        match of_webhook(webhook) {
            Ok(detail) => EndpointCheck { subject, name: "settings", is_ok: true, detail, hint: None },
            Err(error) => {
                EndpointCheck { subject, name: "settings", is_ok: false, detail: chain(&error), hint: error.hint() }
            }
        }
    });
    let commands = options.commands.iter().map(|command| {
        let program = command.command.first().map_or("", String::as_str);
        let may_run = rustix::fs::access(Path::new(program), rustix::fs::Access::EXEC_OK);
        let is_ok = may_run.is_ok() && Path::new(program).is_file();
        let detail = if is_ok { format!("`{program}` can be run") } else { format!("`{program}` cannot be run") };
        let hint = (!is_ok).then(|| "Correct `command`, or make the file executable for this user.".to_owned());
        EndpointCheck { subject: format!("command/{}", command.name), name: "program", is_ok, detail, hint }
    });
    webhooks.chain(commands).collect()
}

fn of_webhook(options: &WebhookOptions) -> Result<String, AnnounceError> {
    let client = webhook::client(options.timeout)?;
    let address = client.post(&options.url).build().map_err(|e| AnnounceError::Request(e.without_url()))?;
    if let Some(from) = &options.secret_file {
        secret::read(from)?;
    }
    let place = address.url().host_str().unwrap_or_default();
    Ok(format!("sends to {place} over {}, {}", address.url().scheme(), webhook::signs(options)))
}

#[cfg(test)]
mod tests {
    use super::super::options::CommandOptions;
    use super::*;

    #[test]
    fn what_is_missing_is_said_and_no_secret() {
        let mut bad = WebhookOptions::new("bad", "https://hooks.example/T0/hunter2");
        bad.secret_file = Some("/nowhere/secret".into());
        let webhooks = vec![WebhookOptions::new("good", "https://hooks.example/T0/hunter2?x=hunter2"), bad];
        let commands = ["/bin/sh", "/nowhere/hook", "/etc/passwd"].map(|p| CommandOptions::new("c", vec![p.into()]));
        let checks = checks(&AnnounceOptions { webhooks, commands: commands.to_vec(), ..AnnounceOptions::default() });
        let said: Vec<_> = checks.iter().map(|check| (check.is_ok, check.hint.is_some())).collect();
        assert_eq!(said, [(true, false), (false, true), (true, false), (false, true), (false, true)]);
        assert!(checks[1].detail.contains("/nowhere/secret"), "{:?}", checks[1]);
        assert!(!format!("{checks:?}").contains("hunter2"));
    }
}
