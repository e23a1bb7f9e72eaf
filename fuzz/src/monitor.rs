//! What the host reads of a device.

use std::time::Duration;

use host::monitor::{Live, Manifest, Record, Seen, Summary, Table};
use shared::wire::link::Receiver;
use shared::wire::message::Message;

/// A recording, in either format, through all that the monitor does with it.
pub(crate) fn replay(bytes: &[u8]) {
    let mut receiver = Receiver::detect();
    let (mut live, mut summary) = (Live::default(), Summary::default());
    let manifest = Manifest::default();
    for (at, byte) in bytes.iter().enumerate() {
        let Some(Ok(mut packet)) = receiver.push(*byte) else {
            continue;
        };
        packet.message.make_printable();
        let link = receiver.counters();
        live.link(link);
        if let Some((key, picture)) = live.packet(&packet, Duration::from_millis(at as u64)) {
            assert!(picture.png().is_ok());
            let record = live.frame(key).map(Seen::record);
            let _ = serde_json::to_string(&record);
        }
        match &packet.message {
            Message::Report(report) => {
                summary.count(report, manifest.truth(report.frame));
                let row = Table::row(packet.sequence, report, live.hello());
                // Colours are the table's own.
                let strange = |symbol: char| symbol.is_control() && symbol != '\x1b';
                assert!(!row.contains(strange), "{row:?}");
                let _ = serde_json::to_string(&Record::new(packet.sequence, report, None, &link));
            }
            Message::Notice(notice) => summary.notice(notice.code),
            Message::Statistics(statistics) => summary.statistics(statistics),
            Message::Performance(performance) => summary.performance(performance),
            Message::Hello(_) | Message::Thumbnail(_) | Message::Echo(_) => {}
        }
    }
    live.end();
    let _ = serde_json::to_string(&live.snapshot(Duration::from_secs(1)));
    let _ = live.pictures_lost();
    summary.finish(&receiver.counters());
    let _ = (summary.to_string(), serde_json::to_string(&summary));
}
