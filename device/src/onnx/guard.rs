//! tract on models that nobody has tried it with.

use std::cell::Cell;
use std::panic::{self, AssertUnwindSafe};
use std::sync::Once;

use super::one_line;

thread_local! {
    static GUARDED: Cell<bool> = const { Cell::new(false) };
}

/// Runs tract on a file's graph. It trusts much of what a graph declares, so that a panic is a refusal
/// like another: `explain` makes the error of its words, and nothing goes to stderr. (For that, the
/// process's panic hook is replaced once, by one that calls it for any other panic.)
pub(crate) fn guarded<T, E>(
    run: impl FnOnce() -> Result<T, E>,
    explain: impl FnOnce(String) -> E,
) -> Result<T, E> {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let before = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            if !GUARDED.get() {
                before(info);
            }
        }));
    });
    let before = GUARDED.replace(true);
    let result = panic::catch_unwind(AssertUnwindSafe(run));
    GUARDED.set(before);
    result.unwrap_or_else(|panic| {
        let words = panic
            .downcast_ref::<String>()
            .map(String::as_str)
            .or_else(|| panic.downcast_ref::<&str>().copied());
        let words = one_line(words.unwrap_or("for a reason unknown"));
        Err(explain(format!("tract failed: {words}")))
    })
}
