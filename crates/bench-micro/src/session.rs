//! The contract, and the life of a session.

use std::{hint::black_box, sync::Arc};

use tidegate_session::{End, Input, Loss, Policy, Session, Side};
use tidegate_wire::{CloseCode, CloseFrame};

use crate::{Operation, now};

pub(crate) fn contract() -> Operation {
    let (ends, policy) = (End::examples(), Policy::default());
    Box::new(move || {
        for end in black_box(&ends) {
            for side in Side::BOTH {
                black_box(end.close_for(side, &policy));
            }
        }
    })
}

/// All that the hot path asks of a session for one message.
pub(crate) fn relay() -> Operation {
    let now = now();
    let mut session = Session::new(Arc::new(Policy::default()), 7, now);
    Box::new(move || {
        let session = black_box(&mut session);
        session.heard(Side::Client, now);
        assert_eq!(session.input(Side::Client), Input::Relay);
        session.active(now);
        session.handle_progress(Side::Upstream, false, now);
        assert!(session.poll_output().is_none() && !session.is_over());
        black_box(session.poll_timeout());
    })
}

/// A client closes, its upstream answers, both transports end.
pub(crate) fn life() -> Operation {
    let (now, policy) = (now(), Arc::new(Policy::default()));
    Box::new(move || {
        let mut session = Session::new(black_box(&policy).clone(), 7, now);
        let goodbye = CloseFrame::with(CloseCode(1000), "done");
        for side in [Side::Client, Side::Upstream] {
            black_box(session.handle_close(side, goodbye.clone(), now));
            while let Some(output) = session.poll_output() {
                black_box(output);
            }
        }
        for side in [Side::Upstream, Side::Client] {
            session.handle_eof(side, Loss::Fin, now);
            session.handle_gone(side);
            while let Some(output) = session.poll_output() {
                black_box(output);
            }
        }
        assert!(session.is_over());
        black_box(session.take_record());
    })
}
