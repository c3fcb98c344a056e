//! What the benches share: rounds that take turns, medians with their spread, tables.

pub mod memory;
pub mod stats;
pub mod svg;
pub mod table;
