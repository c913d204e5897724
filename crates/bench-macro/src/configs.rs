//! How each proxy is set up: as its users would, for one worker and long sessions.

use std::{net::SocketAddr, path::Path};

use crate::proxies::{Stage, descriptors};

pub(crate) fn nginx(stage: &Stage<'_>, directory: &Path, address: SocketAddr, buffer: u32) -> String {
    let Stage { server, idle_timeout, .. } = stage;
    let user = if rustix::process::geteuid().is_root() { "user root;" } else { "" };
    let directory = directory.display();
    let (files, connections, busy) = (descriptors(), descriptors() - 100, 2 * buffer);
    let (ssl, keys) = match stage.tls {
        Some(_) => (" ssl", "ssl_certificate certificate.pem; ssl_certificate_key key.pem;"),
        None => ("", ""),
    };
    format!(
        "{user}
daemon off;
worker_processes 1;
worker_rlimit_nofile {files};
worker_shutdown_timeout 1s;
pid {directory}/pid;
error_log {directory}/error.log crit;
events {{
    worker_connections {connections};
    multi_accept on;
}}
http {{
    access_log off;
    tcp_nodelay on;
    client_body_temp_path {directory}/body;
    proxy_temp_path {directory}/proxy;
    fastcgi_temp_path {directory}/fastcgi;
    uwsgi_temp_path {directory}/uwsgi;
    scgi_temp_path {directory}/scgi;
    server {{
        listen {address}{ssl} backlog=4096;
        {keys}
        location / {{
            proxy_pass http://{server};
            proxy_http_version 1.1;
            proxy_set_header Host $host;
            proxy_set_header Upgrade $http_upgrade;
            proxy_set_header Connection upgrade;
            proxy_buffering off;
            proxy_request_buffering off;
            proxy_buffer_size {buffer}k;
            proxy_buffers 8 {buffer}k;
            proxy_busy_buffers_size {busy}k;
            proxy_read_timeout {idle_timeout}s;
            proxy_send_timeout {idle_timeout}s;
        }}
    }}
}}
"
    )
}

pub(crate) fn haproxy(stage: &Stage<'_>, directory: &Path, address: SocketAddr, splice: bool) -> String {
    let Stage { server, idle_timeout, .. } = stage;
    let ssl = if stage.tls.is_some() { format!(" ssl crt {}/both.pem", directory.display()) } else { String::new() };
    let files = descriptors();
    let (connections, pipes, options) = if splice {
        let options = "option splice-auto\n    option splice-request\n    option splice-response";
        (files / 5, "maxpipes 2000\n    tune.pipesize 1048576", options)
    } else {
        ((files - 200) / 2, "", "")
    };
    format!(
        "global
    nbthread 1
    maxconn {connections}
    fd-hard-limit {files}
    hard-stop-after 1s
    {pipes}

defaults
    mode http
    no log
    option http-no-delay
    {options}
    timeout connect 60s
    timeout client {idle_timeout}s
    timeout server {idle_timeout}s
    timeout tunnel {idle_timeout}s
    timeout http-request 60s

frontend in
    bind {address} backlog 4096{ssl}
    default_backend servers

backend servers
    server one {server}
"
    )
}

/// What users run: metrics, an access log, text checked for UTF-8.
pub(crate) fn tidegate(stage: &Stage<'_>, directory: &Path, address: SocketAddr) -> String {
    let Stage { server, idle_timeout, .. } = stage;
    let directory = directory.display();
    let tls = match stage.tls {
        Some(_) => format!("tls = {{ certificate = \"{directory}/certificate.pem\", key = \"{directory}/key.pem\" }}"),
        None => String::new(),
    };
    format!(
        "workers = 1

[[listen]]
address = \"{address}\"
{tls}

[[route]]
upstream = \"servers\"

[upstream.servers]
servers = [\"{server}\"]

[defaults]
idle_timeout = \"{idle_timeout}s\"

[drain]
window = \"1s\"

[admin]
address = \"unix:{directory}/admin.sock\"

[log]
access = \"{directory}/access.log\"
"
    )
}
