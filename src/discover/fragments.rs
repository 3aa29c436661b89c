//! Whether the fragmented MP4 of a root stays as it is, and why.

use std::borrow::Cow;

use super::mediamtx_playback::{self, Playback};
use super::options::{FragmentedPolicy, RootOptions, Server};

/// What holds for the fragmented MP4 of a root.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FragmentHandling {
    /// Whether it stays as it is.
    pub are_kept: bool,
    /// Why, for the log and `doctor`.
    pub reason: Cow<'static, str>,
}

/// What holds for fragmented MP4 in a root that this server writes (its name; `auto` and `template` are none). Asks the
/// MediaMTX that runs now, since its settings may change at any time.
pub fn fragments_of(root: &RootOptions, server: &str) -> FragmentHandling {
    let server = if root.server == Server::MediaMtx { root.server.name() } else { server };
    judge(root.fragmented, server, mediamtx_playback::read)
}

fn judge(setting: FragmentedPolicy, server: &str, playback: impl FnOnce() -> Playback) -> FragmentHandling {
    let set = |are_kept| FragmentHandling { are_kept, reason: "set by `fragmented`".into() };
    match setting {
        FragmentedPolicy::Keep => set(true),
        FragmentedPolicy::Progressive => set(false),
        FragmentedPolicy::Auto if server != Server::MediaMtx.name() => {
            FragmentHandling { are_kept: false, reason: "its server does not read finished recordings".into() }
        }
        FragmentedPolicy::Auto => match playback() {
            Playback::Off => FragmentHandling { are_kept: false, reason: "MediaMTX playback is disabled".into() },
            Playback::On => {
                FragmentHandling { are_kept: true, reason: "MediaMTX playback reads only fragmented MP4".into() }
            }
            Playback::Unknown(why) => FragmentHandling {
                are_kept: true,
                reason: format!("MediaMTX playback reads only fragmented MP4 and may be enabled: {why}").into(),
            },
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fragments_are_kept_for_a_playback_server_that_is_on_or_may_be() {
        let kept = |setting, server: &str, playback| judge(setting, server, || playback).are_kept;
        assert!(kept(FragmentedPolicy::Auto, "mediamtx", Playback::On));
        assert!(kept(FragmentedPolicy::Auto, "mediamtx", Playback::Unknown("nothing was found")));
        assert!(!kept(FragmentedPolicy::Auto, "mediamtx", Playback::Off));
        for server in ["auto", "antmedia", "srs", "template"] {
            assert!(!kept(FragmentedPolicy::Auto, server, Playback::On), "{server}");
            assert!(kept(FragmentedPolicy::Keep, server, Playback::Off), "{server}");
        }
        assert!(!kept(FragmentedPolicy::Progressive, "mediamtx", Playback::On), "it was asked for");
    }
}
