//! Every mistake is told where it stands.

use tidegate_config::{Errors, MAX_FILE_SIZE, parse};

/// A valid file of ten lines; what is under test goes after it, from line 11 on, inside `[upstream.chat]`.
const BASE: &str = "\
[[listen]]
address = \"0.0.0.0:8080\"

[[route]]
upstream = \"chat\"
path = \"/ws\"
# 7
# 8
[upstream.chat]
servers = [\"127.0.0.1:3000\"]
";

fn errors(text: &str) -> Errors {
    parse("tidegate.toml", text).expect_err(text)
}

/// Exactly one mistake, at this place, whose message or help holds the text.
#[track_caller]
fn check(text: &str, line: usize, column: usize, expected: &str) {
    let errors = errors(text);
    let mistakes: Vec<_> = errors.iter().collect();
    assert_eq!(mistakes.len(), 1, "{errors}");
    let mistake = mistakes[0];
    assert_eq!((mistake.line, mistake.column), (line, column), "{errors}");
    let told = format!("{}\n{}", mistake.message, mistake.help.unwrap_or_default());
    assert!(told.contains(expected), "`{expected}` is not told:\n{errors}");
    if line > 1 {
        // What is drawn agrees with what is counted.
        assert!(errors.to_string().contains(&format!("tidegate.toml:{line}:{column}")), "{errors}");
    }
}

/// `line` stands at line 11, in `[upstream.chat]`.
#[track_caller]
fn check_upstream(line: &str, column: usize, expected: &str) {
    check(&format!("{BASE}{line}\n"), 11, column, expected);
}

/// `line` stands at line 12, in a table.
#[track_caller]
fn check_in(table: &str, line: &str, column: usize, expected: &str) {
    check(&format!("{BASE}{table}\n{line}\n"), 12, column, expected);
}

/// `line` stands at line 7, in the `[[route]]`.
#[track_caller]
fn check_route(line: &str, column: usize, expected: &str) {
    check(&BASE.replace("# 7", line), 7, column, expected);
}

/// `line` stands at line 3, in the `[[listen]]`.
#[track_caller]
fn check_listener(line: &str, column: usize, expected: &str) {
    check(&BASE.replace("\n\n[[route]]", &format!("\n{line}\n[[route]]")), 3, column, expected);
}

/// The route's path, in line 6.
#[track_caller]
fn check_path(path: &str, expected: &str) {
    check(&BASE.replace("\"/ws\"", path), 6, 8, expected);
}

/// The listener's address, in line 2.
#[track_caller]
fn check_listen(address: &str, expected: &str) {
    check(&BASE.replace("\"0.0.0.0:8080\"", address), 2, 11, expected);
}

/// More of the listener's TLS, in line 3, told wherever it stands there.
#[track_caller]
fn check_listen_tls(more: &str, expected: &str) {
    let tls = format!("8080\"\ntls = {{ certificate = \"cert.pem\", key = \"key.pem\", {more} }}\n");
    let errors = errors(&BASE.replace("8080\"\n", &tls));
    let mistakes: Vec<_> = errors.iter().collect();
    assert_eq!((mistakes.len(), mistakes[0].line), (1, 3), "{errors}");
    assert!(mistakes[0].column >= 47, "{errors}");
    let told = format!("{}\n{}", mistakes[0].message, mistakes[0].help.unwrap_or_default());
    assert!(told.contains(expected), "`{expected}` is not told:\n{errors}");
}

/// The only server, in line 10.
#[track_caller]
fn check_server(server: &str, expected: &str) {
    check(&BASE.replace("\"127.0.0.1:3000\"", server), 10, 12, expected);
}

#[test]
fn the_base_is_right() {
    parse("tidegate.toml", BASE).unwrap();
}

#[test]
fn syntax() {
    check(&format!("{BASE}max_sessions =\n"), 11, 15, "value");
    check(&BASE.replace("[[route]]", "[[route]"), 4, 9, "array table");
    check(&BASE.replace("# 7", "path = \"/b\""), 7, 1, "duplicate key");
    check(&BASE.replace("path = \"/ws\"", "path = \"/ws"), 6, 12, "string");
}

#[test]
fn unknown_keys() {
    check_upstream("max_sesions = 5000", 1, "did you mean `max_sessions`?");
    check_upstream("queue_timeout = \"1s\"", 1, "`queue_timeout` belongs to [defaults]");
    check_upstream("zzz = 1", 1, "unknown key `zzz` in [upstream.NAME]");
    check_upstream("announced_capacity = 1", 22, "`announced_capacity`");
    check_upstream("endpoint_metrics = \"on\"", 20, "`endpoint_metrics`");
    check_route("conect_timeout = \"1s\"", 1, "did you mean `connect_timeout`?");
    check_in("[defaults]", "keepalive = \"1s\"", 1, "unknown key `keepalive` in [defaults]");
    check_in("[log]", "acess = \"off\"", 1, "did you mean `access`?");
    check(&format!("worker = 2\n{BASE}"), 1, 1, "did you mean `workers`?");
    check(&format!("{BASE}[dran]\n"), 11, 2, "did you mean `drain`?");
    check_listener("client_ca = \"ca.pem\"", 1, "`client_ca` belongs to [[listen]] tls");
}

#[test]
fn tls() {
    check_listen_tls("client_auth = \"optional\"", "`client_auth` says nothing without `client_ca`");
    check_listen_tls("client_crl = \"crl.pem\"", "`client_crl` says nothing without `client_ca`");
    check_listen_tls("unknown_name = \"deny\"", "must be \"default\" or \"refuse\"");
    check_listen_tls("client_ca = \"ca\", client_auth = true", "must be \"required\" or \"optional\", not a boolean");
    check_listen_tls("cipher_suites = \"HIGH\"", "unknown key `cipher_suites` in [[listen]] tls");
    check_listen_tls("sni = \"b.pem\"", "must be an array of tables, not a string");
    check_listen_tls("sni = [{ certificate = \"b.pem\" }]", "missing key `key` in [[listen]] tls sni");
    check_listen_tls("sni = [{ certificate = \"b\", key = \"k\", names = [] }]", "a certificate for no name");
    check_listen_tls("sni = [{ certificate = \"b\", key = \"k\", names = [\"*\"] }]", "`*` alone is not a host");
    let unix = BASE.replace("0.0.0.0:8080\"\n", "unix:/run/a.sock\"\ntls = { certificate = \"c\", key = \"k\" }\n");
    check(&unix, 3, 7, "no TLS on a unix socket");
    check_in("[tls]", "max_handshakes = 0", 18, "1 to 1000000");
    check_in("[tls]", "handshake_timeout = \"off\"", 21, "cannot be \"off\"");
    check_in("[tls]", "reload_interval = 10", 19, "a duration such as");
}

#[test]
fn missing_keys() {
    check("[[listen]]\naddress = \"[::]:1\"\n", 1, 1, "no [[route]]");
    check(&BASE.replace("[[listen]]\naddress = \"0.0.0.0:8080\"", "#\n#"), 1, 1, "no [[listen]]");
    check(&BASE.replace("[[listen]]\naddress = \"0.0.0.0:8080\"", "listen = []"), 1, 10, "no [[listen]]");
    check(&BASE.replace("upstream = \"chat\"", "#"), 4, 1, "missing key `upstream` in [[route]]");
    check(&BASE.replace("servers = [", "# ["), 9, 1, "missing key `servers`");
    check(&BASE.replace("address = \"0.0.0.0:8080\"", "#"), 1, 1, "missing key `address`");
    check_server("{ weight = 2 }", "missing key `address`");
    let tls = BASE.replace("8080\"\n", "8080\"\ntls = { certificate = \"cert.pem\" }\n");
    check(&tls, 3, 7, "missing key `key` in [[listen]] tls");
}

#[test]
fn durations() {
    check_in("[drain]", "window = 30", 10, "durations are strings with a unit: \"30s\"");
    check_in("[drain]", "window = \"30\"", 10, "must be a duration such as \"5s\", not \"30\"");
    check_in("[drain]", "window = \"1.5s\"", 10, "a whole number and one of ms, s, m, h");
    check_in("[drain]", "window = \"off\"", 10, "`window` cannot be \"off\"");
    check_in("[drain]", "window = \"87601h\"", 10, "out of bounds: 0s to 87600h");
    check_in("[defaults]", "connect_timeout = \"0s\"", 19, "out of bounds: 1ms to 87600h");
    check_in("[defaults]", "idle_timeout = \"0s\"", 16, "to switch it off write \"off\"");
    check_in("[defaults]", "retry_after = \"500ms\"", 15, "out of bounds: 1s to 24h");
    check_route("close_timeout = true", 17, "must be a duration such as \"5s\", not a boolean");
}

#[test]
fn numbers() {
    check_in("[defaults]", "max_message_size = \"64MB\"", 20, "one of B, KiB, MiB, GiB");
    check_in("[defaults]", "max_message_size = 0", 20, "out of bounds: 1B to 1024GiB");
    check_in("[defaults]", "max_message_size = \"1025GiB\"", 20, "out of bounds");
    check_in("[defaults]", "max_fragments = 0", 17, "out of bounds: 1 to 4294967295");
    check_in("[defaults]", "max_waiting = -1", 15, "out of bounds: 0 to 1000000");
    check_in("[defaults]", "max_waiting = 99999999999999999999999", 15, "out of bounds");
    check_in("[defaults]", "max_waiting = \"10\"", 15, "without quotes: 10");
    check_in("[defaults]", "max_waiting_bytes = \"0B\"", 21, "out of bounds");
    check_in("[defaults]", "frame_rate = 100", 14, "rates are strings: \"100/s\"");
    check_in("[defaults]", "frame_rate = \"100/m\"", 14, "a whole number a second");
    check_in("[defaults]", "control_rate = \"0/s\"", 16, "out of bounds: 1/s to 1000000/s");
    check_in("[defaults]", "max_lifetime_jitter = 1.5", 23, "must be a number from 0 to 1");
    check_in("[defaults]", "max_lifetime_jitter = nan", 23, "must be a number from 0 to 1");
    check_in("[defaults]", "max_lifetime_jitter = 2", 23, "must be a number from 0 to 1");
    check_upstream("max_sessions = 0", 16, "out of bounds: 1 to");
    check_upstream("max_sessions = 1.5", 16, "must be a whole number, not a fraction");
    check(&format!("workers = 5000\n{BASE}"), 1, 11, "out of bounds: 0 to 1024");
}

#[test]
fn choices() {
    check_in("[defaults]", "on_overload = 503", 15, "write \"503\"");
    check_in("[defaults]", "on_overload = \"1012\"", 15, "must be \"1013\", \"503\" or \"auto\", not \"1012\"");
    check_in("[defaults]", "upstream_lost_code = \"1011\"", 22, "write 1011");
    check_in("[defaults]", "upstream_lost_code = 1000", 22, "must be 1014, 1011 or 1012");
    check_in("[defaults]", "client_lost = \"abrot\"", 15, "did you mean \"abort\"?");
    check_in("[defaults]", "detach = 1012", 10, "must be 1001, 1011 or \"abort\"");
    check_in("[defaults]", "late_reply = false", 14, "not a boolean");
    check_in("[defaults]", "on_remove = \"drop\"", 13, "must be \"close\" or \"keep\"");
    check_in("[defaults]", "validate_utf8 = \"true\"", 17, "without quotes: true");
    check_in("[governor]", "mode = \"off\"", 8, "must be \"enforce\" or \"observe\"");
    check_in("[log]", "format = \"jsn\"", 10, "did you mean \"json\"?");
    check_upstream("balance = \"rr\"", 11, "must be \"least_sessions\", \"p2c\", \"round_robin\" or \"hash\"");
}

#[test]
fn rewrites() {
    check_in("[defaults]", "rewrite = 1012", 11, "must be a table such as { 1001 = 1012 }, not a number");
    check_route("rewrite = { 1001 = 1000 }", 20, "never said unless the upstream said it");
    check_route("rewrite = { 1001 = 1012, 1006 = 1014 }", 26, "holds `1006`, which no upstream can close with");
    check_route("rewrite = { 01001 = 1012 }", 13, "1000 to 1003, 1007 to 1014 or 3000 to 4999");
    check_route("rewrite = { away = 1012 }", 13, "holds `away`");
    check_route("rewrite = { 1001 = \"1012\" }", 20, "without quotes: 1012");
    check_route("rewrite = { 1001 = true }", 20, "must hold close codes, not a boolean");
    check_route("rewrite = { 1001.1 = 1012 }", 13, "must hold close codes, not a table");
    check_route("rewrite = { 1001 = 1001 }", 20, "it changes nothing");
    check_route("rewrite = { 1001 = 1012, 1001 = 1013 }", 26, "duplicate key");
    for code in ["1003", "1004", "1005", "1006", "1010", "1015", "2999", "5000", "-1", "70000"] {
        check_route(&format!("rewrite = {{ 4000 = {code} }}"), 20, &format!("to {code}: no client can be told that"));
        if code != "1003" && code != "1010" {
            check_route(&format!("rewrite = {{ {code} = 1012 }}"), 13, &format!("holds `{code}`"));
        }
    }
    let many: Vec<String> = (3000..3033).map(|code| format!("{code} = 1012")).collect();
    check_route(&format!("rewrite = {{ {} }}", many.join(", ")), 11, "more than 32 rules");
}

#[test]
fn listeners() {
    check_listen("\"localhost:8080\"", "write \"127.0.0.1:8080\"");
    check_listen("\":8080\"", "\"0.0.0.0:8080\" or \"[::]:8080\"");
    check_listen("8080", "must be an address such as \"0.0.0.0:8080\"");
    check_listen("\"0.0.0.0:70000\"", "is not an IP address and port");
    check_listen("\"/run/tidegate.sock\"", "write \"unix:/run/tidegate.sock\"");
    check_listen("\"unix:\"", "not the path of a unix socket");
    check_listen("\"::1\"", "write \"[::1]:8080\"");
    check_listen(&format!("\"unix:/{}\"", "x".repeat(107)), "at most 107 bytes");
    let listen = |key: &str| BASE.replacen("8080\"\n", &format!("8080\"\n{key}\n"), 1);
    check(&listen("http2 = true"), 3, 9, "HTTP/2 is spoken over TLS only");
    check(&listen("http2_max_streams = 0"), 3, 21, "is out of bounds: 1 to 1000");
    check_in("[[listen]]", "address = \"0.0.0.0:8080\"", 11, "two [[listen]] have the address `0.0.0.0:8080`");
    check_in("[admin]", "address = \"0.0.0.0:8080\"", 11, "[admin] and a [[listen]] have the address");
    check(&BASE.replace("0.0.0.0:8080", "127.0.0.1:9180"), 2, 11, "[admin] is there by default");
    check_in("[admin]", "socket = \"on\"", 10, "is not the path of a unix socket");
    check_in("[admin]", "socket = \"127.0.0.1:9181\"", 10, "commands are taken on a unix socket only");
    check(
        &format!("{BASE}[admin]\naddress = \"unix:/run/a\"\nsocket = \"/run/a\"\n"),
        13,
        10,
        "set `address = \"off\"`",
    );
    check(
        &format!("{BASE}[admin]\nsocket = \"/run/a\"\n", BASE = BASE.replace("0.0.0.0:8080", "unix:/run/a")),
        12,
        10,
        "[admin] socket and a [[listen]] have the address",
    );
    check(&BASE.replace("[[listen]]", "[listen]"), 1, 1, "write `[[listen]]`");
}

#[test]
fn trusted_proxies() {
    let check = |proxy: &str, expected: &str| check_listener(&format!("trusted_proxies = [{proxy}]"), 20, expected);
    check("\"10.0.0.0/33\"", "a number of bits, 0 to 32");
    check("\"fd00::/129\"", "a number of bits, 0 to 128");
    check("\"10.0.0.1/8\"", "write \"10.0.0.0/8\"");
    check("\"lb.internal\"", "names are not looked up here");
    check("\"lb.internal/8\"", "no IP address stands before the `/`");
    check("\"10.0.0.1:80\"", "write \"10.0.0.1\"");
    check("\"unix:\"", "this listener is no unix socket");
    check("10", "must hold strings, not a number");
    check_listener("trusted_proxies = []", 19, "`trusted_proxies` is empty");
    check_listener("trusted_proxies = \"10.0.0.0/8\"", 19, "must be an array of addresses and networks");
    check_listener("proxy_protocol = \"v1\"", 18, "`proxy_protocol` needs `trusted_proxies`");
    check_listener("proxy_protocol = true", 18, "must be \"off\", \"v1v2\", \"v1\" or \"v2\"");
    check_listener("forwarded_header = \"forwarded\"", 20, "means nothing without `trusted_proxies`");
    let unix = BASE.replace(
        "\"0.0.0.0:8080\"",
        "\"unix:/run/t.sock\"\ntrusted_proxies = [\"10.0.0.0/8\"]\nproxy_protocol = \"v2\"",
    );
    self::check(&unix, 4, 18, "add \"unix:\" to `trusted_proxies`");
    check_upstream("proxy_protocol = \"v1\"", 18, "must be \"off\" or \"v2\"");
    check_route("forward_as = \"x-real-ip\"", 14, "must be \"x-forwarded\", \"forwarded\" or \"both\"");
}

#[test]
fn routes() {
    check(&BASE.replace("upstream = \"chat\"", "upstream = \"chta\""), 5, 12, "did you mean `chat`?");
    check(&BASE.replace("upstream = \"chat\"", "upstream = \"games\""), 5, 12, "define it: `[upstream.games]`");
    check_path("\"ws\"", "write \"/ws\"");
    check_path("\"\"", "a path starts with `/`");
    check_path("\"/a//b\"", "a path holds no `//`");
    check_path("\"/a/../b\"", "no `.` and `..` segments");
    check_path("\"/a%2fb\"", "a path holds no `%`");
    check_path("\"/a?b\"", "a path holds no `?`");
    check_path("\"/a#b\"", "a path holds no `#`");
    check_path("\"/a\\tb\"", "a path holds no '\\t'");
    check_path("7", "`path` must be a path, not a number");
    check_route("host = \"example.com:80\"", 8, "leave out the port");
    check_route("host = \"https://example.com\"", 8, "a host has no scheme");
    check_route("host = \"a.*.com\"", 8, "stands only at the beginning");
    check_route("host = \"*\"", 8, "leave `host` out");
    check_route("host = \"bücher.example\"", 8, "punycode");
    check_route("host = \"a..b\"", 8, "each part between dots");
    check_route("host = \"example.com.\"", 8, "write \"example.com\"");
    check_route("headers = [\"X-Beta\"]", 11, "a route with `headers` needs a `name`");
    check_route("headers = []\nname = \"a\"", 11, "`headers` is empty");
    check_route("headers = [\"X Beta: 1\"]\nname = \"a\"", 12, "is not the name of one");
    check_route("headers = [\"X-Beta:\"]\nname = \"a\"", 12, "for one with any value write \"X-Beta\"");
    check_route("headers = [\"X-Beta: \u{e4}\"]\nname = \"a\"", 12, "visible ASCII characters and spaces");
    check_route("headers = [\"Host: a\"]\nname = \"a\"", 12, "write `host = ...`");
    check_route("origins = [\"https://a.example/\"]", 12, "write \"https://a.example\"");
    check_route("origins = [\"https://a.example:443\"]", 12, "browsers leave out the default port");
    check_route("origins = [\"null\", \"a.example\"]", 20, "write \"https://a.example\"");
    check_route("origins = [\"*\"]", 12, "leave `origins` out");
    check_route("origins = [\"https://*.com\"]", 12, "covers more than one site");
    check_route("origins = [\"https://a.*.com\"]", 12, "stands only at the beginning");
    check_route("max_sessions_per_ip = 0", 23, "out of bounds: 1 to");
    check_route("handshake_rate_per_ip = 5", 25, "rates are strings: \"5/s\"");
    check_route("handshake_burst_per_ip = \"5\"", 26, "without quotes: 5");
    check_route("on_ip_limit = 429", 15, "write \"429\"");
    check_route("origins = []", 11, "`origins` is empty");
    check_route("origins = [1]", 12, "`origins` must hold strings, not a number");
    check_route("origins = \"https://a.example\"", 11, "must be an array of origins, not a string");
    check_route("subprotocol = \"a, b\"", 15, "it is one token");
    check_route("name = \"_none\"", 8, "does not start with `_`");
    check_route("name = \"my chat\"", 8, "only visible ASCII");
    check_route("name = \"\"", 8, "1 to 128 characters");
}

#[test]
fn tokens_and_auth_servers() {
    check_route("jwt = { algorithm = \"RS256\" }", 7, "missing key `key` in [[route]] jwt");
    check_route("jwt = { key = \"a.pem\" }", 7, "missing key `algorithm` in [[route]] jwt");
    check_route("jwt = \"a.pem\"", 7, "`jwt` must be a table, not a string");
    let jwt = |keys: &str| format!("jwt = {{ key = \"a.pem\", {keys} }}");
    check_route(&jwt("algorithm = \"none\""), 36, "must be \"HS256\", \"HS384\"");
    check_route(&jwt("algorithm = \"RS265\""), 36, "did you mean \"RS256\"?");
    check_route(&jwt("algorithm = \"EdDSA\", leeway = 30"), 54, "durations are strings with a unit: \"30s\"");
    check_route(&jwt("algorithm = \"EdDSA\", leeway = \"2h\""), 54, "out of bounds: 0s to 1h");
    check_route(&jwt("algorithm = \"EdDSA\", cookie = \"a b\""), 54, "is not the name of a cookie");
    check_route(&jwt("algorithm = \"EdDSA\", query = \"\""), 53, "is not the name of a query parameter");
    check_route(&jwt("algorithm = \"EdDSA\", issuer = \"\""), 54, "leave the key out to allow any");
    check_route(&jwt("algorithm = \"EdDSA\", isuer = \"us\""), 45, "did you mean `issuer`?");
    check_in("[defaults]", "jwt = { key = \"a\", algorithm = \"EdDSA\" }", 1, "belongs to [[route]]");
    check_route("forward_auth = {}", 16, "missing key `url`");
    let auth = |keys: &str| format!("forward_auth = {{ url = {keys} }}");
    check_route(&auth("\"127.0.0.1:9000\""), 24, "write \"http://127.0.0.1:9000\"");
    check_route(&auth("\"http://a.example/v\", tls = {}"), 52, "`tls` says nothing to a server at `http://`");
    check_route(&auth("\"https://a.example/v\", tls = { insecure = true }"), 55, "a certificate is always verified");
    check_route(
        &auth("\"https://a.example/v\", tls = { key = \"k\" }"),
        61,
        "`key` says nothing without `certificate`",
    );
    check_route(&auth("\"ftp://a.example\""), 24, "it is neither http nor https");
    check_route(&auth("\"http://a b/v\""), 24, "is not a host name");
    check_route(&auth("\"http://a:0/v\""), 24, "is not a port");
    check_route(&auth("\"http://a/é\""), 24, "must be percent-encoded");
    check_route(&auth("\"http://a\", timeout = \"off\""), 46, "`timeout` cannot be \"off\"");
    check_route(&auth("\"http://a\", response_headers = [\"Host\"]"), 56, "cannot be an auth server's to say");
    check_route(&auth("\"http://a\", response_headers = [\"X User\"]"), 56, "is not the name of a header field");
    check_route(&auth("\"http://a\", response_headers = \"X-User\""), 55, "must be an array of names of header fields");
}

#[test]
fn routes_that_clash() {
    let second = |keys: &str| format!("{BASE}[[route]]\nupstream = \"chat\"\n{keys}\n");
    check(&second("path = \"/ws\""), 11, 1, "match the same host, path, subprotocol and headers");
    check(&second("name = \"/ws\""), 13, 8, "two routes have the name `/ws`");
    // One that cannot be read clashes with nothing.
    check(&second("path = \"/ws\"\nhost = \"*\""), 14, 8, "leave `host` out");
}

#[test]
fn servers() {
    check_server("\"127.0.0.1\"", "write \"127.0.0.1:3000\"");
    check_server("\"127.0.0.1:0\"", "is not a port: 1 to 65535");
    check_server("\"127.0.0.1:65536\"", "is not a port");
    check_server("\"wss://a.example:443\"", "write \"a.example:443\" and add `tls = {}`");
    check_server("\"http://a.example:80\"", "a server has no scheme `http`");
    check_server("\"ws://a.example:80/ws\"", "it has a path");
    check_server("\"[::g]:80\"", "is not an IPv6 address");
    check_server("\"::1:80\"", "an IPv6 address stands in brackets");
    check_server("\"my host:80\"", "is not a host name");
    check_server("3000", "a server is a string or a table, not a number");
    check(&BASE.replace(":3000\"", ":3000\", \"ws://127.0.0.1:3000\""), 10, 30, "stands twice");
    check(
        &BASE.replace("\"127.0.0.1:3000\"", "{ address = \"a:1\", weight = 257 }"),
        10,
        40,
        "out of bounds: 1 to 256",
    );
    check(&BASE.replace("[\"127.0.0.1:3000\"]", "\"127.0.0.1:3000\""), 10, 11, "must be an array of servers");
    check_upstream("tls = true", 7, "must be a table, not a boolean");
    check_upstream("tls = { server_name = \"a b\" }", 23, "is not a host name");
    check_upstream("tls = { certificate = \"a\" }", 23, "`certificate` says nothing without `key`");
    check_upstream("tls = { key = \"a\" }", 15, "`key` says nothing without `certificate`");
    check_upstream("tls = { insecure_skip_verify = true }", 9, "a certificate is always verified");
    check_upstream("tls = { min_version = \"1.1\" }", 23, "must be \"1.2\" or \"1.3\"");
    check_upstream("tls = { min_version = 1.3 }", 23, "must be \"1.2\" or \"1.3\"");
    let unix = BASE.replace("127.0.0.1:3000", "unix:/run/app.sock");
    check(&format!("{unix}tls = {{}}\n"), 10, 12, "no TLS to a unix socket");
    check(&format!("{BASE}[upstream]\nservers = []\n"), 12, 1, "`[upstream.NAME]`");
    check(&format!("{BASE}[upstream.\"a b\"]\nservers = []\n"), 11, 11, "only visible ASCII");
}

#[test]
fn where_clients_go() {
    check_upstream("balance = \"hash\"", 11, "needs `hash_on`");
    check_upstream("hash_on = \"client_ip\"", 11, "does nothing without `balance = \"hash\"`");
    let hash = |on: &str| format!("balance = \"hash\"\nhash_on = {on}");
    check(&format!("{BASE}{}\n", hash("\"ip\"")), 12, 11, "write \"client_ip\", \"header:NAME\"");
    check(&format!("{BASE}{}\n", hash("\"header:a b\"")), 12, 11, "`a b` is not the name of a header");
    check(&format!("{BASE}{}\n", hash("\"cookie:\"")), 12, 11, "is not the name of a cookie");
    let both = format!("{}\nsticky = {{ cookie = \"a\" }}", hash("\"client_ip\""));
    check(&format!("{BASE}{both}\n"), 13, 10, "both say where a client goes");
    check_upstream("sticky = true", 10, "must be a table");
    check_upstream("sticky = { path = \"/\" }", 10, "missing key `cookie`");
    check_upstream("sticky = { cookie = \"a=b\" }", 21, "is not the name of a cookie");
    check_upstream("sticky = { cookie = \"a\", secret = \"short\" }", 35, "16 to 128 characters");
    check_upstream("sticky = { cookie = \"a\", path = \"x;y\" }", 33, "a path starts with `/`");
    check_upstream("sticky = { cookie = \"a\", max_age = \"0s\" }", 36, "to switch it off write \"off\"");
    check_upstream("sticky = { cookie = \"a\", same_site = \"none\" }", 38, "add `secure = \"always\"`");
    check_upstream("sticky = { cookie = \"a\", same_site = \"no\" }", 38, "did you mean");
    check_upstream("sticky = { cookie = \"__Host-a\" }", 21, "that is not secure");
    check_upstream("sticky = { cookie = \"__Host-a\", secure = \"always\", path = \"/a\" }", 21, "with a path");
    check_upstream("slow_start = \"10ms\"", 14, "out of bounds: 1s to 87600h");
    let second = "sticky = { cookie = \"a\" }\n[upstream.games]\nservers = []\nsticky = { cookie = \"a\" }\n";
    check(&format!("{BASE}{second}"), 12, 11, "have one sticky cookie `a`");
}

#[test]
fn what_goes_through() {
    check_upstream("max_message_rate = 100", 20, "rates are strings: \"100/s\"");
    check_upstream("max_message_rate = \"0/s\"", 20, "out of bounds: 1/s to 4294967295/s");
    check_upstream("max_byte_rate = \"64MB/s\"", 17, "one of B, KiB, MiB, GiB, a second");
    check_upstream("max_byte_rate = \"64MiB\"", 17, "must be a rate such as \"64MiB/s\", or \"off\"");
    check_upstream("max_byte_rate = \"2048GiB/s\"", 17, "out of bounds: 1B/s to 1024GiB/s");
    check_upstream("max_byte_rate = 5", 17, "rates are strings: \"5B/s\"");
    check_upstream("max_buffered_bytes = \"off\"", 22, "must be a size such as");
}

#[test]
fn whose_turn_it_is() {
    let tenant = |by: &str, expected| check_upstream(&format!("tenant = \"{by}\""), 10, expected);
    tenant("ip", "write one of client_ip, host, path:N");
    tenant("haeder:x", "did you mean \"header:NAME\"?");
    tenant("path:0", "`0` is not the number of a segment");
    tenant("path:/a", "the first segment of the path");
    tenant("header:a b", "`a b` is not the name of a header");
    tenant("header:X-Forwarded-For", "use `client_ip`, and `trusted_proxies`");
    tenant("header:Upgrade", "it speaks of one connection only and is removed");
    tenant("header:x_tenant", "write \"x-tenant\"");
    tenant("header:Host", "`tenant = \"host\"`");
    tenant("header:Cookie", "\"cookie:NAME\"");
    tenant("cookie:", "is not the name of a cookie");
    check_upstream("max_tenants = 5", 15, "does nothing without `tenant`");
    check(&format!("{BASE}tenant = \"host\"\nmax_tenants = 0\n"), 12, 15, "out of bounds: 1 to 1000000");

    let class = |keys: &str, column, expected| check_upstream(&format!("classes = [{{ {keys} }}]"), column, expected);
    check_upstream("classes = 3", 11, "must be an array of tables");
    check_upstream("classes = []", 11, "at least one is needed");
    class("share = 0.5, clients = [\"path:/a\"]", 12, "missing key `name` in [upstream.NAME] classes");
    class("name = \"a\", clients = [\"path:/a\"]", 12, "missing key `share`");
    class("name = \"a\", share = 0.5", 12, "missing key `clients`");
    class("name = \"default\", share = 0.5, clients = [\"path:/a\"]", 21, "the clients of no other class");
    class("name = \"a b\", share = 0.5, clients = [\"path:/a\"]", 21, "only visible ASCII");
    class("name = \"a\", share = 0, clients = [\"path:/a\"]", 34, "`share` must be above 0");
    class("name = \"a\", share = 1.5, clients = [\"path:/a\"]", 34, "a number from 0 to 1");
    class("name = \"a\", share = 0.5, clients = []", 49, "nobody is of this class");
    class("name = \"a\", share = 0.5, client = [], clients = [\"path:/a\"]", 39, "did you mean `clients`?");
    let rule = |rule: &str, expected| {
        class(&format!("name = \"a\", share = 0.5, clients = [\"{rule}\"]"), 50, expected);
    };
    rule("gold", "write one of client_ip:NETWORK");
    rule("cooky:plan=gold", "did you mean \"cookie:NAME=VALUE\"?");
    rule("client_ip:10.0.0.1/8", "write \"10.0.0.0/8\"");
    rule("client_ip:lb.internal", "write an IP address, or a network");
    rule("path:vip", "a path starts with `/`");
    rule("header:X-Plan=", "without `=` any value will do");
    rule("header:Connection=x", "it speaks of one connection only");
    rule("header:a b=x", "is not the name of a header");

    let classes = |classes: &[&str]| {
        let table = |class: &&str| format!("[[upstream.chat.classes]]\n{class}\n");
        format!("{BASE}{}", classes.iter().map(table).collect::<String>())
    };
    let [a, b] = ["a", "b"].map(|name| format!("name = \"{name}\"\nshare = 0.3\nclients = [\"path:/{name}\"]"));
    check(&classes(&[&a, &b, &b.replace("path:/b", "path:/c")]), 20, 8, "two classes have the name `b`");
    check(&classes(&[&a, &b.replace("0.3", "0.8")]), 17, 9, "add up to 1.10, more than all");
    check(&classes(&[&a, &b.replace("path:/b", "path:/a")]), 18, 12, "this rule stands twice");
    let small = |name: &str| format!("name = \"{name}\"\nshare = 0.1\nclients = [\"path:/{name}\"]");
    let four = ["a", "b", "c", "d"].map(small);
    check(&classes(&[&four[0], &four[1], &four[2], &four[3]]), 23, 1, "more than 3 classes");
}

#[test]
fn health_checks() {
    let health = |keys: &str, column, expected| check_upstream(&format!("health = {{ {keys} }}"), column, expected);
    check_upstream("health = \"tcp\"", 10, "must be a table, not a string");
    health("interval = \"5s\"", 10, "missing key `kind` in [upstream.NAME] health");
    health("kind = \"ws\"", 19, "must be \"tcp\", \"http\" or \"websocket\"");
    health("kind = \"tcp\", path = \"/up\"", 33, "`path` does nothing with `kind = \"tcp\"`");
    health("kind = \"tcp\", host = \"a\"", 33, "it goes with `kind = \"http\"`");
    health("kind = \"websocket\", status = \"200\"", 41, "good when it gets 101 and answers a ping");
    health("kind = \"http\", subprotocol = \"a\"", 41, "it goes with `kind = \"websocket\"`");
    health("kind = \"http\", status = \"2xx\"", 36, "write \"200\" or \"200-399\"");
    health("kind = \"http\", status = \"299-200\"", 36, "neither a status nor a range");
    health("kind = \"http\", status = 200", 36, "not a number");
    health("kind = \"http\", path = \"up\"", 34, "write \"/up\"");
    health("kind = \"http\", path = \"/a b\"", 34, "only visible ASCII");
    health("kind = \"http\", host = \"a:b\"", 34, "is not a port");
    health("kind = \"http\", interval = \"10ms\"", 38, "out of bounds: 100ms to 87600h");
    health("kind = \"http\", interval = 5", 38, "durations are strings");
    health("kind = \"http\", rise = 0", 34, "out of bounds: 1 to 1000");
    health("kind = \"http\", on_down = \"drop\"", 37, "must be \"keep\" or \"close\"");
    health("kind = \"http\", rises = 2", 27, "did you mean `rise`?");
    check_upstream("resolve_interval = \"100ms\"", 20, "out of bounds: 1s to 87600h");
    check_upstream("resolver = \"dns.internal\"", 12, "write an IP address, with a port if it is not 53");
    let off = "resolver = \"10.0.0.2\"\nresolve_interval = \"off\"";
    check_upstream(off, 12, "`resolver` does nothing with `resolve_interval = \"off\"`");
    let services = |servers: &str, column, expected| {
        let config = BASE.replace("[\"127.0.0.1:3000\"]", &format!("[{servers}]"));
        assert_ne!(config, BASE);
        check(&config, 10, column, expected);
    };
    services("\"srv:_ws._tcp.chat.example\"", 12, "name the name server to ask");
    services("\"srv:_ws._tcp.chat.example:80\"", 12, "its SRV records have the ports");
    services("\"srv:chat\"", 12, "write it whole");
    services("\"srv:10.0.0.1\"", 12, "it is no name in DNS");
    services("\"srv:_ws._tcp.chat.example.\"", 12, "it ends with a dot");
    services("\"_ws._tcp.chat.example\"", 12, "write \"srv:_ws._tcp.chat.example\"");
    check_upstream("retries = 101", 11, "out of bounds: 0 to 100");
}

#[test]
fn logs() {
    check_in("[log]", "access = \"stdot\"", 10, "a file here is \"./stdot\"");
    check_in("[log]", "level = \"inof\"", 9, "did you mean `info`?");
    check_in("[log]", "level = \"info,hyper=loud\"", 9, "`loud` is not a log level");
}

#[test]
fn a_huge_file() {
    check(&"#".repeat(MAX_FILE_SIZE + 1), 1, 1, "more than 10000000 bytes");
}

#[test]
fn all_at_once_in_the_order_of_the_text() {
    let errors = errors(
        "\
worker = 1
[[listen]]
address = \"localhost:1\"
[[route]]
upstream = \"chat\"
path = \"ws\"
connect_timeout = 5
[upstream.chats]
servers = [\"a\", \"b:1\", \"b:1\"]
max_sesions = 5
[defaults]
spread = \"often\"
",
    );
    let places: Vec<_> = errors.iter().map(|mistake| (mistake.line, mistake.column)).collect();
    assert_eq!(places, [(1, 1), (3, 11), (5, 12), (6, 8), (7, 19), (9, 12), (9, 24), (10, 1), (12, 10)], "{errors}");
    assert_eq!(errors.len(), 9);
}

#[test]
fn rendered_as_rustc_would() {
    let text = format!("{BASE}max_sesions = 5000\n");
    let expected = "\
error: unknown key `max_sesions` in [upstream.NAME]
  --> tidegate.toml:11:1
   |
11 | max_sesions = 5000
   | ^^^^^^^^^^^
   |
   = help: did you mean `max_sessions`?";
    assert_eq!(errors(&text).to_string(), expected);
    assert!(errors(&text).render(true).contains("\u{1b}["));
}

#[test]
fn rendered_with_the_other_place() {
    let text = BASE.replace("3000\"]", "3000\",\n  \"127.0.0.1:3000\"]");
    let expected = "\
error: server `127.0.0.1:3000` stands twice in this upstream
  --> tidegate.toml:11:3
   |
10 | servers = [\"127.0.0.1:3000\",
   |            ---------------- first used here
11 |   \"127.0.0.1:3000\"]
   |   ^^^^^^^^^^^^^^^^
   |
   = help: for a larger share of sessions give it a `weight`";
    assert_eq!(errors(&text).to_string(), expected);
}

#[test]
fn rendered_without_a_place() {
    let text = BASE.replace("[[listen]]\naddress = \"0.0.0.0:8080\"", "");
    let expected = "\
error: no [[listen]]: at least one is needed
--> tidegate.toml
 = help: Where clients connect: one `[[listen]]` for each address.";
    assert_eq!(errors(&text).to_string(), expected);
}

#[test]
fn endless_arrays() {
    let servers = "\"a:1\", ".repeat(10_001);
    check(&BASE.replace("\"127.0.0.1:3000\"", &servers), 10, 11, "more than 10000 elements");
}

#[test]
fn a_flood_is_counted() {
    let keys: String = (0..80).map(|n| format!("key_{n} = 1\n")).collect();
    let errors = errors(&format!("{BASE}{keys}"));
    assert_eq!(errors.len(), 80);
    assert!(errors.to_string().ends_with("\n\n... and 30 more"));
}

#[test]
fn a_line_that_nobody_could_read_is_named_and_not_drawn() {
    let text = format!("{BASE}max_sessions = {}\n", "=".repeat(1 << 20));
    let errors = errors(&text);
    assert!(errors.len() > 1000);
    let shown = errors.to_string();
    assert!(shown.contains("--> tidegate.toml:11:17") && shown.len() < 10_000, "{} bytes", shown.len());
    assert!(shown.ends_with(" more"));
}

#[test]
fn many_routes_to_many_upstreams_that_are_not_there() {
    let pair =
        |n: usize| format!("[upstream.u{n}]\nservers = [\"h:1\"]\n[[route]]\npath = \"/{n}\"\nupstream = \"w{n}\"\n");
    let pairs: String = (0..2000).map(pair).collect();
    let errors = errors(&format!("{BASE}{pairs}"));
    assert_eq!(errors.len(), 2000);
    assert!(errors.iter().all(|mistake| mistake.help.is_some()));
}
