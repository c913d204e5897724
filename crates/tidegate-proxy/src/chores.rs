//! What herds give a worker to do: newcomers, the handshakes of those who had to wait, the ends of sessions that have
//! lost a side.
//!
//! Thousands of them may be due at once, and whoever chats meanwhile would wait behind them all. So a worker begins but
//! a few between two looks at its sockets; the others wait in line. A client that comes straight in, and one that closes
//! with a Close, wait for nobody: steps that are done in a row are cheaper, for their peers need be woken but once.

use std::{
    cell::RefCell,
    collections::VecDeque,
    future::poll_fn,
    task::{Context, Poll, Waker},
};

use tokio::task::{spawn_local, yield_now};

/// Chores that are begun between two looks. Each takes 10 to 40 microseconds, a look less than one: with fewer they
/// would become dearer, with more a message waits longer.
const AT_ONCE: usize = 8;

thread_local! {
    static LINE: RefCell<Line> = const { RefCell::new(Line { begun: 0, waiting: VecDeque::new(), is_kept: false }) };
}

struct Line {
    /// Since the last look, as far as it is known.
    begun: usize,
    waiting: VecDeque<Waker>,
    /// A task lets those who wait begin.
    is_kept: bool,
}

/// One chore, on its way to its turn.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Chore {
    #[default]
    Due,
    InLine,
    Begun,
}

impl Chore {
    /// `Ready`: it is its turn, or was before.
    pub(crate) fn poll_turn(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        // One that is woken for something else goes on a little early.
        let waits = *self == Self::Due && wait(cx.waker());
        *self = if waits { Self::InLine } else { Self::Begun };
        if waits { Poll::Pending } else { Poll::Ready(()) }
    }
}

/// Returns when it is the caller's turn to do a chore.
pub(crate) async fn turn() {
    let mut chore = Chore::default();
    poll_fn(|cx| chore.poll_turn(cx)).await;
}

/// This worker has nothing to do, and looks at its sockets.
pub(crate) fn pause() {
    LINE.with_borrow_mut(|line| line.begun = 0);
}

/// Whether one more has to wait, and is in line now.
fn wait(waker: &Waker) -> bool {
    let (waits, was_kept) = LINE.with_borrow_mut(|line| {
        let waits = line.is_kept || line.begun >= AT_ONCE;
        if waits {
            line.waiting.push_back(waker.clone());
        } else {
            line.begun += 1;
        }
        let was_kept = line.is_kept;
        line.is_kept |= waits;
        (waits, was_kept)
    });
    if waits && !was_kept {
        spawn_local(keep(Kept));
    }
    waits
}

/// Lets a few begin after each look, until nobody waits.
async fn keep(_kept: Kept) {
    loop {
        yield_now().await;
        let few: Vec<_> = LINE.with_borrow_mut(|line| {
            let few = line.waiting.len().min(AT_ONCE);
            line.waiting.drain(..few).collect()
        });
        if few.is_empty() {
            return;
        }
        few.into_iter().for_each(Waker::wake);
    }
}

/// The line is kept while this lives.
struct Kept;

impl Drop for Kept {
    fn drop(&mut self) {
        // With the room that a burst took.
        LINE.set(Line { begun: 0, waiting: VecDeque::new(), is_kept: false });
    }
}

#[cfg(test)]
mod tests {
    use std::{cell::Cell, rc::Rc};

    use tokio::runtime::{Builder, LocalOptions};

    use super::*;

    #[test]
    fn a_message_waits_behind_a_few_chores_and_every_chore_is_done() {
        let runtime = Builder::new_current_thread().on_thread_park(pause).build_local(LocalOptions::default()).unwrap();
        runtime.block_on(async {
            let (done, looks) = (Rc::new(Cell::new(0)), Cell::new(0));
            for _ in 0..10 * AT_ONCE {
                let done = done.clone();
                spawn_local(async move {
                    turn().await;
                    done.set(done.get() + 1);
                });
            }
            while done.get() < 10 * AT_ONCE {
                let before = done.get();
                yield_now().await;
                assert!(done.get() - before <= AT_ONCE);
                looks.set(looks.get() + 1);
                assert!(looks.get() < 100, "{} are done", done.get());
            }
            // One that comes alone does not wait.
            yield_now().await;
            yield_now().await;
            assert!(!LINE.with_borrow(|line| line.is_kept));
            assert_eq!(Chore::default().poll_turn(&mut Context::from_waker(Waker::noop())), Poll::Ready(()));
        });
    }

    #[test]
    fn one_that_left_the_line_holds_up_nobody() {
        let runtime = Builder::new_current_thread().build_local(LocalOptions::default()).unwrap();
        runtime.block_on(async {
            let tasks: Vec<_> = (0..5 * AT_ONCE).map(|_| spawn_local(turn())).collect();
            yield_now().await;
            let (leaving, staying) = tasks.split_at(4 * AT_ONCE);
            leaving.iter().for_each(tokio::task::JoinHandle::abort);
            for _ in 0..10 {
                yield_now().await;
            }
            assert!(staying.iter().all(tokio::task::JoinHandle::is_finished));
        });
    }
}
