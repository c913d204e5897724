//! How a client that gets no upstream is told so: by a status, or by a Close behind a 101.

use tidegate_config::OnOverload;

/// What `kubectl exec` and its like offer. A person waits there.
const KUBERNETES: &str = "v4.channel.k8s.io";

/// Whether a refusal is a status, at once, rather than a wait and a Close 1013. What the operator chose holds for every
/// client; where nothing was chosen, those get a status that are known to be better off with one.
pub(crate) fn by_status(
    chosen: Option<OnOverload>,
    query: Option<&str>,
    subprotocols: &[String],
    has_origin: bool,
) -> bool {
    match chosen {
        Some(OnOverload::Close1013) => false,
        Some(OnOverload::Http503) => true,
        // A script in a browser cannot see a status.
        Some(OnOverload::Auto) => !has_origin,
        None => speaks_engine_io(query) || subprotocols.iter().any(|offered| offered == KUBERNETES),
    }
}

/// Engine.IO (Socket.IO) says its version in every query. It notices a Close that comes before its own first packet
/// only when its connect timeout is over, after 20 s.
fn speaks_engine_io(query: Option<&str>) -> bool {
    query.is_some_and(|query| query.split('&').any(|pair| pair.starts_with("EIO=")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_choice_holds_for_all_and_a_preset_for_its_clients() {
        const ENGINE_IO: Option<&str> = Some("EIO=4&transport=websocket");
        let clients: [(Option<&str>, &[&str], bool); 8] = [
            (None, &[], false),
            (Some("transport=websocket&EIO=4"), &[], false),
            (ENGINE_IO, &[], true),
            (Some("eio=4&XEIO=4&x=EIO=4&EIO"), &[], true),
            (None, &["v5.channel.k8s.io", "v4.channel.k8s.io"], false),
            (None, &["v4.channel.k8s.io.example", "V4.CHANNEL.K8S.IO"], false),
            (None, &["graphql-transport-ws"], true),
            (Some(""), &["v4.channel.k8s.io"], true),
        ];
        let none = [false; 8];
        let by_origin = clients.map(|(_, _, has_origin)| !has_origin);
        for (chosen, expected) in [
            (Some(OnOverload::Close1013), none),
            (Some(OnOverload::Http503), none.map(|it| !it)),
            (Some(OnOverload::Auto), by_origin),
            (None, [false, true, true, false, true, false, false, true]),
        ] {
            for ((query, offered, has_origin), expected) in clients.into_iter().zip(expected) {
                let offered: Vec<String> = offered.iter().map(|&it| it.to_owned()).collect();
                let told = by_status(chosen, query, &offered, has_origin);
                assert_eq!(told, expected, "{chosen:?} {query:?} {offered:?} {has_origin}");
            }
        }
    }
}
