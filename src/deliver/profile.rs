//! The profile of a machine where somebody ran `aws configure`: `~/.aws/credentials` and `~/.aws/config`, which
//! `object_store` does not read. Pure but for reading the two files.
//!
//! Only fixed keys and a region are taken; a profile that assumes a role or signs on by a browser is left to the tools that
//! make credentials of it.

use std::path::PathBuf;

use super::credentials::Environment;

/// What a profile says.
#[derive(Default)]
pub(super) struct AwsProfile {
    pub access_key_id: Option<String>,
    pub secret_access_key: Option<String>,
    pub session_token: Option<String>,
    pub region: Option<String>,
}

impl AwsProfile {
    /// Reads the profile that `AWS_PROFILE` names, else `default`.
    pub fn of(environment: &Environment) -> Self {
        let name = environment.first(&["AWS_PROFILE", "AWS_DEFAULT_PROFILE"]).unwrap_or("default");
        let file = |variable: &str, below_home: &str| {
            let home = || environment.get("HOME").map(|home| PathBuf::from(home).join(below_home));
            let path = environment.get(variable).map(PathBuf::from).or_else(home)?;
            std::fs::read_to_string(path).ok()
        };
        let credentials = file("AWS_SHARED_CREDENTIALS_FILE", ".aws/credentials").unwrap_or_default();
        let config = file("AWS_CONFIG_FILE", ".aws/config").unwrap_or_default();
        Self::read(name, &credentials, &config)
    }

    fn read(name: &str, credentials: &str, config: &str) -> Self {
        let in_config = if name == "default" { name.to_owned() } else { format!("profile {name}") };
        let value = |key| value_in(credentials, name, key).or_else(|| value_in(config, &in_config, key));
        Self {
            access_key_id: value("aws_access_key_id"),
            secret_access_key: value("aws_secret_access_key"),
            session_token: value("aws_session_token"),
            region: value("region"),
        }
    }
}

/// A value of a section. A name without a value opens a block of settings of one service (`s3 =`), whose indented lines are
/// not the profile's.
fn value_in(text: &str, section: &str, key: &str) -> Option<String> {
    let (mut is_inside, mut is_nested) = (false, false);
    for line in text.lines() {
        is_nested &= line.starts_with([' ', '\t']);
        if let Some(title) = line.trim().strip_prefix('[').and_then(|l| l.strip_suffix(']')) {
            is_inside = title.trim() == section;
        } else if let Some((name, value)) = line.split_once('=').map(|(name, value)| (name.trim(), value.trim()))
            && is_inside
            && !is_nested
        {
            if name == key {
                return Some(value.to_owned()).filter(|v| !v.is_empty());
            }
            is_nested = value.is_empty();
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_profile_has_its_keys_in_one_file_and_its_region_in_the_other() {
        let credentials = "[default]\naws_access_key_id = a\naws_secret_access_key=b\n\n# x\n[studio]\naws_access_key_id=c\n\
                           aws_secret_access_key = d=\naws_session_token = e\n";
        let config = "[default]\nregion = eu-west-1\n[profile studio]\nregion=eu-central-1\n";
        let default = AwsProfile::read("default", credentials, config);
        assert_eq!((default.access_key_id.as_deref(), default.session_token), (Some("a"), None));
        assert_eq!(default.region.as_deref(), Some("eu-west-1"));
        let studio = AwsProfile::read("studio", credentials, config);
        assert_eq!((studio.secret_access_key.as_deref(), studio.session_token.as_deref()), (Some("d="), Some("e")));
        assert_eq!(studio.region.as_deref(), Some("eu-central-1"));
        assert!(AwsProfile::read("other", credentials, config).access_key_id.is_none());
    }

    #[test]
    fn settings_of_one_service_are_not_the_profiles() {
        let config = "[default]\ns3 =\n  region = us-east-1\n  addressing_style = path\nregion = eu-west-1\n";
        assert_eq!(AwsProfile::read("default", "", config).region.as_deref(), Some("eu-west-1"));
    }

    #[test]
    fn odd_lines_are_passed_over() {
        let credentials = "\u{feff}; a comment\n[default\nno value\n = x\n[default]\n\taws_access_key_id\t=\ta\n\
                           \taws_secret_access_key = /+\\#;\"=\n[]\n[default]\naws_session_token = b\n";
        let profile = AwsProfile::read("default", credentials, "");
        assert_eq!((profile.access_key_id.as_deref(), profile.session_token.as_deref()), (Some("a"), Some("b")));
        assert_eq!(profile.secret_access_key.as_deref(), Some("/+\\#;\"="));
    }
}
