//! A real Prometheus that scrapes one tidegate.

use std::fs;
use std::net::SocketAddr;
use std::process::Stdio;

use serde_json::Value;
use tokio::process::{Child, Command};

use crate::clock::eventually;
use crate::http;
use crate::ports::free_address;
use crate::scratch::Scratch;
use crate::tools::Tool;

/// A running server. It is killed on drop.
#[derive(Debug)]
pub struct Prometheus {
    _child: Child,
    address: SocketAddr,
    _directory: Scratch,
}

impl Prometheus {
    /// Starts it and waits until it is ready; `None` when it cannot be had, which has then been said.
    ///
    /// # Panics
    /// When it does not start.
    pub async fn scraping(target: SocketAddr) -> Option<Self> {
        let program = Tool::Prometheus.need()?;
        let directory = Scratch::new("prometheus");
        let address = free_address();
        let config = format!(
            "global:\n  scrape_interval: 200ms\nscrape_configs:\n- job_name: tidegate\n  static_configs:\n  - targets: ['{target}']\n"
        );
        fs::write(directory.join("prometheus.yml"), config).expect("the configuration is written");
        let log = fs::File::create(directory.join("log")).expect("a file for the log");
        let child = Command::new(program)
            .arg(format!("--config.file={}", directory.join("prometheus.yml").display()))
            .arg(format!("--storage.tsdb.path={}", directory.join("data").display()))
            .arg(format!("--web.listen-address={address}"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .kill_on_drop(true)
            .spawn()
            .expect("Prometheus runs");
        let this = Self { _child: child, address, _directory: directory };
        eventually("Prometheus to be ready", async || {
            let answer = http::try_get(address, "/-/ready").await.ok()?;
            (answer.status == 200).then_some(())
        })
        .await;
        Some(this)
    }

    /// Waits until a query (percent-encoded where it must be) gives one series with this value; gives its labels.
    pub async fn wait_for(&self, query: &str, value: &str) -> Value {
        eventually(query, async || {
            let answer = http::get(self.address, &format!("/api/v1/query?query={query}")).await;
            let answer: Value = serde_json::from_slice(&answer.body).ok()?;
            let series = &answer["data"]["result"][0];
            (series["value"][1] == value).then(|| series["metric"].clone())
        })
        .await
    }
}
