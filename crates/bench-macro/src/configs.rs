//! How each proxy is set up: as its users would, for one worker and long sessions.

use bench_rig::{Place, configs, descriptors};

use crate::proxies::Stage;

pub(crate) fn nginx(stage: &Stage<'_>, place: &Place, buffer: u32) -> String {
    let (ssl, keys) = match stage.tls {
        Some(_) => (" ssl", "ssl_certificate certificate.pem; ssl_certificate_key key.pem;"),
        None => ("", ""),
    };
    let busy = 2 * buffer;
    let buffers = format!(
        "proxy_buffering off;
            proxy_request_buffering off;
            proxy_buffer_size {buffer}k;
            proxy_buffers 8 {buffer}k;
            proxy_busy_buffers_size {busy}k;"
    );
    let location = configs::nginx_location("/", &stage.server.to_string(), stage.idle_timeout, &buffers);
    let address = place.address;
    let http = format!(
        "    server {{
        listen {address}{ssl} backlog=4096;
        {keys}
{location}
    }}"
    );
    configs::nginx(place, &http)
}

pub(crate) fn haproxy(stage: &Stage<'_>, place: &Place, splice: bool) -> String {
    let (address, directory, server) = (place.address, place.directory.display(), stage.server);
    let ssl = if stage.tls.is_some() { format!(" ssl crt {directory}/both.pem") } else { String::new() };
    let (global, options) = if splice {
        let sessions = descriptors::allowed() / 5;
        let options = "option splice-auto\n    option splice-request\n    option splice-response";
        (format!("maxconn {sessions}\n    maxpipes 2000\n    tune.pipesize 1048576"), options)
    } else {
        (format!("maxconn {}", configs::haproxy_sessions()), "")
    };
    let defaults = format!("timeout connect 60s\n    {options}");
    let sections = format!(
        "frontend in
    bind {address} backlog 4096{ssl}
    default_backend servers

backend servers
    server one {server}
"
    );
    configs::haproxy(&global, &defaults, stage.idle_timeout, &sections)
}

/// What users run: text checked for UTF-8, too.
pub(crate) fn tidegate(stage: &Stage<'_>, place: &Place) -> String {
    let Stage { server, idle_timeout, .. } = stage;
    let (address, directory) = (place.address, place.directory.display());
    let tls = match stage.tls {
        Some(_) => format!("tls = {{ certificate = \"{directory}/certificate.pem\", key = \"{directory}/key.pem\" }}"),
        None => String::new(),
    };
    let sections = format!(
        "[[listen]]
address = \"{address}\"
{tls}

[[route]]
upstream = \"servers\"

[upstream.servers]
servers = [\"{server}\"]

[defaults]
idle_timeout = \"{idle_timeout}s\""
    );
    configs::tidegate(place, &sections)
}
