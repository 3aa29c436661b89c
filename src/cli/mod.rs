//! Commands: what the operator types, and what is printed in answer.

pub mod exit;
pub mod human;
pub mod progress;
pub mod report;
pub mod table;
