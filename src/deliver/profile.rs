//! The profile of a machine where somebody ran `aws configure`: `~/.aws/credentials` and `~/.aws/config`, which
//! `object_store` does not read. Pure but for reading the two files.
//!
//! Only fixed keys and a region are taken; a profile that assumes a role or signs on by a browser is left to the tools that
//! make credentials of it.

use std::path::PathBuf;

use super::credentials::Environment;

/// What a profile says.
#[derive(Default)]
pub(super) struct Profile {
    pub access_key_id: Option<String>,
    pub secret_access_key: Option<String>,
    pub session_token: Option<String>,
    pub region: Option<String>,
}

impl Profile {
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

/// A value of a section of an INI file.
fn value_in(text: &str, section: &str, key: &str) -> Option<String> {
    let mut is_inside = false;
    for line in text.lines().map(str::trim) {
        if let Some(title) = line.strip_prefix('[').and_then(|l| l.strip_suffix(']')) {
            is_inside = title.trim() == section;
        } else if let Some((name, value)) = line.split_once('=')
            && is_inside
            && name.trim() == key
        {
            return Some(value.trim().to_owned()).filter(|v| !v.is_empty());
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
        let default = Profile::read("default", credentials, config);
        assert_eq!((default.access_key_id.as_deref(), default.session_token), (Some("a"), None));
        assert_eq!(default.region.as_deref(), Some("eu-west-1"));
        let studio = Profile::read("studio", credentials, config);
        assert_eq!((studio.secret_access_key.as_deref(), studio.session_token.as_deref()), (Some("d="), Some("e")));
        assert_eq!(studio.region.as_deref(), Some("eu-central-1"));
        assert!(Profile::read("other", credentials, config).access_key_id.is_none());
    }
}
