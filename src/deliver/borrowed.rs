//! A bucket that recordings lie in and that is no target: opened with the settings of a target in the same bucket, else with what
//! the environment says. Pure.

use super::TargetOptions;
use super::error::{DeliverError, Result};
use super::location::TargetLocation;
use super::options::DeliverOptions;

/// The settings with which the objects below a URL are read and written. They are named by the URL.
///
/// A place that overlaps with a target is refused: what lies there are proven copies of recordings.
pub fn bucket_options(url: &str, configured: &DeliverOptions) -> Result<DeliverOptions> {
    let name = url.trim_end_matches('/');
    let own = TargetOptions::new(name, url);
    let TargetLocation::Bucket { provider, bucket, prefix } = TargetLocation::parse(&own)? else {
        let advice =
            "Write s3://bucket/prefix, az://container/prefix or gs://bucket/prefix; for a directory, write its path.";
        return Err(DeliverError::configuration(name, "it is a directory, not a bucket", advice));
    };
    let mut settings = None;
    for target in &configured.targets {
        let Ok(TargetLocation::Bucket { provider: theirs, bucket: other, prefix: kept }) =
            TargetLocation::parse(target)
        else {
            continue;
        };
        if (theirs, &other) != (provider, &bucket) {
            continue;
        }
        if is_below(&prefix, &kept) || is_below(&kept, &prefix) {
            let problem = format!("it overlaps with the target `{}` ({})", target.name, target.url);
            let advice = "Nothing was read or changed: the objects of a target are proven copies of recordings, and are not \
                processed. Use another prefix; `aftercast vod verify` checks the copies.";
            return Err(DeliverError::configuration(name, problem, advice));
        }
        settings.get_or_insert(target);
    }
    let target = match settings {
        // Where finished recordings of other streams go says nothing about those that lie here.
        Some(target) => TargetOptions { name: own.name, url: own.url, key: own.key, required: true, ..target.clone() },
        None => own,
    };
    Ok(DeliverOptions { targets: vec![target], ..configured.clone() })
}

/// Whether a prefix is another one or lies below it.
fn is_below(prefix: &str, other: &str) -> bool {
    other.is_empty() || prefix == other || prefix.strip_prefix(other).is_some_and(|rest| rest.starts_with('/'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn configured(url: &str) -> DeliverOptions {
        let target = TargetOptions { endpoint: Some("http://localhost:1".into()), ..TargetOptions::new("cloud", url) };
        DeliverOptions { targets: vec![target], ..DeliverOptions::default() }
    }

    #[test]
    fn a_bucket_is_opened_as_the_target_in_it_and_another_one_as_the_environment_says() {
        let opened = bucket_options("s3://b/old/", &configured("s3://b/new")).unwrap().targets;
        assert_eq!(
            (opened[0].name.as_str(), opened[0].endpoint.as_deref()),
            ("s3://b/old", Some("http://localhost:1"))
        );
        let opened = bucket_options("s3://c/old", &configured("s3://b/new")).unwrap().targets;
        assert_eq!(opened[0].endpoint, None);
    }

    #[test]
    fn what_overlaps_with_a_target_is_refused_and_what_is_named_alike_is_not() {
        for (url, target) in
            [("s3://b/p", "s3://b/p"), ("s3://b", "s3://b/p"), ("s3://b/p/q", "s3://b/p"), ("s3://b/p", "s3://b")]
        {
            let error = bucket_options(url, &configured(target)).unwrap_err();
            assert!(error.to_string().contains("overlaps") && error.is_configuration(), "{error}");
        }
        assert!(bucket_options("s3://b/pre", &configured("s3://b/p")).is_ok());
        assert!(bucket_options("gs://b/p", &configured("s3://b/p")).is_ok());
        assert!(bucket_options("file:///x", &configured("s3://b/p")).unwrap_err().is_configuration());
    }
}
