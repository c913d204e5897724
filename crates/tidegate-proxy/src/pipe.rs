//! Kernel pipes, which belong to the worker like its buffers: through one, a large frame whose payload nobody needs to
//! look at goes from socket to socket without being copied. Linux only, as splice(2) is.

use std::{
    cell::RefCell,
    os::fd::{AsFd, OwnedFd},
};

use rustix::{
    io::Errno,
    pipe::{PipeFlags, SpliceFlags, fcntl_setpipe_size, pipe_with, splice},
};

/// What one pipe is to hold, in bytes: a frame of 1 MiB from senders that fill their pages. The most that Linux gives
/// an unprivileged process (`fs.pipe-max-size`); where it gives less, the pipe stays at 64 KiB and the larger frames
/// are copied.
pub(crate) const CAPACITY: usize = 1 << 20;
/// Pipes that the sessions of one worker may hold at once, two descriptors each: what a crowd of clients that stop in
/// the middle of a large frame can pin. Where there is none left, frames are copied.
const MOST: usize = 64;
/// Empty pipes that a worker keeps for the next frame.
const KEPT: usize = 16;

thread_local! {
    static POOL: RefCell<Pool> = const { RefCell::new(Pool { empty: Vec::new(), least: 0, in_use: 0 }) };
}

struct Pool {
    empty: Vec<Ends>,
    /// The fewest empty ones since the last [`rest`].
    least: usize,
    in_use: usize,
}

/// Closes those that nobody has needed since the last call, as [`buffer::rest`](crate::buffer::rest) does.
pub(crate) fn rest() {
    POOL.with_borrow_mut(|pool| {
        pool.empty.drain(..pool.least);
        pool.least = pool.empty.len();
    });
}

#[derive(Debug)]
struct Ends {
    out: OwnedFd,
    into: OwnedFd,
}

/// A pipe on loan from the worker.
#[derive(Debug)]
pub(crate) struct Pipe {
    /// Always `Some`, until it is dropped.
    ends: Option<Ends>,
    held: u32,
}

impl Pipe {
    /// An empty one. `None`: too many are in use, or the system has none.
    pub(crate) fn take() -> Option<Self> {
        let kept = POOL.with_borrow_mut(|pool| {
            if pool.in_use == MOST {
                return None;
            }
            pool.in_use += 1;
            let kept = pool.empty.pop();
            pool.least = pool.least.min(pool.empty.len());
            Some(kept)
        })?;
        // From here on dropping it counts it out.
        let mut pipe = Self { ends: kept, held: 0 };
        if pipe.ends.is_none() {
            let (out, into) = pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK).ok()?;
            let _ = fcntl_setpipe_size(&into, CAPACITY);
            pipe.ends = Some(Ends { out, into });
        }
        Some(pipe)
    }

    /// Bytes in it.
    pub(crate) fn held(&self) -> usize {
        self.held as usize
    }

    /// Moves up to `most` bytes from a socket into it. 0: the socket's end.
    ///
    /// # Errors
    /// `AGAIN`: the socket has nothing, or the pipe no room. Others are the socket's.
    pub(crate) fn fill(&mut self, from: impl AsFd, most: usize) -> Result<usize, Errno> {
        let Some(Ends { into, .. }) = &self.ends else { return Err(Errno::BADF) };
        let len = splice(from, None, into, None, most, SpliceFlags::NONBLOCK | SpliceFlags::MOVE)?;
        self.held += len as u32;
        Ok(len)
    }

    /// Moves what it holds to a socket, as far as that takes it.
    ///
    /// # Errors
    /// Those of the socket; `AGAIN` when it is full.
    pub(crate) fn drain(&mut self, to: impl AsFd) -> Result<usize, Errno> {
        let Some(Ends { out, .. }) = &self.ends else { return Err(Errno::BADF) };
        let len = splice(out, None, to, None, self.held(), SpliceFlags::NONBLOCK | SpliceFlags::MOVE)?;
        self.held -= len as u32;
        Ok(len)
    }

    /// Copies what it holds to the front of `space`, which must have room for it. How much that was.
    ///
    /// # Errors
    /// The system's; none is expected.
    pub(crate) fn read(&mut self, space: &mut [u8]) -> Result<usize, Errno> {
        let Some(Ends { out, .. }) = &self.ends else { return Err(Errno::BADF) };
        let len = self.held();
        let mut at = 0;
        while at < len {
            match rustix::io::read(out, &mut space[at..len])? {
                0 => return Err(Errno::PIPE),
                part => at += part,
            }
        }
        self.held = 0;
        Ok(len)
    }
}

impl Drop for Pipe {
    fn drop(&mut self) {
        // At the end of a thread there is no pool to give back to.
        let _ = POOL.try_with(|pool| {
            let mut pool = pool.borrow_mut();
            pool.in_use -= 1;
            // One with bytes in it is closed: that is the way to forget them.
            if let Some(ends) = self.ends.take()
                && self.held == 0
                && pool.empty.len() < KEPT
            {
                pool.empty.push(ends);
            }
        });
    }
}
