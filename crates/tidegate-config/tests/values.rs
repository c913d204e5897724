//! What right files say.

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use tidegate_config::{
    AccessLog, Address, Admin, Balance, ClientAuth, Config, Host, KeyPair, ListenTls, NamedPair, OnOverload, OnRemove,
    Rule, ServerAddress, Sharing, TenantBy, Tls, TlsVersion, UnknownName, UpstreamTls, example_toml, parse,
    reference_markdown,
};
use tidegate_governor::Mode;
use tidegate_session::{Farewell, LateReply, Policy};
use tidegate_wire::{CloseCode, Limits};

const SMALLEST: &str = r#"
[[listen]]
address = "0.0.0.0:8080"
[[route]]
upstream = "chat"
[upstream.chat]
servers = ["127.0.0.1:3000", "127.0.0.1:3001"]
max_sessions = 5000        # above this, clients get Close 1013
"#;

fn config(text: &str) -> Config {
    parse("tidegate.toml", text).unwrap()
}

fn tcp(host: &str, port: u16) -> ServerAddress {
    ServerAddress::Tcp { host: host.to_owned(), port }
}

#[test]
fn the_smallest_file_has_every_default() {
    let config = config(SMALLEST);
    assert_eq!(config.workers, 0);
    assert_eq!(config.listeners.len(), 1);
    assert_eq!(config.listeners[0].address, Address::Tcp(SocketAddr::from(([0, 0, 0, 0], 8080))));
    assert_eq!(config.listeners[0].tls, None);
    assert_eq!(config.drain.window, Duration::from_secs(30));
    assert_eq!(config.admin, Admin::default());
    assert_eq!(config.log.access, AccessLog::Stdout);
    assert_eq!(config.log.level, "info");
    assert_eq!(config.log.json, None);

    let [route] = &config.routes[..] else { panic!("one route") };
    assert_eq!(route.name, "/");
    assert_eq!(route.host, Host::Any);
    assert_eq!(route.path, "/");
    assert_eq!(route.subprotocol, None);
    assert!(route.origins.is_empty());
    assert_eq!(route.upstream, "chat");
    // The key table and the crates that own these types must agree.
    assert_eq!(*route.policy, Policy::default());
    assert_eq!(route.frames, Limits::default());
    assert_eq!(route.connect_timeout, Duration::from_secs(3));
    assert_eq!(route.handshake_timeout, Duration::from_secs(10));
    assert_eq!(route.on_overload, None, "as suits the client");
    assert_eq!((route.max_waiting, route.max_waiting_bytes), (20_000, 320 << 20));
    assert_eq!(route.queue_timeout, Duration::from_millis(2500));
    assert_eq!(route.retry_after, Duration::from_secs(1));
    assert_eq!(route.on_remove, OnRemove::Close);
    assert!(!route.websocket_only);
    assert_eq!(route.spread, Duration::from_secs(5));

    let upstream = &config.upstreams["chat"];
    assert_eq!(upstream.name, "chat");
    assert_eq!(upstream.balance, Balance::LeastSessions);
    assert_eq!(upstream.tls, None);
    let servers: Vec<_> = upstream.servers.iter().map(|server| (server.address.clone(), server.weight)).collect();
    assert_eq!(servers, [(tcp("127.0.0.1", 3000), 1), (tcp("127.0.0.1", 3001), 1)]);
    assert_eq!(upstream.capacity.max_sessions, Some(5000));
    assert_eq!(upstream.capacity.max_sessions_per_server, None);
    assert_eq!(upstream.capacity.max_handshakes_per_server, None);
    assert_eq!((upstream.capacity.max_waiting, upstream.capacity.max_waiting_bytes), (20_000, 320 << 20));
    assert_eq!(upstream.capacity.queue_timeout, Duration::from_millis(2500));
    assert_eq!(upstream.capacity.retry_after, Duration::from_secs(1));
    assert_eq!(upstream.capacity.spread, Duration::from_secs(5));
    assert_eq!(upstream.capacity.mode, Mode::Enforce);
}

#[test]
fn every_key_says_what_it_says() {
    let config = config(
        r#"
workers = 4
[[listen]]
address = "unix:/run/tidegate.sock"
[[listen]]
address = "[::]:8443"
tls = { certificate = "cert.pem", key = "key.pem" }
[[route]]
name = "chat"
host = "*.Example.COM"
path = "/ws/"
subprotocol = "graphql-transport-ws"
origins = ["HTTPS://App.example.com", "http://localhost:3000", "null", "http://[::1]:80"]
upstream = "chat"
upstream_lost_code = 1011
spread = "0s"
[upstream.chat]
servers = ["ws://App.internal:3000", { address = "10.0.0.1:80", weight = 256 }, "[::1]:3000"]
max_sessions_per_server = 10
max_handshakes_per_server = 2
balance = "p2c"
tls = { ca = "ca.pem", server_name = "chat.internal" }
[upstream.unused]
servers = []
tls = {}
[upstream.beside]
servers = ["unix:/run/app.sock"]
[defaults]
idle_timeout = "1h"
keepalive_interval = "off"
max_lifetime_jitter = 1
max_message_size = 0x10
frame_rate = "50/s"
control_rate = "off"
on_overload = "auto"
client_lost = "abort"
detach = "abort"
late_reply = "echo"
rewrite = { 4000 = 1012, 1001 = 0x3f4, "1000" = 4999 }
on_remove = "keep"
websocket_only = true
upstream_lost_code = 1012
spread = "9s"
queue_timeout = "0s"
[drain]
window = "1m"
[governor]
mode = "observe"
[admin]
address = "off"
socket = "unix:/run/tidegate/admin.sock"
[log]
access = "/var/log/tidegate.log"
level = "warn,tidegate_proxy=debug"
format = "pretty"
"#
        // A default port is the browser's to leave out.
        .replace("http://[::1]:80\"", "http://[::1]:81\"")
        .as_str(),
    );
    assert_eq!(config.workers, 4);
    assert_eq!(config.listeners[0].address, Address::Unix(PathBuf::from("/run/tidegate.sock")));
    assert_eq!(config.listeners[1].tls.as_ref().unwrap().default.key, "key.pem".into());
    let route = &config.routes[0];
    assert_eq!(route.name, "chat");
    assert_eq!(route.host, Host::Below(".example.com".to_owned()));
    assert_eq!(route.subprotocol.as_deref(), Some("graphql-transport-ws"));
    assert_eq!(route.origins, ["https://app.example.com", "http://localhost:3000", "null", "http://[::1]:81"]);
    let policy = &route.policy;
    assert_eq!(policy.upstream_lost_code, CloseCode::INTERNAL_ERROR, "the route goes before [defaults]");
    assert_eq!(policy.client_lost, Farewell::Abort);
    assert_eq!(policy.detach, Farewell::Abort);
    assert_eq!(policy.late_reply, LateReply::Echo);
    assert_eq!(policy.rewrite, [(1000, 4999), (1001, 1012), (4000, 1012)].map(|(a, b)| (CloseCode(a), CloseCode(b))));
    assert_eq!(policy.idle_timeout, Some(Duration::from_secs(3600)));
    assert_eq!(policy.keepalive_interval, None);
    assert!((policy.max_lifetime_jitter - 1.0).abs() < f64::EPSILON);
    assert_eq!(route.frames.max_message_size, 16);
    assert_eq!(route.frames.frame_rate, Some(50));
    assert_eq!(route.frames.control_rate, None);
    assert_eq!(route.on_overload, Some(OnOverload::Auto));
    assert_eq!(route.on_remove, OnRemove::Keep);
    assert!(route.websocket_only);
    assert_eq!(route.spread, Duration::ZERO);
    let upstream = &config.upstreams["chat"];
    let addresses: Vec<String> = upstream.servers.iter().map(|server| server.address.to_string()).collect();
    assert_eq!(addresses, ["app.internal:3000", "10.0.0.1:80", "[::1]:3000"]);
    assert_eq!(upstream.servers[1].weight, 256);
    assert_eq!(config.upstreams["beside"].servers[0].address.to_string(), "unix:/run/app.sock");
    assert_eq!(upstream.balance, Balance::PowerOfTwo);
    let trust = |ca: Option<&str>, name: Option<&str>| UpstreamTls {
        ca: ca.map(Into::into),
        server_name: name.map(str::to_owned),
        identity: None,
        min_version: TlsVersion::V1_2,
    };
    assert_eq!(upstream.tls, Some(trust(Some("ca.pem"), Some("chat.internal"))));
    assert_eq!(upstream.capacity.spread, Duration::from_secs(9), "an upstream has [defaults]");
    assert_eq!(upstream.capacity.queue_timeout, Duration::ZERO);
    assert_eq!(upstream.capacity.mode, Mode::Observe);
    assert_eq!(config.upstreams["unused"].tls, Some(trust(None, None)));
    assert_eq!(config.drain.window, Duration::from_secs(60));
    assert_eq!(config.admin.address, None);
    assert_eq!(config.log.access, AccessLog::File(PathBuf::from("/var/log/tidegate.log")));
    assert_eq!(config.log.level, "warn,tidegate_proxy=debug");
    assert_eq!(config.log.json, Some(false));
}

#[test]
fn tls_says_what_it_says() {
    let config = config(&SMALLEST.replace(
        "address = \"0.0.0.0:8080\"",
        r#"
address = "0.0.0.0:8443"
[listen.tls]
certificate = "a.pem"
key = "a.key"
sni = [{ certificate = "b.pem", key = "b.key" }, { certificate = "c.pem", key = "c.key", names = ["C.example", "*.d.example"] }]
unknown_name = "refuse"
client_ca = "ca.pem"
client_crl = "crl.pem"
client_auth = "optional"
min_version = "1.3"
[tls]
max_handshakes = 7
reload_interval = "off"
"#,
    ));
    let tls = config.listeners[0].tls.as_ref().unwrap();
    let pair = |name: &str| KeyPair {
        certificate: format!("{name}.pem").as_str().into(),
        key: format!("{name}.key").as_str().into(),
    };
    let expected = ListenTls {
        http2: true,
        default: pair("a"),
        sni: vec![
            NamedPair { pair: pair("b"), names: vec![] },
            NamedPair {
                pair: pair("c"),
                names: vec![Host::Exact("c.example".into()), Host::Below(".d.example".into())],
            },
        ],
        unknown_name: UnknownName::Refuse,
        clients: Some(ClientAuth { ca: "ca.pem".into(), crl: Some("crl.pem".into()), required: false }),
        min_version: TlsVersion::V1_3,
    };
    assert_eq!(*tls, expected);
    let expected = Tls { handshake_timeout: Duration::from_secs(10), max_handshakes: 7, reload_interval: None };
    assert_eq!(config.tls, expected);
}

#[test]
fn a_route_has_rules_of_its_own_in_place_of_the_defaults() {
    let rules = |own: &str| {
        let text = SMALLEST.replace("upstream = \"chat\"", &format!("upstream = \"chat\"\n{own}"));
        config(&format!("{text}[defaults.rewrite]\n1001 = 1012\n")).routes[0].policy.rewrite.clone()
    };
    assert_eq!(rules(""), [(CloseCode(1001), CloseCode(1012))]);
    assert_eq!(rules("rewrite = { 1011 = 1013 }"), [(CloseCode(1011), CloseCode(1013))]);
    assert_eq!(rules("rewrite = {}"), []);
    let most: String = (3000..3032).map(|code| format!("{code} = 1012, ")).collect();
    assert_eq!(rules(&format!("rewrite = {{ {} }}", most.trim_end_matches(", "))).len(), 32);
}

#[test]
fn the_examples_of_deploy_are_right() {
    let directory = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../deploy/examples");
    let mut read = 0;
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        parse(&path.display().to_string(), &std::fs::read_to_string(&path).unwrap()).unwrap();
        read += 1;
    }
    assert!(read >= 6);
}

#[test]
fn a_kernel_chosen_port_is_nobody_elses() {
    config(&format!("{}[admin]\naddress = \"127.0.0.1:0\"\n", SMALLEST.replace("0.0.0.0:8080", "127.0.0.1:0")));
}

#[test]
fn limits_of_what_goes_through_are_of_the_upstream() {
    let limits = |keys: &str| {
        let limits = config(&format!("{SMALLEST}{keys}\n")).upstreams["chat"].capacity.clone();
        (limits.max_message_rate, limits.max_byte_rate, limits.max_buffered_bytes)
    };
    assert_eq!(limits(""), (None, None, None));
    let all = "max_message_rate = \"50000/s\"\nmax_byte_rate = \"64MiB/s\"\nmax_buffered_bytes = 4096";
    assert_eq!(limits(all), (Some(50_000), Some(64 << 20), Some(4096)));
}

#[test]
fn classes_and_tenants_say_what_they_say() {
    let upstream = |keys: &str| config(&format!("{SMALLEST}{keys}\n")).upstreams.values().next().unwrap().clone();
    let plain = upstream("");
    assert_eq!(plain.sharing, Sharing::default());
    assert_eq!(plain.sharing.shares().collect::<Vec<_>>(), [("default", 1.0)]);
    assert_eq!((plain.capacity.shares.len(), plain.capacity.max_tenants), (0, 10_000));
    for (text, by) in [
        ("client_ip", TenantBy::ClientIp),
        ("host", TenantBy::Host),
        ("path:2", TenantBy::Path(2)),
        ("header:X-Tenant", TenantBy::Header("x-tenant".into())),
        ("cookie:Team", TenantBy::Cookie("Team".into())),
    ] {
        assert_eq!(upstream(&format!("tenant = \"{text}\"")).sharing.tenant, Some(by));
    }
    let full = upstream(
        "tenant = \"host\"\nmax_tenants = 5\n\
         [[upstream.chat.classes]]\nname = \"paying\"\nshare = 0.5\n\
         clients = [\"header:X-Plan=a=b\", \"cookie:Plan\", \"client_ip:10.0.0.0/8\", \"client_ip:::1\"]\n\
         [[upstream.chat.classes]]\nname = \"staff\"\nshare = 0.2\nclients = [\"path:/staff\"]",
    );
    let [paying, staff] = &full.sharing.classes[..] else { panic!("{full:?}") };
    let net = |text: &str| Rule::ClientIp(text.parse().unwrap());
    assert_eq!(
        paying.clients,
        [
            Rule::Header("x-plan".into(), Some("a=b".into())),
            Rule::Cookie("Plan".into(), None),
            net("10.0.0.0/8"),
            net("::1/128"),
        ]
    );
    assert_eq!((staff.name.as_str(), &staff.clients[..]), ("staff", &[Rule::Path("/staff".into())][..]));
    assert_eq!(full.capacity.shares, [0.5, 0.2]);
    assert_eq!(full.capacity.max_tenants, 5);
    let shares: Vec<(&str, f64)> = full.sharing.shares().collect();
    assert_eq!(shares[..2], [("paying", 0.5), ("staff", 0.2)]);
    assert!(shares[2].0 == "default" && (shares[2].1 - 0.3).abs() < 1e-9);
}

/// The example with its commented-out keys.
fn uncommented_example() -> String {
    let uncomment = |line: &str| match line.strip_prefix('#') {
        Some(rest) if !rest.starts_with(' ') => rest.to_owned(),
        _ => line.to_owned(),
    };
    example_toml().lines().map(|line| uncomment(line) + "\n").collect()
}

#[test]
fn the_example_parses_with_and_without_its_comments() {
    let plain = config(example_toml());
    let full = config(&uncommented_example());
    assert_eq!(full.routes[0].name, "chat");
    // What has a default says just that.
    assert_eq!(plain.routes[0].policy, full.routes[0].policy);
    assert_eq!(plain.routes[0].frames, full.routes[0].frames);
    assert_eq!(
        (plain.workers, &plain.admin, &plain.log, plain.drain, plain.tls),
        (full.workers, &full.admin, &full.log, full.drain, full.tls)
    );
}

#[test]
fn the_example_and_the_reference_have_the_same_keys_and_defaults() {
    let example = uncommented_example();
    let reference = reference_markdown();
    let mut keys = 0;
    let mut section = "";
    let mut key = "";
    for line in reference.lines() {
        if let Some(title) = line.strip_prefix("## ") {
            section = title;
        } else if let Some(name) = line.strip_prefix("### ") {
            keys += 1;
            key = name.trim_matches('`');
            assert!(example.contains(key), "{section} {key} is missing in the example");
        } else if let Some(default) = line.strip_prefix("- Default: `") {
            let (default, _) = default.split_once("`. ").expect("a default and its reason");
            let on_its_own = example.contains(&format!("\n{key} = {default}\n"));
            let in_a_table = example.contains(&format!(", {key} = {default}"));
            let is_written = key == "weight" || on_its_own || in_a_table;
            assert!(is_written, "{section} {key} = {default} is not in the example");
        }
    }
    assert!(keys > 50, "the reference is read: {keys}");
}
