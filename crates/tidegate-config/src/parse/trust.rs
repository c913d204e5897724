//! `trusted_proxies` of a listener, and the keys that mean nothing without.

use toml::Spanned;

use crate::{
    addresses, choices,
    config::{Address, Proxy, Trust},
    errors::Complaint,
    reader::Reader,
};

/// What the listener at `address` (`None`: it could not be read) believes of those who connect to it.
pub(super) fn read(reader: &mut Reader<'_, '_>, address: Option<&Address>) -> Trust {
    let problems_before = reader.problems.len();
    let listed = reader.texts("trusted_proxies", addresses::proxy);
    if let Some(span) = reader.empty_list("trusted_proxies") {
        let complaint = Complaint::new("`trusted_proxies` is empty").help("leave it out to trust nobody");
        reader.problems.at(span, complaint);
    }
    let is_clean = reader.problems.len() == problems_before;
    let proxy_protocol = reader.choice("proxy_protocol", choices::PROXY_PROTOCOL);
    let header = reader.choice("forwarded_header", choices::FORWARDED_HEADER);
    let on_unix_socket = matches!(address, Some(Address::Unix(_)));
    for proxy in listed.iter().filter(|proxy| *proxy.get_ref() == Proxy::Unix) {
        if address.is_some() && !on_unix_socket {
            let complaint = Complaint::new("`unix:` in `trusted_proxies`, but this listener is no unix socket");
            reader.problems.at(proxy.span(), complaint.help("list the addresses that proxies connect from"));
        }
    }
    if proxy_protocol.is_some()
        && on_unix_socket
        && !listed.is_empty()
        && listed.iter().all(|proxy| *proxy.get_ref() != Proxy::Unix)
        && let Some(span) = reader.span("proxy_protocol")
    {
        let complaint = Complaint::new("`proxy_protocol` on a unix socket that `trusted_proxies` does not trust");
        reader
            .problems
            .at(span, complaint.help("add \"unix:\" to `trusted_proxies`: else every connection is refused"));
    }
    if listed.is_empty() && is_clean {
        if proxy_protocol.is_some()
            && let Some(span) = reader.span("proxy_protocol")
        {
            reader.problems.at(
                span,
                Complaint::new("`proxy_protocol` needs `trusted_proxies`")
                    .help("list who may say who the client is: trusted_proxies = [\"10.0.0.0/8\"]"),
            );
        }
        if let Some(span) = reader.span("forwarded_header") {
            reader.problems.at(
                span,
                Complaint::new("`forwarded_header` means nothing without `trusted_proxies`")
                    .help("list who may say who the client is: trusted_proxies = [\"10.0.0.0/8\"]"),
            );
        }
    }
    Trust { proxies: listed.into_iter().map(Spanned::into_inner).collect(), proxy_protocol, header }
}
