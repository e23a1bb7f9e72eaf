//! In steady state the native engine judges frames without allocating. Alone in its program, because
//! it counts what all threads allocate.

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicU64, Ordering};

use device::engine::InputShape;
use device::preprocessing::Preparer;
use device::session::{EngineKind, Options, Session};
use host::data::{DatasetName, Split};
use shared::image::{FrameView, PixelFormat, Preprocessing};
use shared::stopping::Delta;

/// Counts allocations.
struct Counting;

static ALLOCATIONS: AtomicU64 = AtomicU64::new(0);

// SAFETY: everything is handed on to the system's allocator; counting does not allocate.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        // SAFETY: the caller's promises are the same.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the caller's promises are the same.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn count() -> u64 {
    ALLOCATIONS.load(Ordering::Relaxed)
}

/// Of pictures in colour that are resampled with antialiasing, too.
fn preparing_allocates_nothing_after_the_first() {
    let pixels: Vec<u8> = (0..3 * 640 * 480).map(|at| (at % 251) as u8).collect();
    let picture = FrameView::new(PixelFormat::Rgb8, 640, 480, 3 * 640, &pixels).expect("whole");
    let shape = InputShape {
        channels: 3,
        height: 224,
        width: 224,
    };
    let mut preparer = Preparer::new(Preprocessing::IMAGENET, shape);
    preparer.prepare(&picture).expect("prepared");
    let before = count();
    for _ in 0..3 {
        preparer.prepare(&picture).expect("prepared");
    }
    assert_eq!(count() - before, 0);
}

#[test]
fn a_frame_allocates_nothing() {
    let model = tests::model::trained();
    let data = DatasetName::Mnist
        .load(Split::Test)
        .expect("MNIST is installed");
    for adaptive in [None, Some(Delta::DEFAULT)] {
        for threads in [1, 2] {
            let options = Options {
                engine: Some(EngineKind::Native),
                adaptive,
                threads,
                ..Options::default()
            };
            let mut session = Session::open(&model, &options).expect("it fits");
            let mut judge = |index: usize| {
                let picture = data.frame(index, PixelFormat::Grey8).expect("in memory");
                let picture = picture.view().expect("a picture");
                let before = count();
                let outcome = session.inference.judge(index as u32, &picture);
                let allocated = count() - before;
                assert!(outcome.is_ok());
                allocated
            };
            let first = judge(0);
            let later: u64 = (1..200).map(&mut judge).sum();
            assert_eq!(later, 0, "{first} for the first frame, {threads} threads");
        }
    }
    preparing_allocates_nothing_after_the_first();
    // The counter counts.
    let before = count();
    drop(std::hint::black_box(vec![0_u8; 100]));
    assert!(count() > before);
}
