//! The harness.

pub mod fuzzing;
