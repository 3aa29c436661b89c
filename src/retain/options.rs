//! What an operator can set about freeing local files.

use std::time::Duration;

/// Settings of `[retain]`.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Options {
    /// When a delivered and proven local file is freed. Default never.
    pub delete_local: DeleteLocal,
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
}
