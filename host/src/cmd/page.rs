//! The page that a monitor serves while it works.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::monitor::Watched;
use crate::web::{Address, Board, WebError, serve, url};

/// Where the page is served.
#[derive(Debug, clap::Args)]
pub(super) struct Page {
    /// Serve a page that shows the device live, at http://127.0.0.1:8080 unless told otherwise; 0 as
    /// port takes a free one. The log says where. There is no authentication: an address other than
    /// that of loopback shows the page to whoever reaches this machine.
    #[arg(long, value_name = "ADDR", num_args = 0..=1, default_missing_value = "127.0.0.1:8080")]
    web: Option<Address>,
}

impl Page {
    /// Begins to serve what `watched` holds of the messages from `source`, if that was asked for.
    pub(super) fn serve(&self, watched: &Watched, source: &Path) -> Result<(), WebError> {
        let Some(Address(address)) = self.web else {
            return Ok(());
        };
        let source = if source == Path::new("-") {
            "standard input".into()
        } else {
            source.display().to_string()
        };
        let address = serve(address, Board::new(watched.clone(), source))?;
        if !address.ip().is_loopback() {
            tracing::warn!(
                "the page at {address} has no authentication: whoever reaches this machine there can see it"
            );
        }
        tracing::info!("the page is at {}", url(address));
        Ok(())
    }

    /// After the end of the stream: goes on serving, if there is a page, until `stop` is set.
    pub(super) fn stay(&self, stop: &AtomicBool) {
        if self.web.is_some() && !stop.load(Ordering::Relaxed) {
            tracing::info!("the stream ended; its page stays until Ctrl-C");
            while !stop.load(Ordering::Relaxed) {
                std::thread::sleep(Duration::from_millis(100));
            }
        }
    }
}
