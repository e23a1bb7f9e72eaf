//! What Monte-Carlo dropout means, made visible and measured.
//!
//! Each study is a function that returns its figures, which serialise to JSON and print as a table.

pub mod causes;
