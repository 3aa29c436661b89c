//! ISO base media.
