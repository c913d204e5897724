//! What must hold of every session when it is over.

use std::time::Duration;

use tidegate_session::{CloseFrame, End, LateReply, LegEnd, LegRecord, Loss, Side, Verdict};

use crate::{
    peer::Peer,
    plan::{Ending, is_ours},
    proxy::NONCE,
    strict::Message,
    world::World,
};

pub(crate) fn check(world: &World) {
    for side in Side::BOTH {
        let (peer, other) = (&world.peers[side as usize], &world.peers[side.other() as usize]);
        was_told_what_the_record_says(world, peer);
        was_told_in_known_words(world, peer, other);
        was_told_if_it_could_be(world, peer);
        received_what_was_sent(peer, other);
        received_all_before_the_close(world, peer, other);
        assert!(!peer.pongs.iter().any(|pong| pong[..] == NONCE.to_be_bytes()), "an answer to tidegate's own ping");
    }
    what_the_client_sent_is_delivered_first(world);
    what_the_upstream_said_before_its_answer_is_delivered_first(world);
    verdict_is_true(world);
}

/// A Close as peers see it.
type Said = (Option<u16>, String);

fn said(frame: &CloseFrame) -> Said {
    (frame.code().map(|code| code.0), frame.reason().to_owned())
}

fn sent(leg: &LegRecord) -> Option<Said> {
    leg.sent.as_ref().map(said)
}

fn was_told_what_the_record_says(world: &World, peer: &Peer) {
    let record = world.record();
    if peer.received_close.is_some() {
        assert_eq!(peer.received_close, sent(record.leg(peer.side)), "{:?}", peer.side);
    }
    if let Some(received) = &record.leg(peer.side).received {
        assert_eq!(Some(said(received)), peer.sent_close, "{:?}", peer.side);
    }
}

/// Contract 5.8, properties 1, 4 and 6: an endpoint's own words, or tidegate's, and never 1000 of tidegate's own.
fn was_told_in_known_words(world: &World, peer: &Peer, other: &Peer) {
    let Some(close) = &peer.received_close else { return };
    let echoed = world.policy.late_reply == LateReply::Echo || world.policy.detach == tidegate_session::Farewell::Abort;
    if Some(close) == other.sent_close.as_ref() || (echoed && Some(close) == peer.sent_close.as_ref()) {
        return;
    }
    let (code, reason) = (close.0.expect("tidegate gives a code"), &close.1);
    assert!(is_ours(peer.side, code) || code == 1008, "{code} to the {:?}", peer.side);
    assert!(reason.starts_with(|first: char| first.is_ascii_lowercase()), "{reason}");
    assert!(reason.is_ascii() && reason.len() <= 123 && reason.ends_with("; id=7f3a9c21"), "{reason}");
}

/// Contract 5.8, property 3.
fn was_told_if_it_could_be(world: &World, peer: &Peer) {
    let aborted = peer.side == Side::Upstream && world.record().upstream.sent.is_none();
    let left = peer.plan.answer == crate::plan::Answer::Fin || peer.plan.answer == crate::plan::Answer::Reset;
    if aborted || !world.is_reachable(peer.side) || world.proxy.lost_patience_with(peer.side) {
        return;
    }
    assert!(peer.received_close.is_some() || (left && peer.gone), "{:?} was told nothing", peer.side);
}

/// Whole messages, in order, as they were; and of the last one no more than its beginning.
fn received_what_was_sent(peer: &Peer, other: &Peer) {
    assert!(peer.received.len() <= other.sent.len(), "{:?} received more than was sent", peer.side);
    for (received, sent) in peer.received.iter().zip(&other.sent) {
        assert_eq!(received, sent);
    }
    if let Some(begun) = peer.unfinished() {
        let next = other.sent.get(peer.received.len()).or(other.sent_unfinished.as_ref());
        let next: &Message = next.expect("nothing more was sent");
        assert!(next.payload.starts_with(&begun.payload) && next.text == begun.text);
    }
}

/// Invariant 4: a Close of the other end comes behind everything that the other end said before it.
fn received_all_before_the_close(world: &World, peer: &Peer, other: &Peer) {
    let record = world.record();
    let relayed = match record.end {
        End::Closed { .. } => true,
        End::Unanswered { by, .. } => by == other.side,
        _ => false,
    };
    if relayed && peer.received_close.is_some() {
        assert_eq!(peer.received_close, other.sent_close);
        assert_eq!(peer.received, other.sent, "messages before the Close are missing");
    }
}

/// Rule R10.
fn what_the_client_sent_is_delivered_first(world: &World) {
    let [client, upstream] = &world.peers;
    let record = world.record();
    let orderly = matches!(
        record.end,
        End::Idle | End::MaxAge | End::Drain | End::RouteRemoved | End::EndpointRemoved | End::EndpointDown
    );
    let upstream_listens = upstream.plan.ending == Ending::Nothing && !upstream.broke_a_rule;
    if orderly && record.client.received.is_some() && upstream_listens && upstream.received_close.is_some() {
        assert_eq!(upstream.received, client.sent, "what the client had sent is not delivered");
    }
}

/// Rule R10 mirrored: a client that breaks a rule gets all that its upstream had for it, if that took no longer than
/// it waits.
fn what_the_upstream_said_before_its_answer_is_delivered_first(world: &World) {
    let [client, upstream] = &world.peers;
    let record = world.record();
    let by_client = matches!(record.end, End::Violation { by: Side::Client, .. });
    let in_time = record.closing.ack.is_some_and(|ack| ack < Duration::from_secs(1));
    if by_client && in_time && !upstream.broke_a_rule && client.received_close.is_some() {
        assert_eq!(client.received, upstream.sent, "what the upstream had said is not delivered");
    }
}

fn verdict_is_true(world: &World) {
    let record = world.record();
    let both_closed = record.client.received.is_some() && record.upstream.received.is_some();
    let legs = [record.client.end, record.upstream.end];
    match record.verdict {
        Verdict::Agreed => assert!(both_closed && matches!(record.end, End::Closed { .. })),
        Verdict::Relayed => assert!(matches!(record.end, End::Closed { .. } | End::Unanswered { .. })),
        Verdict::ClientLost => assert!(matches!(record.end, End::Lost { side: Side::Client, .. })),
        Verdict::UpstreamLost => assert!(matches!(record.end, End::Lost { side: Side::Upstream, .. })),
        Verdict::BothLost => {
            let End::Lost { side, how } = record.end else { panic!("both lost by {:?}", record.end) };
            assert!(record.leg(side.other()).sent.is_none());
            // One that fell silent is told for good measure.
            assert!(record.leg(side).sent.is_none() || how == Loss::PingTimeout);
        }
        Verdict::Unclosable => {
            assert!(legs.contains(&LegEnd::Stalled));
            let slow = Side::BOTH.into_iter().any(|side| !world.is_reachable(side));
            assert!(slow, "a peer that reads at once could not be told");
        }
        Verdict::Enforced => assert!(record.end.initiator().is_none() || matches!(record.end, End::Violation { .. })),
    }
}
