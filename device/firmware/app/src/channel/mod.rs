//! Both directions of the line, in this build's format: for anybody, or for who has its key.

#[cfg(not(feature = "sealed"))]
mod open;
#[cfg(feature = "sealed")]
mod sealed;

#[cfg(not(feature = "sealed"))]
pub(crate) use open::Channel;
#[cfg(not(feature = "sealed"))]
pub use open::last_words;
#[cfg(feature = "sealed")]
pub(crate) use sealed::Channel;
#[cfg(feature = "sealed")]
pub use sealed::last_words;
