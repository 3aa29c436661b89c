//! How much memory this process may have. What takes much of it asks here how much that may be: a process that takes more
//! than its control group allows is killed, and so is the recording's next attempt.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use rustix::process::{Resource, getrlimit};

/// Where control groups are mounted: version 2, version 2 beside version 1, version 1.
const MOUNTS: [&str; 2] = ["/sys/fs/cgroup", "/sys/fs/cgroup/unified"];
const MOUNT_1: &str = "/sys/fs/cgroup/memory";

/// Bytes that this process may have: the smallest of its control groups' limits (`memory.max`, `memory.high`; version 1:
/// `memory.limit_in_bytes`), its own (`RLIMIT_DATA`, `RLIMIT_AS`) and the machine's memory. Asked once.
pub fn limit_bytes() -> u64 {
    static LIMIT: OnceLock<u64> = OnceLock::new();
    *LIMIT.get_or_init(|| {
        let own = [Resource::Data, Resource::As].into_iter().filter_map(|resource| getrlimit(resource).current);
        let groups = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
        let of_groups = limits_of(&groups, |path| fs::read_to_string(path).ok());
        own.chain(of_groups).chain([machine_bytes()]).min().unwrap_or(u64::MAX)
    })
}

/// One part in so many of what the process may have, at most `most`.
pub fn share(parts: u64, most: u64) -> u64 {
    most.min(limit_bytes() / parts)
}

fn machine_bytes() -> u64 {
    let info = rustix::system::sysinfo();
    #[expect(clippy::useless_conversion, reason = "the width of the field differs between machines")]
    u64::from(info.totalram).saturating_mul(u64::from(info.mem_unit.max(1)))
}

/// The limits of the groups that `/proc/self/cgroup` names, and of those above them.
fn limits_of(groups: &str, read: impl Fn(&Path) -> Option<String>) -> Vec<u64> {
    let mut files = Vec::new();
    for line in groups.lines() {
        let mut fields = line.splitn(3, ':').skip(1);
        let (Some(controllers), Some(group)) = (fields.next(), fields.next()) else { continue };
        if controllers.is_empty() {
            files.extend(MOUNTS.iter().flat_map(|mount| of_ancestors(mount, group, &["memory.max", "memory.high"])));
        } else if controllers.split(',').any(|controller| controller == "memory") {
            files.extend(of_ancestors(MOUNT_1, group, &["memory.limit_in_bytes"]));
        }
    }
    files.iter().filter_map(|file| read(file)?.trim().parse().ok()).collect()
}

/// A file of a group and of every group above it up to the mount, which is the group itself inside a container.
fn of_ancestors(mount: &str, group: &str, names: &[&str]) -> Vec<PathBuf> {
    let group = Path::new(mount).join(group.trim_start_matches('/'));
    let groups = group.ancestors().take_while(|group| group.starts_with(mount));
    groups.flat_map(|group| names.iter().map(|name| group.join(name))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limits(groups: &str, files: &[(&str, &str)]) -> Vec<u64> {
        let mut found = limits_of(groups, |path| {
            files.iter().find(|(name, _)| Path::new(name) == path).map(|(_, text)| (*text).to_owned())
        });
        found.sort_unstable();
        found
    }

    #[test]
    fn every_group_above_counts_and_no_limit_is_none() {
        let second = "0::/system.slice/aftercast.service\n";
        let files = [
            ("/sys/fs/cgroup/system.slice/aftercast.service/memory.max", "max\n"),
            ("/sys/fs/cgroup/system.slice/aftercast.service/memory.high", "300\n"),
            ("/sys/fs/cgroup/system.slice/memory.max", "200\n"),
            ("/sys/fs/memory.max", "1\n"),
        ];
        assert_eq!(limits(second, &files), [200, 300]);
        let first = "12:cpu,cpuacct:/a\n4:memory:/a/b\n0::/\n";
        let files = [
            ("/sys/fs/cgroup/memory/a/b/memory.limit_in_bytes", "500\n"),
            ("/sys/fs/cgroup/memory/memory.limit_in_bytes", "9223372036854771712\n"),
            ("/sys/fs/cgroup/unified/memory.max", "7\n"),
        ];
        assert_eq!(limits(first, &files), [7, 500, 9_223_372_036_854_771_712]);
        assert!(limits("nonsense\n0:\n1:memory\n", &files).is_empty());
    }

    #[test]
    fn a_share_is_never_more_than_the_most() {
        assert!(limit_bytes() > 0 && share(1, u64::MAX) == limit_bytes());
        assert_eq!(share(1, 7), 7);
        assert_eq!(share(u64::MAX, 7), u64::from(limit_bytes() == u64::MAX));
    }
}
