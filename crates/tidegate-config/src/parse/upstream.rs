//! `[upstream.NAME]`.

use std::{collections::BTreeMap, sync::Arc};

use tidegate_governor::{Limits as Capacity, Mode};
use toml::{
    Spanned,
    de::{DeTable, DeValue},
};

use super::{pools, settings::Settings, sharing, tls};
use crate::{
    addresses, choices,
    config::{Server, ServerAddress, Upstream},
    convert,
    errors::{Complaint, Problems},
    names,
    pools::Affinity,
    reader::Reader,
    sections,
};

/// Every upstream, by name.
pub(super) fn read_all(
    upstreams: &Spanned<&DeTable<'_>>,
    settings: &Settings,
    mode: Mode,
    problems: &mut Problems,
) -> BTreeMap<String, Arc<Upstream>> {
    let mut read: BTreeMap<String, Arc<Upstream>> = BTreeMap::new();
    for (name, value) in *upstreams.get_ref() {
        let DeValue::Table(table) = value.get_ref() else {
            let what = convert::noun(value.get_ref());
            problems.at(
                name.span(),
                Complaint::new(format!("upstream `{}` must be a table, not {what}", convert::shorten(name.get_ref())))
                    .help("an upstream has a name: `[upstream.NAME]`"),
            );
            continue;
        };
        if let Err(complaint) = names::label(name.get_ref()) {
            problems.at(name.span(), complaint);
        }
        let place = name.span();
        let name = name.get_ref().to_string();
        let upstream = upstream(&name, &Spanned::new(value.span(), table), settings, mode, problems);
        if let Affinity::Sticky(sticky) = &upstream.affinity
            && let Some(other) = read.values().find(|other| other.sticky().is_some_and(|it| it.cookie == sticky.cookie))
        {
            let what = format!("upstreams `{}` and `{name}` have one sticky cookie `{}`", other.name, sticky.cookie);
            let complaint = Complaint::new(what).help("each would take the other's for its own: give each a name");
            problems.at(place, complaint);
        }
        read.insert(name, Arc::new(upstream));
    }
    read
}

fn upstream(
    name: &str,
    table: &Spanned<&DeTable<'_>>,
    settings: &Settings,
    mode: Mode,
    problems: &mut Problems,
) -> Upstream {
    let mut reader = Reader::of(table, &sections::UPSTREAM, problems);
    reader.report_missing();
    let servers = servers(&mut reader);
    let table = reader.table("tls");
    let tls = table.as_ref().map(|table| tls::client(table, &sections::UPSTREAM_TLS, reader.problems));
    if let Some(table) = table
        && let Some(unix) = servers.iter().find(|server| matches!(server.get_ref().address, ServerAddress::Unix(_)))
    {
        let complaint = Complaint::new("no TLS to a unix socket").context(table.span(), "TLS to all servers");
        reader.problems.at(unix.span(), complaint.help("give it an upstream of its own, without `tls`"));
    }
    let balance = reader.choice("balance", choices::BALANCE);
    let sharing = sharing::read(&mut reader);
    Upstream {
        name: name.to_owned(),
        resolver: pools::resolver(&mut reader, &servers),
        servers: servers.into_iter().map(Spanned::into_inner).collect(),
        balance,
        affinity: pools::affinity(&mut reader, balance),
        retries: reader.count("retries"),
        resolve_interval: reader.duration_or_off("resolve_interval"),
        health: pools::health(&mut reader),
        slow_start: reader.duration_or_off("slow_start"),
        capacity: Capacity {
            max_sessions: reader.optional_count("max_sessions"),
            max_sessions_per_server: reader.optional_count("max_sessions_per_server"),
            max_handshakes_per_server: reader.optional_count("max_handshakes_per_server"),
            max_message_rate: reader.rate("max_message_rate").map(u64::from),
            max_byte_rate: reader.byte_rate("max_byte_rate"),
            max_buffered_bytes: reader.optional_size("max_buffered_bytes"),
            max_waiting: settings.max_waiting,
            max_waiting_bytes: settings.max_waiting_bytes,
            queue_timeout: settings.queue_timeout,
            retry_after: settings.retry_after,
            spread: settings.spread,
            shares: sharing.classes.iter().map(|class| class.share).collect(),
            max_tenants: reader.count("max_tenants"),
            mode,
        },
        sharing,
        announced_capacity: reader.flag("announced_capacity"),
        tls,
        proxy_protocol: reader.choice("proxy_protocol", choices::PROXY_PROTOCOL_OUT),
        endpoint_metrics: reader.flag("endpoint_metrics"),
    }
}

/// Each with the place of its address.
fn servers(reader: &mut Reader<'_, '_>) -> Vec<Spanned<Server>> {
    let mut servers: Vec<Spanned<Server>> = Vec::new();
    for element in reader.list("servers") {
        let Some(server) = server(element, reader.problems) else { continue };
        match servers.iter().find(|other| other.get_ref().address == server.get_ref().address) {
            None => servers.push(server),
            Some(first) => reader.problems.at(
                server.span(),
                Complaint::new(format!("server `{}` stands twice in this upstream", server.get_ref().address))
                    .help("for a larger share of sessions give it a `weight`")
                    .context(first.span(), "first used here"),
            ),
        }
    }
    servers
}

/// With the place of its address.
fn server(element: &Spanned<DeValue<'_>>, problems: &mut Problems) -> Option<Spanned<Server>> {
    match element.get_ref() {
        DeValue::String(text) => match addresses::server(text) {
            Ok(address) => {
                let server = Server { address, place: element.span().into(), weight: 1 };
                Some(Spanned::new(element.span(), server))
            }
            Err(complaint) => {
                problems.at(element.span(), complaint);
                None
            }
        },
        DeValue::Table(table) => {
            let mut reader = Reader::of(&Spanned::new(element.span(), table), &sections::SERVER, problems);
            reader.report_missing();
            let address = reader.text("address", addresses::server);
            let weight = reader.count("weight");
            let address = address?;
            let span = address.span();
            let server = Server { address: address.into_inner(), place: span.clone().into(), weight };
            Some(Spanned::new(span, server))
        }
        other => {
            let complaint = Complaint::new(format!("a server is a string or a table, not {}", convert::noun(other)));
            problems
                .at(element.span(), complaint.help(r#"write "host:port" or { address = "host:port", weight = 2 }"#));
            None
        }
    }
}
