//! The command line, from outside.

use std::fs;
use std::process::{Command, Output};

use harness::ports::free_address;
use harness::raw::pair;
use harness::scratch::Scratch;
use harness::tidegate::binary;
use harness::{Upstream, eventually, http};

const SMALLEST: &str = "[[listen]]
address = \"127.0.0.1:0\"
[[route]]
upstream = \"chat\"
[upstream.chat]
servers = [\"127.0.0.1:3000\", \"127.0.0.1:3001\"]
max_sessions = 5000
";

/// `EX_CONFIG` of sysexits.h, which a unit file can name in `RestartPreventExitStatus`.
const BAD_CONFIG: Option<i32> = Some(78);

fn tidegate(arguments: &[&str]) -> Output {
    Command::new(binary()).args(arguments).output().expect("tidegate runs")
}

/// Runs `tidegate VERB --config FILE`; gives the output and what it said on both streams.
fn with_config(verb: &str, config: &str) -> (Output, String) {
    let directory = Scratch::new("command-line");
    let file = directory.join("tidegate.toml");
    fs::write(&file, config).expect("the configuration is written");
    let output = tidegate(&[verb, "--config", file.to_str().expect("a path of ours")]);
    let said = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    (output, said)
}

#[test]
fn check_accepts_the_smallest_file() {
    let (output, said) = with_config("check", SMALLEST);
    assert!(output.status.success(), "{said}");
}

#[test]
fn check_points_at_every_mistake_at_once() {
    let config = SMALLEST.replace("max_sessions", "max_session").replace("upstream = \"chat\"", "upstream = \"chatt\"");
    let (output, said) = with_config("check", &config);
    assert_eq!(output.status.code(), BAD_CONFIG, "{said}");
    for expected in ["tidegate.toml:4:", "tidegate.toml:7:1", "^", "did you mean", "max_sessions", "chatt"] {
        assert!(said.contains(expected), "no {expected:?} in:\n{said}");
    }
}

#[test]
fn run_refuses_a_bad_file_in_the_same_words() {
    let (output, said) = with_config("run", &SMALLEST.replace("servers", "severs"));
    assert_eq!(output.status.code(), BAD_CONFIG, "{said}");
    assert!(said.contains("did you mean"), "{said}");
}

#[test]
fn a_file_that_is_not_there_is_said() {
    let output = tidegate(&["run", "--config", "no-such-file.toml"]);
    assert!(!output.status.success());
    assert!(String::from_utf8_lossy(&output.stderr).contains("no-such-file.toml"));
}

#[test]
fn wrong_usage_is_2() {
    assert_eq!(tidegate(&["frobnicate"]).status.code(), Some(2));
}

#[tokio::test]
async fn proxy_needs_no_file() {
    let upstream = Upstream::bind().await;
    let (listen, admin) = (free_address(), free_address());
    let _child = tokio::process::Command::new(binary())
        .args(["proxy", &format!("ws://{}", upstream.address())])
        .args(["--listen", &listen.to_string(), "--admin", &admin.to_string()])
        .stdout(std::process::Stdio::null())
        .stderr(std::process::Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .expect("tidegate runs");
    eventually("it to be ready", async || {
        http::try_get(admin, "/readyz").await.is_ok_and(|answer| answer.status == 200).then_some(())
    })
    .await;
    let (mut client, mut server) = pair(listen, &upstream).await;
    crate::session::exchange(&mut client, &mut server).await;
}
