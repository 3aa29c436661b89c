//! What root checks for the service, which runs as a user of its own.

use std::fs;
use std::os::unix::fs::MetadataExt as _;

use super::accounts::Accounts;
use super::render::USER;
use crate::config::Config;
use crate::operations::doctor::{Check, STATE_DIRECTORY, checks};
use crate::stop::Stop;

/// Group and others may write.
const SHARED: u32 = 0o022;

/// The checks of `doctor`, as they are for the service if root asks: the service opens the state directory, not root.
pub fn checks_of_service(config: &Config, is_root: bool, accounts: &Accounts) -> Vec<Check> {
    let mut checks = checks(config, None, &Stop::default());
    let service = accounts.user(USER).filter(|_| is_root);
    if let (Some(service), Ok(found)) = (service, fs::metadata(&config.state_dir)) {
        let of_state = checks.iter_mut().filter(|check| check.name == STATE_DIRECTORY);
        of_state.for_each(|check| for_service(check, (found.uid(), found.mode()), service));
    }
    checks
}

/// A state directory that belongs to the service's user is as it should be.
fn for_service(check: &mut Check, (owner, mode): (u32, u32), service: u32) {
    if owner == service && owner != 0 && mode & SHARED == 0 {
        check.is_ok = true;
        check.detail = format!("belongs to `{USER}`, the user of the service");
        check.hint = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_state_directory_of_the_services_user_is_right_and_of_anybody_else_is_not() {
        let refused = Check {
            subject: "/var/lib/aftercast".into(),
            name: STATE_DIRECTORY.into(),
            is_ok: false,
            detail: "belongs to user id 100".into(),
            hint: Some("Run `chown 0 /var/lib/aftercast`.".into()),
        };
        let judged = |owner, mode, service| {
            let mut check = refused.clone();
            for_service(&mut check, (owner, mode), service);
            check
        };
        let right = judged(100, 0o40700, 100);
        assert!(right.is_ok && right.hint.is_none() && right.detail.contains("`aftercast`"), "{right:?}");
        for (owner, mode, service) in [(101, 0o40700, 100), (100, 0o40770, 100), (100, 0o40702, 100), (0, 0o40700, 0)] {
            assert_eq!(judged(owner, mode, service), refused, "{owner} {mode:o} {service}");
        }
    }
}
