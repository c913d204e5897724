//! The hot path: moves the bytes of one session between its two legs, and carries out what its [`Session`] says.
//!
//! Frames leave as they came, whole; a frame too large for the buffer leaves as complete fragments. So each leg is
//! at a frame boundary behind everything that was released to it, and a Close can always be put there.

use std::{
    future::Future,
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Instant,
};

use tidegate_session::{End, Hold, Input, LegRecord, Loss, Output, Parting, Pass, Premature, Record, Session, Side};
use tidegate_wire::{CloseCode, CloseFrame, Limits, MAX_HEADER, Opcode, Sender, Step, Tally, Violation};

use crate::{
    alarm::{Alarm, come_back},
    buffer::{Buffer, Size, largest_frame},
    capacity::Slot,
    chores::Chore,
    clock,
    counters::RouteCounters,
    flow::{Flow, NoPipe, Totals, Transit},
    leg::Leg,
    metrics::Metrics,
    registry::Entry,
    stream::{Stream, poll_fill, poll_peek},
};

/// Bytes that are read of one direction before the other sessions of this worker get their turn: a frame of 1 MiB with
/// its header, which a kernel pipe takes in two parts.
const TURN: usize = (1 << 20) + LEAST_READ;
/// What a read counts for at least, in bytes: it has its price whatever it brings.
const LEAST_READ: usize = 128 << 10;
/// Bytes that a leg may send after its part is over, before its transport is let go of. Generous: a client that
/// uploads learns of its Close only behind what is on its way already.
const MAX_DISCARDED: u32 = 16 << 20;

/// One session as a future, which ends with what is remembered of it.
pub(crate) struct Splice {
    session: Session,
    client: Leg,
    upstream: Leg,
    /// From the client to the upstream.
    up: Flow,
    /// From the upstream to the client.
    down: Flow,
    /// Its place with the governor, until the upstream is gone. `None` as well for a client that got none.
    slot: Option<Slot>,
    entry: Entry,
    counters: Arc<RouteCounters>,
    metrics: Arc<Metrics>,
    /// Of the session's next deadline.
    alarm: Alarm,
    /// To end it where an end is gone: thousands may be gone at once.
    parting: Chore,
}

/// A session that is over.
pub(crate) struct Finished {
    pub(crate) record: Record,
    /// What went from the client to the upstream.
    pub(crate) up: Totals,
    /// What went from the upstream to the client.
    pub(crate) down: Totals,
    /// Bytes of frames of this side that did not reach the other, and bytes behind its own Close: the client's, the
    /// upstream's.
    pub(crate) undelivered: [u32; 2],
    pub(crate) after_close: [u32; 2],
    /// The hint it was given, in seconds.
    pub(crate) retry_after: Option<u32>,
}

/// What a splice is made of.
pub(crate) struct Parts {
    pub(crate) session: Session,
    pub(crate) client: Option<Stream>,
    /// What the client sent behind its request.
    pub(crate) client_early: bytes::Bytes,
    pub(crate) upstream: Option<(Stream, bytes::Bytes)>,
    pub(crate) slot: Option<Slot>,
    pub(crate) entry: Entry,
    pub(crate) counters: Arc<RouteCounters>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) limits: Limits,
    /// permessage-deflate was agreed on end to end.
    pub(crate) deflate: bool,
}

impl Splice {
    pub(crate) fn new(parts: Parts) -> Self {
        let Parts { session, client, client_early, upstream, slot, entry, counters, metrics, limits, deflate } = parts;
        let (upstream, upstream_early) = upstream.unzip();
        Self {
            session,
            client: Leg::new(Side::Client, client),
            upstream: Leg::new(Side::Upstream, upstream),
            up: Flow::new(Sender::Client, deflate, limits, &client_early),
            down: Flow::new(Sender::Server, deflate, limits, &upstream_early.unwrap_or_default()),
            slot,
            entry,
            counters,
            metrics,
            alarm: Alarm::new(),
            parting: Chore::default(),
        }
    }

    /// Moves what this side sends to the other, until one of them has to be waited for.
    fn pump(&mut self, from: Side, cx: &mut Context<'_>, now: Instant) {
        let to = from.other();
        if self.flow(from).is_empty() && self.is_waiting(from) {
            let _ = self.flush(to, cx, now);
            return;
        }
        let mut left = TURN;
        loop {
            loop {
                let flushed = self.flush(to, cx, now).is_ready();
                if self.session.input(from) == Input::Discard {
                    self.flow(from).discard_pending();
                    break;
                }
                if !flushed {
                    // Backpressure is not reading.
                    return self.count(from, now);
                }
                if !self.judge(from, now) {
                    break;
                }
            }
            if left == 0 {
                break;
            }
            let Poll::Ready(len) = self.read(from, cx, now) else {
                self.flow(from).settle();
                return self.count(from, now);
            };
            left = left.saturating_sub(len.max(LEAST_READ));
        }
        self.flow(from).settle();
        self.count(from, now);
        // Behind the next look at the sockets. Woken at once, a few bulk streams would have the worker to themselves for
        // as many turns as it takes between two looks.
        come_back(cx);
    }

    /// Writes what was released to this side, and what tidegate itself has for it.
    fn flush(&mut self, to: Side, cx: &mut Context<'_>, now: Instant) -> Poll<()> {
        let (flow, leg) = match to {
            Side::Upstream => (&mut self.up, &mut self.upstream),
            Side::Client => (&mut self.down, &mut self.client),
        };
        let last = self.session.is_shut(to);
        let result = loop {
            if let Some(transit) = flow.transit.as_mut().filter(|transit| transit.is_whole()) {
                if !leg.takes_bytes() {
                    flow.drop_released();
                    continue;
                }
                match leg.poll_drain(cx, &mut transit.pipe) {
                    Poll::Ready(Ok(_)) => {
                        let more = transit.pipe.held() > 0;
                        if !more {
                            flow.transit = None;
                        }
                        self.session.handle_progress(to, more, now);
                        continue;
                    }
                    Poll::Ready(Err(error)) => break Poll::Ready(Err(error)),
                    Poll::Pending => break Poll::Pending,
                }
            }
            let Some(buffer) = flow.buffer.as_mut().filter(|buffer| !buffer.released().is_empty()) else {
                break leg.poll_flush(cx, last);
            };
            if !leg.takes_bytes() {
                flow.drop_released();
                continue;
            }
            match leg.poll_write(cx, buffer.released(), last) {
                Poll::Ready(Ok(len)) => {
                    buffer.left(len);
                    self.session.handle_progress(to, !buffer.released().is_empty(), now);
                }
                Poll::Ready(Err(error)) => break Poll::Ready(Err(error)),
                Poll::Pending => break Poll::Pending,
            }
        };
        match result {
            Poll::Ready(Ok(())) => {
                self.session.handle_progress(to, false, now);
                Poll::Ready(())
            }
            Poll::Ready(Err(_)) => {
                flow.drop_released();
                self.session.handle_write_error(to, now);
                Poll::Ready(())
            }
            Poll::Pending => {
                self.session.handle_blocked(to, now);
                Poll::Pending
            }
        }
    }

    /// Judges what is at the front of what this side sent. `false`: nothing more until more is read. Everything
    /// released before must have left.
    fn judge(&mut self, from: Side, now: Instant) -> bool {
        let (flow, leg) = match from {
            Side::Client => (&mut self.up, &mut self.client),
            Side::Upstream => (&mut self.down, &mut self.upstream),
        };
        let large = flow.large();
        let Some(buffer) = flow.buffer.as_mut().filter(|buffer| !buffer.is_empty()) else { return false };
        let relay = self.session.input(from) == Input::Relay;
        match flow.scanner.advance(buffer.pending(), largest_frame(), buffer.is_full()) {
            Ok(Step::Forward(len)) if relay => {
                buffer.release(len);
                flow.learn(large);
                self.session.active(now);
            }
            Ok(Step::Fragment(part)) if relay => {
                buffer.release_fragment(part.header(), part.skip, part.payload);
                self.session.active(now);
            }
            Ok(Step::Forward(len)) => {
                buffer.skip(len);
                flow.undelivered = flow.undelivered.saturating_add(len as u32);
                self.session.handle_stray_data(from, now);
            }
            Ok(Step::Fragment(part)) => {
                buffer.skip(part.skip + part.payload);
                flow.undelivered = flow.undelivered.saturating_add((part.skip + part.payload) as u32);
                self.session.handle_stray_data(from, now);
            }
            Ok(Step::Control(frame)) => match self.session.handle_control(from, &frame, now) {
                Pass::Relay => buffer.release(frame.len),
                Pass::Consume => buffer.skip(frame.len),
                Pass::Answer => {
                    buffer.skip(frame.len);
                    leg.put_control(Opcode::Pong, frame.payload());
                }
            },
            Ok(Step::Close(frame, len)) => {
                // Of its own accord, and not in answer to a Close.
                if from == Side::Upstream
                    && self.session.end().is_none()
                    && frame.code() == Some(CloseCode::TRY_AGAIN_LATER)
                    && let Some(slot) = &self.slot
                {
                    slot.overfull(now);
                }
                match self.session.handle_close(from, frame, now) {
                    Pass::Relay => buffer.release(len),
                    Pass::Consume | Pass::Answer => buffer.skip(len),
                }
                if from == Side::Upstream {
                    self.notice_premature();
                }
            }
            Ok(Step::Need(missing)) => {
                flow.lacks(missing, large);
                return false;
            }
            Err(violation) => {
                buffer.clear_pending();
                self.violation(from, violation, now);
            }
        }
        true
    }

    /// An upstream's Close came: what it leaves undone is noticed.
    fn notice_premature(&mut self) {
        let untaken = !self.up.is_empty();
        let what = if self.down.scanner.in_message() {
            Premature::InMessage
        } else if untaken || self.up.scanner.in_message() {
            Premature::Untaken
        } else if self.up.messages() + self.down.messages() == 0 {
            Premature::NoMessage
        } else {
            return;
        };
        self.session.note_premature(what);
    }

    /// Reads once from this side. `Ready`: so much, and there may be more.
    fn read(&mut self, from: Side, cx: &mut Context<'_>, now: Instant) -> Poll<usize> {
        let input = self.session.input(from);
        let leg = self.leg(from);
        if matches!(input, Input::Ended | Input::Paused) || leg.is_gone() || self.is_waiting(from) {
            return Poll::Pending;
        }
        let flow = self.flow(from);
        let peeked = if flow.transit.is_some() {
            Poll::Ready(true)
        } else if input == Input::Relay && flow.expects_large() {
            self.peek(from, cx)
        } else {
            Poll::Ready(false)
        };
        let read = match peeked {
            Poll::Ready(true) => self.fill(from, cx, now),
            Poll::Ready(false) => self.read_some(from, cx, now),
            Poll::Pending => Poll::Pending,
        };
        if read.is_pending() {
            let rest = self.flow(from).transit.as_ref().map_or(0, Transit::missing);
            self.leg(from).wait(rest);
        }
        read
    }

    /// Whether nothing came from this side since it was last waited for.
    fn is_waiting(&mut self, from: Side) -> bool {
        let waiting = self.leg(from).is_waiting();
        if waiting && self.flow(from).transit.is_none() {
            // Given up in the middle of a frame: what comes of it is to be thrown away as it comes.
            self.leg(from).unmark();
        }
        waiting
    }

    /// Reads once from this side into a buffer.
    fn read_some(&mut self, from: Side, cx: &mut Context<'_>, now: Instant) -> Poll<usize> {
        let input = self.session.input(from);
        let (flow, leg) = match from {
            Side::Client => (&mut self.up, &mut self.client),
            Side::Upstream => (&mut self.down, &mut self.upstream),
        };
        let read = ready!(if input == Input::Discard {
            let mut waste = Buffer::take(Size::Small);
            leg.poll_read(cx, waste.space())
        } else {
            leg.poll_read(cx, flow.space())
        });
        let brought = read.as_ref().map_or(0, |len| *len);
        match read {
            Ok(0) => {
                let how = if flow.is_empty() { Loss::Fin } else { Loss::MidFrame };
                flow.clear_pending();
                self.session.handle_eof(from, how, now);
            }
            Ok(len) if input == Input::Discard => {
                flow.discarded += len as u32;
                if flow.discarded > MAX_DISCARDED {
                    leg.let_go(Parting::Reset);
                    self.session.handle_gone(from);
                }
            }
            Ok(len) => {
                flow.filled(len);
                self.session.heard(from, now);
            }
            Err(error) => {
                flow.clear_pending();
                // TLS that ends without close_notify: many do, and no more was lost than by a FIN.
                let fin = error.kind() == io::ErrorKind::UnexpectedEof;
                self.session.handle_eof(from, if fin { Loss::Fin } else { Loss::Reset }, now);
            }
        }
        Poll::Ready(brought)
    }

    /// Looks whether a large frame comes next, and takes a pipe for it.
    fn peek(&mut self, from: Side, cx: &mut Context<'_>) -> Poll<bool> {
        let (flow, leg, to) = match from {
            Side::Client => (&mut self.up, &self.client, &self.upstream),
            Side::Upstream => (&mut self.down, &self.upstream, &self.client),
        };
        let (Some(socket), Some(_)) = (leg.bare(), to.bare()) else { return Poll::Ready(false) };
        let mut head = [0; MAX_HEADER];
        // An error is the next read's.
        let len = ready!(poll_peek(socket, cx, &mut head)).unwrap_or(0);
        Poll::Ready(flow.begin_transit(&head[..len]).unwrap_or_else(|NoPipe| {
            self.metrics.limit_hits.with_label_values(&["pipes", "copy"]).inc();
            false
        }))
    }

    /// Moves more of a frame from this side into its pipe. `Ready`: so much, and there may be more.
    fn fill(&mut self, from: Side, cx: &mut Context<'_>, now: Instant) -> Poll<usize> {
        let (flow, leg) = match from {
            Side::Client => (&mut self.up, &self.client),
            Side::Upstream => (&mut self.down, &self.upstream),
        };
        let (Some(transit), Some(socket)) = (&mut flow.transit, leg.bare()) else { return Poll::Pending };
        let missing = transit.missing();
        let read = ready!(poll_fill(socket, cx, &mut transit.pipe, missing));
        let brought = read.as_ref().map_or(0, |len| *len);
        match read {
            Ok(0) => {
                flow.clear_pending();
                self.session.handle_eof(from, Loss::MidFrame, now);
            }
            Ok(len) => {
                self.session.heard(from, now);
                if flow.arrived(len) {
                    if self.session.input(from) == Input::Relay {
                        self.session.active(now);
                    } else {
                        flow.drop_released();
                        self.session.handle_stray_data(from, now);
                    }
                }
            }
            Err(error) if error.kind() == io::ErrorKind::StorageFull => {
                self.metrics.limit_hits.with_label_values(&["pipe_size", "copy"]).inc();
                if flow.copy_out().is_err() {
                    self.session.handle_eof(from, Loss::Reset, now);
                }
            }
            Err(_) => {
                flow.clear_pending();
                self.session.handle_eof(from, Loss::Reset, now);
            }
        }
        Poll::Ready(brought)
    }

    /// Adds what this side sent to the counters, and holds it against the limits by the second.
    fn count(&mut self, from: Side, now: Instant) {
        let flow = self.flow(from);
        let (before, held) = flow.held();
        let tally = flow.scanner.take_tally();
        if before != held {
            self.counters.hold(from, before, held);
        }
        if tally == Tally::default() {
            return;
        }
        let limits = self.entry.route().frames;
        let flow = self.flow(from);
        flow.totals.add(&tally);
        let verdict = flow.meter.check(&tally, &limits, from, now);
        self.counters.add(from, &tally);
        if let Err(violation) = verdict {
            self.flow(from).clear_pending();
            self.violation(from, violation, now);
        }
    }

    fn violation(&mut self, by: Side, what: Violation, now: Instant) {
        self.metrics.violation(by, what);
        self.session.handle_violation(by, what, now);
    }

    /// Does what the session asks for. Whether it asked for anything.
    fn carry_out(&mut self, now: Instant) -> bool {
        let mut any = false;
        while let Some(output) = self.session.poll_output() {
            any = true;
            match output {
                Output::Say(side, words) => {
                    let hint = self.session.retry_after().or_else(|| self.slot.as_ref().map(|slot| slot.hint(now)));
                    self.say(side, words.frame(hint, self.entry.id()));
                }
                Output::Echo(side, frame) => self.say(side, frame),
                Output::Ping(side, payload) => self.leg(side).put_control(Opcode::Ping, &payload),
                Output::Pace => {
                    let none = Hold { delay: std::time::Duration::ZERO, retry_after: 1 };
                    let hold = self.slot.as_ref().map_or(none, |slot| slot.pace(now));
                    let route = self.entry.route();
                    let hold = Hold {
                        delay: hold.delay.min(route.spread),
                        retry_after: hold.retry_after.max(route.retry_after.as_secs() as u32),
                    };
                    self.session.handle_hold(hold, now);
                }
                Output::Shutdown(side) => self.leg(side).half_close(),
                Output::Drop(side, how) => self.let_go(side, how),
            }
        }
        any
    }

    fn say(&mut self, side: Side, frame: CloseFrame) {
        self.leg(side).put_close(&frame);
        self.session.note_sent(side, frame);
    }

    /// Ends the transport of a leg whose part is over. Whether it did.
    fn part(&mut self, side: Side, cx: &mut Context<'_>, now: Instant) -> bool {
        if self.leg(side).is_gone() || self.flush(side, cx, now).is_pending() {
            return false;
        }
        let ended = self.session.input(side) == Input::Ended;
        match self.leg(side).poll_half_close(cx, ended) {
            Poll::Ready(true) if ended => {
                self.let_go(side, Parting::Close);
                self.session.handle_gone(side);
                true
            }
            Poll::Ready(_) => false,
            Poll::Pending => {
                self.session.handle_blocked(side, now);
                false
            }
        }
    }

    fn let_go(&mut self, side: Side, how: Parting) {
        self.leg(side).let_go(how);
        // What is half read stays: the other side's frames are still followed, to its Close.
        self.flow(side.other()).drop_released();
    }

    /// Does what is due.
    fn handle_alarm(&mut self, now: Instant) {
        for side in Side::BOTH {
            // Who sends the rest of a large frame slowly is not silent.
            if self.leg(side).unmark() {
                self.session.heard(side, now);
            }
        }
        self.session.handle_timeout(now);
    }

    fn leg(&mut self, side: Side) -> &mut Leg {
        match side {
            Side::Client => &mut self.client,
            Side::Upstream => &mut self.upstream,
        }
    }

    fn flow(&mut self, from: Side) -> &mut Flow {
        match from {
            Side::Client => &mut self.up,
            Side::Upstream => &mut self.down,
        }
    }
}

impl Future for Splice {
    type Output = Finished;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Finished> {
        let this = self.get_mut();
        let now = clock::now();
        if let Some(order) = this.entry.take_order(cx) {
            this.session.handle_order(order, now);
        }
        if this.entry.take_hurry() {
            this.session.handle_hurry(now);
        }
        let mut due = this.alarm.take_rung();
        loop {
            for side in Side::BOTH {
                this.pump(side, cx, now);
            }
            if matches!(this.session.end(), Some(End::Lost { .. })) && this.parting.poll_turn(cx).is_pending() {
                return Poll::Pending;
            }
            let mut again = std::mem::take(&mut due);
            if again {
                this.handle_alarm(now);
            }
            again |= this.carry_out(now);
            if this.session.end().is_some() {
                for side in Side::BOTH {
                    again |= this.part(side, cx, now);
                }
                if this.upstream.is_gone() {
                    this.slot = None;
                }
                if this.session.is_over() {
                    return Poll::Ready(this.finish());
                }
            }
            if !again {
                if let Some(at) = this.session.poll_timeout() {
                    this.alarm.set(at, cx);
                }
                return Poll::Pending;
            }
        }
    }
}

impl Drop for Splice {
    fn drop(&mut self) {
        for side in Side::BOTH {
            let flow = self.flow(side);
            (flow.buffer, flow.transit) = (None, None);
            let (before, none) = flow.held();
            self.counters.hold(side, before, none);
        }
    }
}

impl Splice {
    fn finish(&mut self) -> Finished {
        let retry_after = self.session.retry_after();
        let record = self.session.take_record();
        let (up, down) = (&self.up, &self.down);
        let after_close = |flow: &Flow, leg: &LegRecord| if leg.received.is_some() { flow.discarded } else { 0 };
        Finished {
            up: up.totals,
            down: down.totals,
            undelivered: [up.undelivered, down.undelivered],
            after_close: [after_close(up, &record.client), after_close(down, &record.upstream)],
            record,
            retry_after,
        }
    }
}
