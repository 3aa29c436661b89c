//! What an operator can set about freeing local files.

use std::fmt;
use std::time::Duration;

use crate::deliver;
use crate::human;

/// Settings of `[retain]`.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct RetainOptions {
    /// When a delivered and proven local file is freed. Default never.
    pub delete_local: DeleteLocal,
    /// Whether the size alone proves a copy in a store that reports no checksum. Default false: such files stay.
    pub accept_size_only: bool,
    /// Ids of streams whose local files are never freed; a `*` at the end stands for the rest of an id. Default none.
    pub protect: Vec<String>,
}

impl RetainOptions {
    /// Whether a stream's local files are never freed.
    pub fn protects(&self, stream_id: &str) -> bool {
        let is_it = |pattern: &String| match pattern.strip_suffix('*') {
            Some(begin) => stream_id.starts_with(begin),
            None => pattern == stream_id,
        };
        self.protect.iter().any(is_it)
    }
}

/// When a delivered and proven local file is freed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum DeleteLocal {
    /// Not by us.
    #[default]
    Never,
    /// As soon as every required target holds it.
    Delivered,
    /// This long after every required target held it.
    After(Duration),
    /// Oldest first, while the file system has less than this many bytes free.
    BelowFree(u64),
    /// Oldest first, while the finished recordings on disk are more than this many bytes.
    MaxBytes(u64),
}

impl fmt::Display for DeleteLocal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Never => f.write_str("never"),
            Self::Delivered => f.write_str("when delivered"),
            Self::After(time) => write!(f, "{} s after delivery", time.as_secs()),
            Self::BelowFree(bytes) => write!(f, "below {} free", human::size(*bytes)),
            Self::MaxBytes(bytes) => write!(f, "above {} of recordings", human::size(*bytes)),
        }
    }
}

/// A retention that could never be safe.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum OptionsError {
    /// Nothing would have to hold a file before it is freed.
    #[error("`delete_local` needs a target with `required = true`: without one no copy of the recordings would remain")]
    NoRequiredTarget,
    /// Nothing would be uploaded.
    #[error("`delete_local` needs `upload_extensions` with bit 1 (MP4 and WebM): finished recordings are not uploaded")]
    NothingUploaded,
}

/// Checks the settings of freeing against those of delivery.
pub fn check(options: &RetainOptions, delivery: &deliver::DeliverOptions) -> Result<(), OptionsError> {
    use crate::recording::Kind;
    if options.delete_local == DeleteLocal::Never {
        return Ok(());
    }
    if !delivery.targets.iter().any(|t| t.required) {
        return Err(OptionsError::NoRequiredTarget);
    }
    if delivery.upload_extensions.contains(Kind::Recording) { Ok(()) } else { Err(OptionsError::NothingUploaded) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::deliver::TargetOptions;
    use crate::recording::Kinds;

    #[test]
    fn freeing_needs_a_required_target_and_a_mask() {
        let freeing = RetainOptions { delete_local: DeleteLocal::Delivered, ..RetainOptions::default() };
        let mut delivery = deliver::DeliverOptions::default();
        assert_eq!(check(&RetainOptions::default(), &delivery), Ok(()));
        assert_eq!(check(&freeing, &delivery), Err(OptionsError::NoRequiredTarget));
        let mut target = TargetOptions::new("t", "file:///x");
        target.required = false;
        delivery.targets.push(target);
        assert_eq!(check(&freeing, &delivery), Err(OptionsError::NoRequiredTarget));
        delivery.targets[0].required = true;
        assert_eq!(check(&freeing, &delivery), Ok(()));
        for bits in [0, 4] {
            delivery.upload_extensions = Kinds::from_bits(bits).unwrap();
            assert_eq!(check(&freeing, &delivery), Err(OptionsError::NothingUploaded));
        }
    }
}
