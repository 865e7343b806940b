//! Suites: what a release is measured on, beyond one labelled file.
//!
//! A suite is a TOML file that declares measurements ([`spec`]). Each is read into rows with a known truth ([`rows`]) out of a
//! CSV file or a table that comes with the program ([`cases`]); every text of all measurements is scored once; and what
//! comes of it ([`measure`]) is shown as [`text`], as JSON, or as one page ([`html`]).

pub mod cases;
pub mod html;
pub mod measure;
pub mod rows;
pub mod spec;
pub mod split;
pub mod text;
pub mod tricks;
