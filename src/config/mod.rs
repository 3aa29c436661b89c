//! TOML and environment to checked options.
