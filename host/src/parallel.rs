//! Many like items worked on by several threads, in blocks.

use std::ops::Range;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc;

/// Works on items `0..count` in blocks of at most `block`, with one thread for each of `starts`,
/// and returns what each item gave, in their order; `None` if `stop` was set before the end.
///
/// A start runs on its thread, and what it returns works there on one block after the other,
/// whichever is next: a worker may hold what cannot pass from thread to thread. `advance` hears how
/// many more items are done.
///
/// # Errors
/// The first failure of a start or a worker; the other threads end after their block.
///
/// # Panics
/// If `block` is 0, or a worker panics.
pub(crate) fn in_blocks<T, S, W>(
    count: usize,
    block: usize,
    starts: impl IntoIterator<Item = S>,
    stop: &AtomicBool,
    advance: &dyn Fn(u64),
) -> anyhow::Result<Option<Vec<T>>>
where
    T: Send,
    S: FnOnce() -> anyhow::Result<W> + Send,
    W: FnMut(Range<usize>) -> anyhow::Result<Vec<T>>,
{
    assert!(block > 0, "a block holds at least one item");
    let next = AtomicUsize::new(0);
    let (send, results) = mpsc::channel();
    let mut done: Vec<Option<T>> = std::iter::repeat_with(|| None).take(count).collect();
    std::thread::scope(|scope| -> anyhow::Result<()> {
        for start in starts {
            let (send, next) = (send.clone(), &next);
            scope.spawn(move || {
                // Nobody listens any more once another thread has failed.
                let tell = |result| send.send(result).is_ok();
                let mut work = match start() {
                    Ok(work) => work,
                    Err(error) => {
                        tell(Err(error));
                        return;
                    }
                };
                loop {
                    let first = next.fetch_add(block, Ordering::Relaxed);
                    if first >= count || stop.load(Ordering::Relaxed) {
                        return;
                    }
                    let result = work(first..count.min(first + block));
                    if !tell(result.map(|items| (first, items))) {
                        return;
                    }
                }
            });
        }
        drop(send);
        for result in results {
            let (first, items) = result.inspect_err(|_| next.store(count, Ordering::Relaxed))?;
            advance(items.len() as u64);
            for (slot, item) in done[first..].iter_mut().zip(items) {
                *slot = Some(item);
            }
        }
        Ok(())
    })?;
    Ok(done.into_iter().collect())
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use anyhow::{bail, ensure};

    use super::*;

    /// Squares numbers, but for one.
    fn worker(bad: Option<usize>) -> impl FnMut(Range<usize>) -> anyhow::Result<Vec<usize>> {
        let square = move |item| match bad {
            Some(bad) if bad == item => bail!("item {item} is bad"),
            _ => Ok(item * item),
        };
        move |range| range.map(square).collect()
    }

    #[test]
    fn every_item_is_done_once_and_in_its_place() {
        for (count, block, threads) in [(0, 4, 2), (1, 4, 3), (10, 3, 1), (1000, 7, 4)] {
            let advanced = Cell::new(0);
            let advance = |more| advanced.set(advanced.get() + more);
            let starts = vec![|| Ok(worker(None)); threads];
            let done = in_blocks(count, block, starts, &AtomicBool::new(false), &advance);
            let expected: Vec<usize> = (0..count).map(|item| item * item).collect();
            assert_eq!(done.expect("no failure"), Some(expected));
            assert_eq!(advanced.get(), count as u64);
        }
    }

    #[test]
    fn a_failure_ends_all_and_a_stop_leaves_nothing() {
        let (go, stop) = (AtomicBool::new(false), AtomicBool::new(true));
        let starts = vec![|| Ok(worker(Some(30))); 2];
        let error = in_blocks(10_000, 4, starts, &go, &|_| ()).expect_err("a failure");
        assert_eq!(error.to_string(), "item 30 is bad");

        let starts = [0, 1].map(|thread| {
            move || {
                ensure!(thread == 0, "no engine for thread {thread}");
                Ok(worker(None))
            }
        });
        let error = in_blocks(10, 4, starts, &go, &|_| ()).expect_err("a failure");
        assert_eq!(error.to_string(), "no engine for thread 1");

        let starts = vec![|| Ok(worker(None)); 2];
        let done = in_blocks(10, 4, starts, &stop, &|_| ());
        assert_eq!(done.expect("no failure"), None);
    }
}
