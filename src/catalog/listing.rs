//! What a listing gives back: a page, what on it could not be read, and where the next one begins.

use std::fmt;
use std::ops::Bound;
use std::str::FromStr;

use super::error::{CatalogError, Result};
use super::index::NotAKey;

/// A place in a listing; its text form may be handed to users.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cursor(pub(super) Vec<u8>);

impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(&self.0))
    }
}

impl FromStr for Cursor {
    type Err = NotAKey;

    fn from_str(text: &str) -> std::result::Result<Self, Self::Err> {
        hex::decode(text).ok().filter(|key| !key.is_empty()).map(Self).ok_or(NotAKey)
    }
}

/// What was listed, and what could not be read on the way: one bad value does not hide the rest.
#[derive(Debug)]
pub struct Listing<T> {
    /// What was read, in order.
    pub items: Vec<T>,
    /// The values that could not be read, each with its key.
    pub unreadable: Vec<CatalogError>,
    /// Where the next page begins, if there is more.
    pub next: Option<Cursor>,
}

impl<T> Default for Listing<T> {
    fn default() -> Self {
        Self { items: Vec::new(), unreadable: Vec::new(), next: None }
    }
}

impl Cursor {
    /// Where the rows behind a cursor begin.
    pub(super) fn bound(after: Option<&Self>) -> Bound<Vec<u8>> {
        after.map_or(Bound::Unbounded, |Self(key)| Bound::Excluded(key.clone()))
    }
}

/// Lists rows until a page is full; what is read as `None` is left out.
pub(super) fn page<T, K: AsRef<[u8]>, V>(
    rows: impl Iterator<Item = Result<(K, V)>>,
    limit: usize,
    read: impl Fn(&[u8], &V) -> Result<Option<T>>,
) -> Result<Listing<T>> {
    let mut page = Listing::default();
    let mut last: Option<K> = None;
    for row in rows {
        let (key, value) = row?;
        if page.items.len() + page.unreadable.len() >= limit {
            page.next = last.map(|key| Cursor(key.as_ref().to_vec()));
            break;
        }
        page.add(read(key.as_ref(), &value));
        last = Some(key);
    }
    Ok(page)
}

impl<T> Listing<T> {
    pub(super) fn add(&mut self, item: Result<Option<T>>) {
        match item {
            Ok(item) => self.items.extend(item),
            Err(unreadable) => self.unreadable.push(unreadable),
        }
    }
}
