//! Reading what a device sends: from a serial port, a recording or a pipe, to rows or JSON, or to
//! a state that a terminal or a page shows.

pub(crate) mod agreement;
mod delivery;
mod ear;
mod exchange;
mod flagged;
mod input;
mod live;
mod log;
mod notice;
mod output;
mod pace;
mod partner;
mod picture;
mod summary;
mod watched;

pub use agreement::{Agreement, Largest};
pub use delivery::Deliveries;
pub use ear::{Ear, Seal};
pub use exchange::Exchange;
pub(crate) use flagged::list_folder;
pub use flagged::{LIST, Said, SaidReport, Saved, Store, read_list};
pub use input::{Input, InputError};
pub use live::{
    CauseCount, ClassCount, Device, Link, Live, Percentiles, REMEMBERED, Recent, Seen, Snapshot,
    Totals, Words, sees,
};
pub use log::{Log, LogError, TicketRecord};
pub use notice::{NoticeRecord, explain};
pub(crate) use output::label;
pub use output::{Record, Table};
pub use pace::Pace;
pub use partner::{Clock, Partner};
pub use picture::{Assembler, FrameKey, Picture};
pub use summary::{Manifest, ManifestError, Summary, Tested, Truth};
pub use watched::Watched;

/// The least of the sorted values that a `share`, in 0..=1, of them do not exceed (nearest rank);
/// `None` if there are none, or the share is 0.
fn percentile<T: Copy>(sorted: &[T], share: f64) -> Option<T> {
    let rank = (share * sorted.len() as f64).ceil() as usize;
    sorted.get(rank.checked_sub(1)?).copied()
}
