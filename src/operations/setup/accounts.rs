//! Users and groups of this machine by `/etc/passwd` and `/etc/group`. Those of a directory service are known by number only.

use std::fs;

/// Users and groups.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Accounts {
    users: Vec<(String, u32)>,
    groups: Vec<(String, u32, Vec<String>)>,
}

impl Accounts {
    /// Those of this machine.
    pub fn here() -> Self {
        let text = |path: &str| fs::read_to_string(path).unwrap_or_default();
        Self::read(&text("/etc/passwd"), &text("/etc/group"))
    }

    fn read(passwd: &str, group: &str) -> Self {
        let user = |line: &str| {
            let mut fields = line.split(':');
            Some((fields.next()?.to_owned(), fields.nth(1)?.parse().ok()?))
        };
        let group_of = |line: &str| {
            let mut fields = line.split(':');
            let (name, number) = (fields.next()?.to_owned(), fields.nth(1)?.parse().ok()?);
            let members = fields.next().unwrap_or_default().split(',').filter(|name| !name.is_empty());
            Some((name, number, members.map(str::to_owned).collect()))
        };
        Self { users: passwd.lines().filter_map(user).collect(), groups: group.lines().filter_map(group_of).collect() }
    }

    /// The number of a user.
    pub fn user(&self, name: &str) -> Option<u32> {
        self.users.iter().find(|(known, _)| known == name).map(|(_, number)| *number)
    }

    /// The number of a group.
    pub fn group(&self, name: &str) -> Option<u32> {
        self.groups.iter().find(|(known, ..)| known == name).map(|(_, number, _)| *number)
    }

    /// The name of a group, else its number.
    pub fn group_name(&self, number: u32) -> String {
        let known = self.groups.iter().find(|(_, known, _)| *known == number);
        known.map_or_else(|| number.to_string(), |(name, ..)| name.clone())
    }

    /// Whether a user is listed as a member of a group.
    pub fn is_member(&self, user: &str, group: &str) -> bool {
        self.groups.iter().any(|(name, _, members)| name == group && members.iter().any(|member| member == user))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_numbers_are_read_and_odd_lines_left_out() {
        let accounts = Accounts::read(
            "root:x:0:0:root:/root:/bin/bash\naftercast:x:998:998::/:/usr/sbin/nologin\nbroken\n",
            "root:x:0:\nantmedia:x:1001:aftercast,op\nnothing:x:x:\n",
        );
        assert_eq!((accounts.user("aftercast"), accounts.user("broken")), (Some(998), None));
        assert_eq!((accounts.group("antmedia"), accounts.group("nothing")), (Some(1001), None));
        assert_eq!((accounts.group_name(1001).as_str(), accounts.group_name(7).as_str()), ("antmedia", "7"));
        assert!(accounts.is_member("aftercast", "antmedia") && !accounts.is_member("aftercast", "root"));
    }
}
