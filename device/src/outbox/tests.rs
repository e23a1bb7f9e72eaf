use std::fs;

use shared::image::{FrameStatistics, PixelFormat};
use shared::triage::{Cause, Causes};
use shared::wire::link::Receiver;

use super::*;

fn report(frame: u32) -> Report {
    Report {
        frame,
        captured_us: 1,
        age_us: 2,
        latency_us: 3,
        class: 4,
        confidence: 0.5,
        predictive_entropy: 1.0,
        expected_entropy: 0.5,
        mutual_information: 0.5,
        variation_ratio: 0.25,
        standard_deviation: 0.125,
        margin: 0.25,
        passes: 100,
        causes: [Cause::Unfamiliar].into_iter().collect::<Causes>(),
        image: FrameStatistics::default(),
        ticket: None,
    }
}

fn picture(frame: u32) -> impl Iterator<Item = Thumbnail> {
    let mut offset = 0;
    std::iter::from_fn(move || {
        let part = Thumbnail::part(
            frame,
            (28, 28),
            PixelFormat::Grey8,
            &[frame as u8; 784],
            offset,
        )?;
        offset += part.pixels.len();
        Some(part)
    })
}

fn options(folder: Option<&Path>) -> Options {
    Options {
        folder: folder.map(Path::to_owned),
        limit: 1 << 20,
        sync: Duration::ZERO,
        timeout: Duration::from_millis(1),
    }
}

fn open(folder: &Path, epoch: u64) -> Outbox {
    Outbox::open(&options(Some(folder)), epoch).expect("a folder of our own")
}

fn answer(stream: Stream, epoch: u64, next: u32) -> Acknowledgement {
    Acknowledgement {
        stream,
        epoch,
        next,
        come: 0,
    }
}

/// Everything that is sent at `now_us`: frame, epoch and number of reports; -1 for parts of pictures.
fn sent(outbox: &mut Outbox, now_us: u64) -> Vec<(i64, u64, u32)> {
    std::iter::from_fn(|| outbox.send(now_us))
        .map(|message| match message {
            Message::Report(report) => {
                let ticket = report.ticket.expect("numbered");
                (i64::from(report.frame), ticket.epoch, ticket.number)
            }
            Message::Thumbnail(part) => {
                let ticket = part.ticket.expect("numbered");
                (-1, ticket.epoch, ticket.number)
            }
            other => panic!("{other:?}"),
        })
        .collect()
}

fn segments(folder: &Path) -> Vec<PathBuf> {
    let mut paths: Vec<_> = fs::read_dir(folder)
        .expect("it is there")
        .map(|entry| entry.expect("listed").path())
        .filter(|path| path.extension().is_some())
        .collect();
    paths.sort();
    paths
}

#[test]
fn reports_come_first_and_pictures_after_theirs() {
    let mut outbox = Outbox::open(&options(None), 1).expect("in memory");
    assert_eq!(outbox.guarantee(), Guarantee::Volatile);
    assert_eq!(outbox.push_report(report(7)).expect("room"), 0);
    outbox.push_picture(0, picture(7)).expect("room");
    assert_eq!(outbox.push_report(report(9)).expect("room"), 1);
    assert_eq!(sent(&mut outbox, 0), [(7, 1, 0), (9, 1, 1)]);
    outbox.acknowledge(&answer(Stream::Reports, 1, 1));
    let parts: Vec<_> = (0..4).map(|number| (-1, 1, number)).collect();
    assert_eq!(sent(&mut outbox, 0), parts);
    outbox.acknowledge(&answer(Stream::Reports, 1, 2));
    assert!(!outbox.is_empty());
    outbox.acknowledge(&answer(Stream::Pictures, 1, 4));
    assert!(outbox.is_empty());
    assert_eq!(outbox.statistics().delivered, 2);
    assert_eq!(outbox.next_due_us(), None);
}

#[test]
fn what_waits_outlasts_the_program() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let mut outbox = open(folder.path(), 1);
    for frame in 0..5 {
        outbox.push_report(report(frame)).expect("room");
    }
    outbox.push_picture(4, picture(4)).expect("room");
    assert_eq!(sent(&mut outbox, 0).len(), 5);
    outbox.acknowledge(&answer(Stream::Reports, 1, 2));
    let error = Outbox::open(&options(Some(folder.path())), 2).expect_err("it is held");
    assert!(matches!(error, OutboxError::Busy { .. }));
    // As after a kill: nothing is closed in order, but everything was written.
    drop(outbox);
    let mut outbox = open(folder.path(), 2);
    assert_eq!(
        outbox.found(),
        &Found {
            waiting: 3 + 4,
            damaged: 0
        }
    );
    outbox.push_report(report(50)).expect("room");
    assert_eq!(
        sent(&mut outbox, 0),
        [(2, 1, 2), (3, 1, 3), (4, 1, 4), (50, 2, 0)]
    );
    // The picture goes when its report is safe.
    outbox.acknowledge(&answer(Stream::Reports, 1, 5));
    assert_eq!(sent(&mut outbox, 0).len(), 4);
    outbox.acknowledge(&answer(Stream::Reports, 2, 1));
    outbox.acknowledge(&answer(Stream::Pictures, 1, 4));
    assert!(outbox.is_empty());
    drop(outbox);
    let outbox = open(folder.path(), 3);
    assert!(outbox.is_empty());
    assert_eq!(segments(folder.path()).len(), 2);
    assert_eq!(outbox.wear().syncs, 0);
}

#[test]
fn a_file_cut_anywhere_gives_what_is_whole() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let mut outbox = open(folder.path(), 1);
    let mut ends = vec![0];
    let path = segments(folder.path()).remove(1);
    for frame in 0..3 {
        outbox.push_report(report(frame)).expect("room");
        ends.push(fs::metadata(&path).expect("it is there").len() as usize);
    }
    drop(outbox);
    let whole = fs::read(&path).expect("readable");
    for length in 0..=whole.len() {
        let folder = tempfile::tempdir().expect("temporary folder");
        fs::write(
            folder.path().join("reports-00000000.wire"),
            &whole[..length],
        )
        .expect("written");
        let outbox = open(folder.path(), 2);
        let complete = ends.iter().filter(|&&end| end <= length).count() - 1;
        assert_eq!(
            outbox.found(),
            &Found {
                waiting: complete,
                damaged: 0
            },
            "{length} of {} bytes",
            whole.len()
        );
    }
    // Damage in the middle is told, and costs what it hits.
    let mut damaged = whole;
    damaged[ends[1] + 7] ^= 0x10;
    fs::write(&path, damaged).expect("written");
    let mut outbox = open(folder.path(), 2);
    assert_eq!(
        outbox.found(),
        &Found {
            waiting: 2,
            damaged: 1
        }
    );
    assert_eq!(sent(&mut outbox, 0), [(0, 1, 0), (2, 1, 2)]);
}

#[test]
fn a_picture_that_was_cut_short_is_left_out() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let mut outbox = open(folder.path(), 1);
    for frame in 0..2 {
        outbox.push_picture(0, picture(frame)).expect("room");
    }
    outbox.push_picture(0, picture(2).take(3)).expect("room");
    drop(outbox);
    let mut outbox = open(folder.path(), 2);
    assert_eq!(outbox.found().waiting, 8);
    outbox.push_picture(0, picture(3)).expect("room");
    assert_eq!(sent(&mut outbox, 0).len(), 12);
    outbox.acknowledge(&answer(Stream::Pictures, 1, 8));
    outbox.acknowledge(&answer(Stream::Pictures, 2, 4));
    assert!(outbox.is_empty());
    drop(outbox);
    assert!(open(folder.path(), 3).is_empty());
}

#[test]
fn a_full_outbox_refuses_and_counts() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let small = Options {
        limit: 1_000,
        ..options(Some(folder.path()))
    };
    let mut outbox = Outbox::open(&small, 1).expect("opened");
    let mut taken = 0;
    while outbox.push_report(report(taken)).is_ok() {
        taken += 1;
    }
    assert!((5..30).contains(&taken), "{taken}");
    assert!(matches!(
        outbox.push_report(report(99)),
        Err(OutboxError::Full { .. })
    ));
    assert!(outbox.push_picture(0, picture(0)).is_ok());
    assert!(
        outbox.push_picture(0, picture(0)).is_err(),
        "all or nothing"
    );
    assert_eq!(sent(&mut outbox, 0).len() as u32, taken);
    outbox.acknowledge(&answer(Stream::Reports, 1, 1));
    assert_eq!(outbox.push_report(report(100)).expect("room again"), taken);
}

#[test]
fn what_is_acknowledged_leaves_the_disk() {
    let folder = tempfile::tempdir().expect("temporary folder");
    // Without waiting for the disk, which takes long.
    let late = Options {
        sync: Duration::from_mins(1),
        ..options(Some(folder.path()))
    };
    let mut outbox = Outbox::open(&late, 1).expect("a folder of our own");
    let size = || -> u64 {
        segments(folder.path())
            .iter()
            .map(|path| fs::metadata(path).expect("it is there").len())
            .sum()
    };
    let mut most = 0;
    for frame in 0..5_000 {
        outbox.push_report(report(frame)).expect("room");
        let _ = sent(&mut outbox, 0);
        if frame % 10 == 9 {
            outbox.acknowledge(&answer(Stream::Reports, 1, frame + 1));
        }
        most = most.max(size());
    }
    assert!(outbox.is_empty());
    assert!(most < 3 << 16, "{most} bytes");
    assert!(outbox.wear().bytes > 5_000 * 60);
    drop(outbox);
    assert!(open(folder.path(), 2).is_empty());
}

#[test]
fn a_folder_that_cannot_be_written_is_an_error() {
    let file = tempfile::NamedTempFile::new().expect("temporary file");
    let error = Outbox::open(&options(Some(file.path())), 1).expect_err("no folder");
    assert!(
        error.to_string().starts_with("cannot keep reports in "),
        "{error}"
    );
}

#[test]
fn a_segment_is_a_recording() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let mut outbox = open(folder.path(), 1);
    outbox.push_report(report(3)).expect("room");
    let path = segments(folder.path()).remove(1);
    let mut receiver = Receiver::detect();
    let bytes = fs::read(path).expect("readable");
    let heard: Vec<_> = bytes
        .iter()
        .filter_map(|&byte| receiver.push(byte))
        .collect();
    assert!(
        matches!(&heard[..], [Ok(packet)] if matches!(&packet.message, Message::Report(report) if report.frame == 3))
    );
}
