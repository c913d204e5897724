//! Random numbers that nobody can guess: for masks, ids and jitter.

use std::cell::RefCell;

/// Numbers that one system call brings: a handshake needs three.
const AT_ONCE: usize = 64;

thread_local! {
    static WAITING: RefCell<Vec<u32>> = const { RefCell::new(Vec::new()) };
}

/// The next one, straight from the kernel.
pub(crate) fn random() -> u32 {
    WAITING.with_borrow_mut(|waiting| {
        if let Some(number) = waiting.pop() {
            return number;
        }
        let mut bytes = [0; AT_ONCE * 4];
        getrandom::fill(&mut bytes).expect("the kernel has random numbers");
        waiting.extend(bytes.as_chunks().0.iter().map(|chunk| u32::from_ne_bytes(*chunk)));
        waiting.pop().unwrap_or_default()
    })
}
