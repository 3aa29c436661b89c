//! For tests: a disk that has room for so many more writes of this thread.

use std::cell::Cell;
use std::path::Path;

use super::error::CatalogError;

thread_local! {
    static WRITES_LEFT: Cell<Option<u32>> = const { Cell::new(None) };
    static IS_SHORT: Cell<bool> = const { Cell::new(false) };
}

/// Whether a write was refused since [`leave`].
pub(crate) fn is_short() -> bool {
    IS_SHORT.get()
}

/// From now on; `None` is a disk as it is.
pub(crate) fn leave(writes: Option<u32>) {
    WRITES_LEFT.set(writes);
    IS_SHORT.set(false);
}

pub(super) fn take(path: &Path) -> Result<(), CatalogError> {
    match WRITES_LEFT.get() {
        Some(0) => {
            IS_SHORT.set(true);
            Err(CatalogError::NoRoom { path: path.to_owned(), free_bytes: 0 })
        }
        Some(left) => {
            WRITES_LEFT.set(Some(left - 1));
            Ok(())
        }
        None => Ok(()),
    }
}
