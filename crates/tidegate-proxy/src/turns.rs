//! Whose turn it is on a worker: handshakes come in bursts, and those who chat are not to wait for all of one.
//!
//! A worker looks at its sockets when it has done all that the last look brought. So that this does not take long in a
//! herd, between two looks no more than a few steps of handshakes are made; the others are made behind the next.

use std::{
    cell::RefCell,
    collections::VecDeque,
    task::{Context, Waker},
};

use tokio::task::{spawn_local, yield_now};

/// Steps of handshakes between two looks at the sockets: each is some 50 microseconds, most of them the kernel's.
const STEPS: usize = 4;

thread_local! {
    static TURN: RefCell<Turn> = const { RefCell::new(Turn { left: STEPS, waiting: VecDeque::new(), ends: false }) };
}

struct Turn {
    /// Steps that may still be made.
    left: usize,
    waiting: VecDeque<Waker>,
    /// A task is there that begins the next one.
    ends: bool,
}

/// The worker has nothing to do: whoever comes next need not wait.
pub(crate) fn pause() {
    TURN.with_borrow_mut(|turn| turn.left = STEPS);
}

/// Whether a step may be made now; if not, its task is woken when it may.
pub(crate) fn take(cx: &Context<'_>) -> bool {
    TURN.with_borrow_mut(|turn| {
        if turn.left > 0 {
            turn.left -= 1;
            return true;
        }
        turn.waiting.push_back(cx.waker().clone());
        if !std::mem::replace(&mut turn.ends, true) {
            spawn_local(end());
        }
        false
    })
}

/// Lets some of those that wait make their step behind each look at the sockets, until none waits.
async fn end() {
    loop {
        // Comes back behind the next look.
        yield_now().await;
        let next: Vec<Waker> = TURN.with_borrow_mut(|turn| {
            turn.left = STEPS;
            let count = turn.waiting.len().min(STEPS);
            turn.ends = count > 0;
            turn.waiting.drain(..count).collect()
        });
        if next.is_empty() {
            return;
        }
        next.into_iter().for_each(Waker::wake);
    }
}

#[cfg(test)]
mod tests {
    use std::{cell::RefCell, rc::Rc};

    use tokio::{
        runtime::{Builder, LocalOptions},
        task::{spawn_local, yield_now},
    };

    use super::STEPS;
    use crate::task::Phase;

    #[test]
    fn few_handshakes_are_between_two_looks_and_none_is_forgotten() {
        let runtime = Builder::new_current_thread().build_local(LocalOptions::default()).expect("a runtime");
        let seen = runtime.block_on(async {
            let seen: Rc<RefCell<String>> = Rc::default();
            let burst: Vec<_> = (0..10 * STEPS)
                .map(|_| {
                    let seen = seen.clone();
                    spawn_local(Phase::handshake(async move {
                        seen.borrow_mut().push('h');
                        None
                    }))
                })
                .collect();
            while burst.iter().any(|handshake| !handshake.is_finished()) {
                yield_now().await;
                seen.borrow_mut().push('|');
                assert!(seen.borrow().len() < 1000, "{}", seen.borrow());
            }
            seen.take()
        });
        assert_eq!(seen.matches('h').count(), 10 * STEPS);
        assert!(seen.split('|').all(|look| look.len() <= STEPS), "{seen}");
    }
}
