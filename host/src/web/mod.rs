//! `host monitor --web`: a page, served by the program itself, that shows a device live.
//!
//! [`Board`] holds what is known, [`serve`] tells it to browsers. The page (`page.html`, `style.css`
//! and the scripts) is in the program and loads nothing from elsewhere.

mod address;
mod board;
mod server;

pub use address::{Address, AddressError};
pub use board::Board;
pub use server::{WebError, serve, url};
