//! One direction of a session: what was read from one leg and has not left on the other.
//!
//! Most of it lies in a buffer. A large frame whose payload nobody needs to look at is better off in a kernel pipe. To
//! know it before it is read, its header is looked at with a peek; that pays only where large frames follow each
//! other, so the frames that went through the buffer decide whether the next one is peeked at.

use std::cell::Cell;

use tidegate_wire::{Limits, MAX_HEADER, Scanner, Sender, Tally};

use crate::{
    buffer::{Buffer, Size},
    meter::Meter,
    pipe::Pipe,
};

/// A read of fewer bytes shows that this direction is no bulk, or no more, in bytes.
const FEW: usize = 4 << 10;
/// The smallest frame that goes through a kernel pipe, in bytes. Three system calls then stand against two and the
/// copies: for 16 KiB that costs 30 % while what waits is still in the cache (64 busy sessions), and halves the time
/// when it is not (1000).
const LEAST_SPLICED: usize = 12 << 10;
/// From this size on a frame is spliced in any case, in bytes: 20 % less at 128 KiB with 64 sessions.
const ALWAYS_SPLICED: usize = 64 << 10;
/// The largest that is spliced, in bytes.
const MOST_SPLICED: usize = (1 << 20) + (64 << 10);
/// What waits in a socket is taken to be out of the cache when the worker, without a pause, has moved so many bytes
/// since this direction's last large frame. A few second-level caches. In KiB.
const COLD: u32 = 8 << 10;
/// Large opaque frames in a row before the next one is looked for with a peek.
const ROW: u8 = 2;

thread_local! {
    /// What this worker has moved in large frames, in KiB, modulo 2^32; and what it had when it last had a pause.
    static MOVED: Cell<u32> = const { Cell::new(0) };
    static PAUSED: Cell<u32> = const { Cell::new(0) };
}

/// This worker has nothing to do.
pub(crate) fn pause() {
    PAUSED.set(MOVED.get());
}

pub(crate) struct Flow {
    pub(crate) scanner: Scanner,
    pub(crate) buffer: Option<Buffer>,
    /// A frame that goes through a kernel pipe. While there is one, there is no buffer.
    pub(crate) transit: Option<Transit>,
    /// What its last frames needed.
    pub(crate) size: Size,
    /// Large opaque frames in a row.
    row: u8,
    /// The last of them was of a size that is always spliced.
    huge: bool,
    /// Bytes that must come to complete a frame behind which a pipe may take the next. 0: any.
    exact: u32,
    /// What the worker had moved in all when it came, in KiB, modulo 2^32.
    moved: u32,
    pub(crate) meter: Meter,
    pub(crate) totals: Totals,
    /// Bytes that were thrown away because nothing of its sender is of interest any more.
    pub(crate) discarded: u32,
    /// Bytes of frames that the other end could not be given any more.
    pub(crate) undelivered: u32,
    /// Bytes that it held when that was last counted.
    counted: u32,
}

/// A whole frame on its way through a kernel pipe. It leaves when all of it is there, so that the leg it goes to is at
/// a frame boundary before it and behind it.
pub(crate) struct Transit {
    pub(crate) pipe: Pipe,
    head: [u8; MAX_HEADER],
    /// Bytes that have not come yet.
    missing: u32,
}

/// What went through one direction in all, as the access log has it.
#[derive(Clone, Copy, Default)]
pub(crate) struct Totals {
    pub(crate) data_frames: u64,
    pub(crate) control_frames: u64,
    /// Of payload of data frames.
    pub(crate) bytes: u64,
}

impl Totals {
    pub(crate) fn add(&mut self, tally: &Tally) {
        self.data_frames += tally.data_frames();
        self.control_frames += tally.control_frames();
        self.bytes += tally.bytes;
    }
}

/// All pipes of this worker are in use, or the system gives none.
pub(crate) struct NoPipe;

impl Flow {
    pub(crate) fn new(sender: Sender, deflate: bool, limits: Limits, early: &[u8]) -> Self {
        let mut flow = Self {
            scanner: Scanner::new(sender, deflate, limits),
            buffer: None,
            transit: None,
            size: Size::Small,
            row: 0,
            huge: false,
            exact: 0,
            moved: 0,
            meter: Meter::default(),
            totals: Totals::default(),
            discarded: 0,
            undelivered: 0,
            counted: 0,
        };
        if !early.is_empty() {
            let mut buffer = Buffer::take(Size::Small);
            buffer.space()[..early.len()].copy_from_slice(early);
            buffer.filled(early.len());
            flow.buffer = Some(buffer);
        }
        flow
    }

    /// Data frames so far.
    pub(crate) fn messages(&self) -> u64 {
        self.totals.data_frames + self.scanner.tally().data_frames()
    }

    /// Whether everything that was read has left.
    pub(crate) fn is_empty(&self) -> bool {
        self.transit.is_none() && self.buffer.as_ref().is_none_or(Buffer::is_empty)
    }

    /// Bytes that it held when this was last asked, and holds now: those that were read and have not left.
    pub(crate) fn held(&mut self) -> (u32, u32) {
        let spliced = self.transit.as_ref().map_or(0, |transit| transit.pipe.held());
        let copied = self.buffer.as_ref().map_or(0, |buffer| buffer.released().len() + buffer.pending().len());
        let now = (spliced + copied) as u32;
        (std::mem::replace(&mut self.counted, now), now)
    }

    /// Room for what is read next.
    pub(crate) fn space(&mut self) -> &mut [u8] {
        let (size, exact) = (self.size, self.exact as usize);
        let space = self.buffer.get_or_insert_with(|| Buffer::take(size)).space();
        let len = if exact > 0 { space.len().min(exact) } else { space.len() };
        &mut space[..len]
    }

    /// So many bytes were read into the buffer.
    pub(crate) fn filled(&mut self, len: usize) {
        if len < FEW {
            self.size = Size::Small;
        }
        self.exact = 0;
        if let Some(buffer) = &mut self.buffer {
            buffer.filled(len);
        }
    }

    /// The size of the frame at the front of the buffer, if it could have been spliced.
    pub(crate) fn large(&self) -> Option<usize> {
        let pending = self.buffer.as_ref()?.pending();
        if pending.len() < LEAST_SPLICED {
            return None;
        }
        // Where one read brought several, copying them together is better.
        spliced(&self.scanner, pending).filter(|&total| total >= ALWAYS_SPLICED || total >= pending.len())
    }

    /// A frame came: one that could have been spliced, of this size, or another.
    pub(crate) fn learn(&mut self, large: Option<usize>) {
        let Some(total) = large else { return self.row = 0 };
        self.row = (self.row + 1).min(ROW);
        self.huge = total >= ALWAYS_SPLICED;
        self.moved = MOVED.get().wrapping_add(total as u32 >> 10);
        MOVED.set(self.moved);
    }

    /// The frame at the front lacks so many bytes.
    pub(crate) fn lacks(&mut self, missing: usize, large: Option<usize>) {
        if let Some(size) = self.buffer.as_mut().and_then(|buffer| buffer.reserve(missing)) {
            self.size = size;
        }
        if large.is_some() {
            self.learn(large);
            if self.row == ROW {
                self.exact = missing as u32;
            }
        }
    }

    /// Whether the next frame is likely to be one for a kernel pipe.
    pub(crate) fn expects_large(&self) -> bool {
        self.row == ROW && self.is_empty() && (self.huge || self.is_cold())
    }

    fn is_cold(&self) -> bool {
        let now = MOVED.get();
        now.wrapping_sub(self.moved).min(now.wrapping_sub(PAUSED.get())) > COLD
    }

    /// Takes the frame that begins with `head`, none of which was read yet, through a kernel pipe. `Ok(false)`: it is
    /// none for that.
    ///
    /// # Errors
    /// No pipe is left for it.
    pub(crate) fn begin_transit(&mut self, head: &[u8]) -> Result<bool, NoPipe> {
        self.row = 0;
        let Some(total) = spliced(&self.scanner, head) else { return Ok(false) };
        let pipe = Pipe::take().ok_or(NoPipe)?;
        self.row = ROW - 1;
        self.learn(Some(total));
        self.buffer = None;
        let mut kept = [0; MAX_HEADER];
        kept[..head.len()].copy_from_slice(head);
        self.transit = Some(Transit { pipe, head: kept, missing: total as u32 });
        Ok(true)
    }

    /// So many bytes of the frame came into the pipe. Whether it is whole now.
    pub(crate) fn arrived(&mut self, len: usize) -> bool {
        let Some(transit) = &mut self.transit else { return false };
        transit.missing -= len as u32;
        if transit.missing == 0 {
            self.scanner.passed(&transit.head);
        }
        transit.missing == 0
    }

    /// The pipe takes no more of the frame: it goes through a buffer after all.
    ///
    /// # Errors
    /// The pipe's, which are not expected.
    pub(crate) fn copy_out(&mut self) -> Result<(), rustix::io::Errno> {
        self.row = 0;
        let Some(mut transit) = self.transit.take() else { return Ok(()) };
        let mut buffer = Buffer::for_frame(transit.pipe.held() + transit.missing());
        let len = transit.pipe.read(buffer.space())?;
        buffer.filled(len);
        self.buffer = Some(buffer);
        Ok(())
    }

    /// What was to leave has nowhere to go.
    pub(crate) fn drop_released(&mut self) {
        let mut len = self.transit.take_if(|transit| transit.is_whole()).map_or(0, |transit| transit.pipe.held());
        if let Some(buffer) = &mut self.buffer {
            len += buffer.released().len();
            buffer.left(buffer.released().len());
        }
        self.undelivered = self.undelivered.saturating_add(len as u32);
    }

    /// What came behind the end of its sender's part.
    pub(crate) fn discard_pending(&mut self) {
        let spliced = self.transit.as_ref().filter(|transit| !transit.is_whole()).map_or(0, |t| t.pipe.held());
        let pending = self.buffer.as_ref().map_or(0, |buffer| buffer.pending().len());
        self.discarded = self.discarded.saturating_add((spliced + pending) as u32);
        self.clear_pending();
    }

    pub(crate) fn clear_pending(&mut self) {
        self.transit.take_if(|transit| !transit.is_whole());
        if let Some(buffer) = &mut self.buffer {
            buffer.clear_pending();
        }
    }

    /// Gives an empty buffer back to the worker.
    pub(crate) fn settle(&mut self) {
        if self.buffer.as_ref().is_some_and(Buffer::is_empty) {
            self.buffer = None;
        }
    }
}

/// The size of the frame that begins with `head`, if it may go through a kernel pipe.
fn spliced(scanner: &Scanner, head: &[u8]) -> Option<usize> {
    let total = scanner.opaque(head)?;
    (LEAST_SPLICED as u64..=MOST_SPLICED as u64).contains(&total).then_some(total as usize)
}

impl Transit {
    pub(crate) fn missing(&self) -> usize {
        self.missing as usize
    }

    /// All of it came: it may leave.
    pub(crate) fn is_whole(&self) -> bool {
        self.missing == 0
    }
}
