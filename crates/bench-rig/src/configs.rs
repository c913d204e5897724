//! What is the same in all configurations: one worker, long sessions, as many as there are descriptors for.

use crate::{Place, descriptors};

/// nginx's, with this in its `http` block.
pub fn nginx(place: &Place, http: &str) -> String {
    let user = if rustix::process::geteuid().is_root() { "user root;" } else { "" };
    let directory = place.directory.display();
    let files = descriptors::allowed();
    let connections = files - 100;
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
{http}
}}
"
    )
}

/// Of nginx: passes WebSocket sessions under `path` on to a server or an `upstream`. `idle_timeout` is in seconds.
pub fn nginx_location(path: &str, to: &str, idle_timeout: u32, more: &str) -> String {
    format!(
        "        location {path} {{
            proxy_pass http://{to};
            proxy_http_version 1.1;
            proxy_set_header Host $host;
            proxy_set_header Upgrade $http_upgrade;
            proxy_set_header Connection upgrade;
            proxy_read_timeout {idle_timeout}s;
            proxy_send_timeout {idle_timeout}s;
            {more}
        }}"
    )
}

/// Sessions that HAProxy can have, at two descriptors each.
pub fn haproxy_sessions() -> u64 {
    (descriptors::allowed() - 200) / 2
}

/// HAProxy's, with `maxconn` and what else is given in `global`, more `defaults`, and its `frontend` and `backend`
/// sections. `idle_timeout` is in seconds.
pub fn haproxy(global: &str, defaults: &str, idle_timeout: u32, sections: &str) -> String {
    let files = descriptors::allowed();
    format!(
        "global
    nbthread 1
    fd-hard-limit {files}
    hard-stop-after 1s
    {global}

defaults
    mode http
    no log
    option http-no-delay
    timeout client {idle_timeout}s
    timeout server {idle_timeout}s
    timeout tunnel {idle_timeout}s
    timeout http-request 60s
    {defaults}

{sections}"
    )
}

/// tidegate's, with these sections: as users run it, with metrics and an access log.
pub fn tidegate(place: &Place, sections: &str) -> String {
    let directory = place.directory.display();
    format!(
        "workers = 1

{sections}

[drain]
window = \"1s\"

[admin]
address = \"unix:{directory}/admin.sock\"

[log]
access = \"{directory}/access.log\"
"
    )
}
