//! The key of a finished object, and the id by which it is known again. Pure.
//!
//! No object is ever replaced: a finished recording that would have its original's own key gets the next number.

use std::path::Path;

use crate::deliver::PinnedObject;
use crate::discover::NameRules;
use crate::recording::Container;

/// Numbered keys that are tried.
pub const NUMBERS_MAX: u32 = 100;

/// The key of what is made of an object, without a number.
pub fn finished_key(rules: &NameRules, key: &str, container: Container) -> String {
    let stem = rules.family(Path::new(key)).to_string_lossy().into_owned();
    format!("{stem}.{}", container.extension())
}

/// The key of an object that is complete, without its temporary suffix.
pub fn complete_key(rules: &NameRules, key: &str, container: Container) -> String {
    let (base, _) = rules.strip_temporary(key);
    let has_extension = Container::from_name(Path::new(base)).is_some();
    if has_extension { base.to_owned() } else { format!("{base}.{}", container.extension()) }
}

/// The `n`-th key: `x.mp4`, `x_1.mp4`, …
pub fn numbered(key: &str, n: u32) -> String {
    if n == 0 {
        return key.to_owned();
    }
    let name_at = key.rfind('/').map_or(0, |slash| slash + 1);
    match key[name_at..].rfind('.').filter(|dot| *dot > 0) {
        Some(dot) => format!("{}_{n}{}", &key[..name_at + dot], &key[name_at + dot..]),
        None => format!("{key}_{n}"),
    }
}

/// An id of what is made of one state of an object: the finished object carries it, so that the next run knows it.
pub fn id_of(url: &str, object: &PinnedObject) -> String {
    let modified = object.modified_ms.to_string();
    let state = object.etag.as_deref().unwrap_or(&modified);
    let digest = blake3::hash(format!("{url}\n{}\n{}\n{state}", object.key, object.size_bytes).as_bytes());
    format!("made{}", &digest.to_hex()[..28])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_lose_what_marks_them_as_temporary_and_get_the_container() {
        let rules = NameRules::default();
        for (key, finished, complete) in [
            ("a/x.mp4", "a/x.mp4", "a/x.mp4"),
            ("a/x.mp4.tmp", "a/x.mp4", "a/x.mp4"),
            ("a.b/x.flv.tmp_extension", "a.b/x.mp4", "a.b/x.flv"),
            ("x.ts", "x.mp4", "x.ts"),
            ("a/x.m4v.tmp", "a/x.mp4", "a/x.m4v"),
        ] {
            assert_eq!(finished_key(&rules, key, Container::Mp4), finished);
            assert_eq!(complete_key(&rules, key, Container::Mp4), complete);
        }
    }

    #[test]
    fn numbers_go_before_the_extension() {
        assert_eq!(numbered("a.b/x.y.mp4", 0), "a.b/x.y.mp4");
        assert_eq!(numbered("a.b/x.y.mp4", 2), "a.b/x.y_2.mp4");
        assert_eq!(numbered("a.b/x", 1), "a.b/x_1");
    }

    #[test]
    fn another_state_of_an_object_has_another_id() {
        let object = |etag: Option<&str>, modified_ms| PinnedObject {
            target: "t".into(),
            key: "k".into(),
            size_bytes: 1,
            etag: etag.map(Into::into),
            modified_ms,
        };
        let id = |object| id_of("s3://b", &object);
        assert_eq!(id(object(Some("a"), 1)), id(object(Some("a"), 2)), "the entity tag tells");
        assert_ne!(id(object(Some("a"), 1)), id(object(Some("b"), 1)));
        assert_ne!(id(object(None, 1)), id(object(None, 2)));
        assert!(id(object(None, 1)).bytes().all(|b| b.is_ascii_alphanumeric()));
    }
}
