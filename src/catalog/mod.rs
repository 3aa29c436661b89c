//! The VoD index.
