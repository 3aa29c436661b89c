//! Integration tests, one binary: linking FFmpeg once is enough.
