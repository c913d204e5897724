//! How each proxy is set up: as well as its makers' documentation lets one who knows the capacity.

use std::{net::SocketAddr, time::Duration};

use bench_rig::{Contender, Place, Process, Rig, configs};

/// Longer than any scenario, in seconds.
const IDLE_TIMEOUT: u32 = 3600;

/// What a configuration is filled with.
pub(crate) struct Stage {
    pub(crate) servers: Vec<SocketAddr>,
    pub(crate) bystanders: SocketAddr,
    /// Sessions that a server can have, as far as HAProxy is told.
    pub(crate) most_sessions: usize,
    /// Handshakes per second of all servers, where that is what bounds them.
    pub(crate) rate: Option<f64>,
    pub(crate) warm_after: Duration,
}

impl Stage {
    /// Starts a proxy before these servers.
    pub(crate) fn start(&self, contender: Contender, rig: &Rig) -> Result<Process, String> {
        let place = rig.place(contender.name())?;
        let config = match contender {
            Contender::Nginx => self.nginx(&place),
            Contender::Haproxy => self.haproxy(&place),
            Contender::Tidegate => self.tidegate(&place),
        };
        rig.start(contender, &place, &config)
    }

    fn nginx(&self, place: &Place) -> String {
        let servers: String = self.servers.iter().map(|server| format!("        server {server};\n")).collect();
        let herd = configs::nginx_location("/", "herd", IDLE_TIMEOUT, "");
        let bystanders = configs::nginx_location("/bystanders", &self.bystanders.to_string(), IDLE_TIMEOUT, "");
        let address = place.address;
        let http = format!(
            "    upstream herd {{
        least_conn;
{servers}    }}
    server {{
        listen {address} backlog=4096;
{herd}
{bystanders}
    }}"
        );
        configs::nginx(place, &http)
    }

    /// Told the capacity: sessions bounded, a queue, slow start, and no more new connections a second than the servers
    /// can take when they are well.
    fn haproxy(&self, place: &Place) -> String {
        let Self { bystanders, most_sessions, rate, warm_after, .. } = self;
        let address = place.address;
        let rate = rate.map_or_else(String::new, |rate| format!("rate-limit sessions {rate:.0}"));
        let slowstart = match warm_after.as_millis() {
            0 => String::new(),
            warm_after => format!(" slowstart {warm_after}ms"),
        };
        let server =
            |(at, server)| format!("    server s{at} {server} check inter 500ms maxconn {most_sessions}{slowstart}\n");
        let servers: String = self.servers.iter().enumerate().map(server).collect();
        let sections = format!(
            "frontend in
    bind {address} backlog 4096
    {rate}
    use_backend bystanders if {{ path_beg /bystanders }}
    default_backend herd

backend bystanders
    server one {bystanders}

backend herd
    balance leastconn
{servers}"
        );
        let defaults = "option redispatch\n    timeout connect 5s\n    timeout queue 2500ms";
        configs::haproxy(&format!("maxconn {}", configs::haproxy_sessions()), defaults, IDLE_TIMEOUT, &sections)
    }

    /// Told the addresses.
    fn tidegate(&self, place: &Place) -> String {
        let servers: Vec<String> = self.servers.iter().map(|server| format!("\"{server}\"")).collect();
        let (address, servers, bystanders) = (place.address, servers.join(", "), self.bystanders);
        let sections = format!(
            "[[listen]]
address = \"{address}\"

[[route]]
path = \"/bystanders\"
upstream = \"bystanders\"

[[route]]
upstream = \"herd\"

[upstream.herd]
servers = [{servers}]

[upstream.bystanders]
servers = [\"{bystanders}\"]"
        );
        configs::tidegate(place, &sections)
    }
}
