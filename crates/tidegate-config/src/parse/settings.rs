//! What `[defaults]` says, and each route in its place.

use std::{sync::Arc, time::Duration};

use tidegate_session::Policy;
use tidegate_wire::Limits as Frames;

use super::rewrite;
use crate::{
    choices,
    config::{ForwardAs, OnOverload, OnRemove, PerIp},
    reader::Reader,
};

/// Every key of `[defaults]`.
pub(super) struct Settings {
    pub(super) policy: Arc<Policy>,
    pub(super) frames: Frames,
    pub(super) connect_timeout: Duration,
    pub(super) handshake_timeout: Duration,
    pub(super) on_overload: Option<OnOverload>,
    pub(super) max_waiting: u32,
    pub(super) max_waiting_bytes: u64,
    pub(super) queue_timeout: Duration,
    pub(super) retry_after: Duration,
    pub(super) on_remove: OnRemove,
    pub(super) websocket_only: bool,
    pub(super) forward_as: ForwardAs,
    pub(super) per_ip: PerIp,
    pub(super) spread: Duration,
}

/// Reads them from tables that may hold them.
pub(super) fn read(reader: &mut Reader<'_, '_>) -> Settings {
    Settings {
        policy: Arc::new(policy(reader)),
        frames: frames(reader),
        connect_timeout: reader.duration("connect_timeout"),
        handshake_timeout: reader.duration("handshake_timeout"),
        on_overload: reader.optional_choice("on_overload", choices::ON_OVERLOAD),
        max_waiting: reader.count("max_waiting"),
        max_waiting_bytes: reader.size("max_waiting_bytes"),
        queue_timeout: reader.duration("queue_timeout"),
        retry_after: reader.duration("retry_after"),
        on_remove: reader.choice("on_remove", choices::ON_REMOVE),
        websocket_only: reader.flag("websocket_only"),
        forward_as: reader.choice("forward_as", choices::FORWARD_AS),
        per_ip: PerIp {
            max_sessions: reader.optional_count("max_sessions_per_ip"),
            rate: reader.rate("handshake_rate_per_ip"),
            burst: reader.count("handshake_burst_per_ip"),
            told: reader.optional_choice("on_ip_limit", choices::ON_IP_LIMIT),
        },
        spread: reader.duration("spread"),
    }
}

fn policy(reader: &mut Reader<'_, '_>) -> Policy {
    Policy {
        upstream_lost_code: reader.choice("upstream_lost_code", choices::UPSTREAM_LOST_CODE),
        client_lost: reader.choice("client_lost", choices::CLIENT_LOST),
        detach: reader.choice("detach", choices::DETACH),
        late_reply: reader.choice("late_reply", choices::LATE_REPLY),
        rewrite: rewrite::read(reader),
        close_timeout: reader.duration("close_timeout"),
        idle_timeout: reader.duration_or_off("idle_timeout"),
        keepalive_interval: reader.duration_or_off("keepalive_interval"),
        keepalive_timeout: reader.duration("keepalive_timeout"),
        write_timeout: reader.duration("write_timeout"),
        max_lifetime: reader.duration_or_off("max_lifetime"),
        max_lifetime_jitter: reader.share("max_lifetime_jitter"),
    }
}

fn frames(reader: &mut Reader<'_, '_>) -> Frames {
    Frames {
        max_message_size: reader.size("max_message_size"),
        max_fragments: reader.count("max_fragments"),
        validate_utf8: reader.flag("validate_utf8"),
        frame_rate: reader.rate("frame_rate"),
        control_rate: reader.rate("control_rate"),
    }
}
