//! The closed sets of values: each as TOML writes it, and what it means.

use tidegate_governor::Mode;
use tidegate_session::{Farewell, LateReply};
use tidegate_wire::CloseCode;

use crate::{
    config::{
        Balance, ForwardAs, ForwardedFamily, JwtAlgorithm, OnIpLimit, OnOverload, OnRemove, ProxyProtocol, TlsVersion,
        UnknownName,
    },
    pools::SameSite,
};

/// The values of one key. The first spelling that equals the text wins.
pub(crate) type Choices<T> = [(&'static str, T)];

pub(crate) const BALANCE: &Choices<Balance> = &[
    (r#""least_sessions""#, Balance::LeastSessions),
    (r#""p2c""#, Balance::PowerOfTwo),
    (r#""round_robin""#, Balance::RoundRobin),
    (r#""hash""#, Balance::Hash),
];

pub(crate) const SAME_SITE: &Choices<SameSite> =
    &[(r#""lax""#, SameSite::Lax), (r#""strict""#, SameSite::Strict), (r#""none""#, SameSite::None)];

/// `[upstream.NAME] health kind`.
pub(crate) const CHECK: &Choices<CheckKind> =
    &[(r#""tcp""#, CheckKind::Tcp), (r#""http""#, CheckKind::Http), (r#""websocket""#, CheckKind::WebSocket)];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum CheckKind {
    Tcp,
    Http,
    WebSocket,
}

/// `[upstream.NAME] health on_down`: whether sessions are closed.
pub(crate) const ON_DOWN: &Choices<bool> = &[(r#""keep""#, false), (r#""close""#, true)];

/// `[upstream.NAME] sticky secure`: whether always.
pub(crate) const SECURE: &Choices<bool> = &[(r#""auto""#, false), (r#""always""#, true)];

pub(crate) const ON_OVERLOAD: &Choices<OnOverload> =
    &[(r#""1013""#, OnOverload::Close1013), (r#""503""#, OnOverload::Http503), (r#""auto""#, OnOverload::Auto)];

/// `[[listen]] proxy_protocol`; `None`: connections begin without.
pub(crate) const PROXY_PROTOCOL: &Choices<Option<ProxyProtocol>> = &[
    (r#""off""#, None),
    (r#""v1v2""#, Some(ProxyProtocol::Any)),
    (r#""v1""#, Some(ProxyProtocol::V1)),
    (r#""v2""#, Some(ProxyProtocol::V2)),
];

/// `[upstream.NAME] proxy_protocol`.
pub(crate) const PROXY_PROTOCOL_OUT: &Choices<bool> = &[(r#""off""#, false), (r#""v2""#, true)];

pub(crate) const FORWARDED_HEADER: &Choices<ForwardedFamily> =
    &[(r#""x-forwarded-for""#, ForwardedFamily::XForwarded), (r#""forwarded""#, ForwardedFamily::Forwarded)];

pub(crate) const FORWARD_AS: &Choices<ForwardAs> = &[
    (r#""x-forwarded""#, ForwardAs::XForwarded),
    (r#""forwarded""#, ForwardAs::Forwarded),
    (r#""both""#, ForwardAs::Both),
];

pub(crate) const ON_IP_LIMIT: &Choices<OnIpLimit> =
    &[(r#""1013""#, OnIpLimit::Close1013), (r#""429""#, OnIpLimit::Http429), (r#""503""#, OnIpLimit::Http503)];

pub(crate) const JWT_ALGORITHM: &Choices<JwtAlgorithm> = &[
    (r#""HS256""#, JwtAlgorithm::Hs256),
    (r#""HS384""#, JwtAlgorithm::Hs384),
    (r#""HS512""#, JwtAlgorithm::Hs512),
    (r#""RS256""#, JwtAlgorithm::Rs256),
    (r#""RS384""#, JwtAlgorithm::Rs384),
    (r#""RS512""#, JwtAlgorithm::Rs512),
    (r#""PS256""#, JwtAlgorithm::Ps256),
    (r#""ES256""#, JwtAlgorithm::Es256),
    (r#""ES384""#, JwtAlgorithm::Es384),
    (r#""EdDSA""#, JwtAlgorithm::EdDsa),
];

pub(crate) const UPSTREAM_LOST_CODE: &Choices<CloseCode> =
    &[("1014", CloseCode::BAD_GATEWAY), ("1011", CloseCode::INTERNAL_ERROR), ("1012", CloseCode::SERVICE_RESTART)];

pub(crate) const CLIENT_LOST: &Choices<Farewell> =
    &[(r#""close""#, Farewell::Close(CloseCode::INTERNAL_ERROR)), (r#""abort""#, Farewell::Abort)];

pub(crate) const DETACH: &Choices<Farewell> = &[
    ("1001", Farewell::Close(CloseCode::GOING_AWAY)),
    ("1011", Farewell::Close(CloseCode::INTERNAL_ERROR)),
    (r#""abort""#, Farewell::Abort),
];

pub(crate) const LATE_REPLY: &Choices<LateReply> =
    &[(r#""truthful""#, LateReply::Truthful), (r#""echo""#, LateReply::Echo)];

pub(crate) const ON_REMOVE: &Choices<OnRemove> = &[(r#""close""#, OnRemove::Close), (r#""keep""#, OnRemove::Keep)];

pub(crate) const MIN_VERSION: &Choices<TlsVersion> = &[(r#""1.2""#, TlsVersion::V1_2), (r#""1.3""#, TlsVersion::V1_3)];

pub(crate) const UNKNOWN_NAME: &Choices<UnknownName> =
    &[(r#""default""#, UnknownName::Default), (r#""refuse""#, UnknownName::Refuse)];

/// Whether a client must show a certificate.
pub(crate) const CLIENT_AUTH: &Choices<bool> = &[(r#""required""#, true), (r#""optional""#, false)];

pub(crate) const MODE: &Choices<Mode> = &[(r#""enforce""#, Mode::Enforce), (r#""observe""#, Mode::Observe)];

/// `[log] format`: whether JSON; `None`: unless stderr is a terminal.
pub(crate) const FORMAT: &Choices<Option<bool>> =
    &[(r#""auto""#, None), (r#""json""#, Some(true)), (r#""pretty""#, Some(false))];

/// What may be written.
pub(crate) fn spellings<T>(choices: &Choices<T>) -> Vec<&'static str> {
    choices.iter().map(|(spelling, _)| *spelling).collect()
}
