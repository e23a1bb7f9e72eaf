//! Reading what a device sends: from a serial port, a recording or a pipe, to rows or JSON.

mod agreement;
mod exchange;
mod input;
mod notice;
mod output;
mod summary;

pub use agreement::{Agreement, Largest};
pub use exchange::Exchange;
pub use input::{Input, InputError};
pub use notice::{NoticeRecord, explain};
pub use output::{Record, Table};
pub use summary::{Manifest, ManifestError, Summary, Tested, Truth};
