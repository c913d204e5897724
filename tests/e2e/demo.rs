//! The demo page in browsers: what its two columns show of each ending.

use std::process::Stdio;

use harness::browser::{Browser, Kind};
use harness::tidegate::binary;
use harness::{eventually, within};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};

/// Starts the demo on a free port; gives the address of its page.
async fn start() -> (Child, String) {
    let mut demo = Command::new(binary())
        .args(["demo", "--listen", "127.0.0.1:0"])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .expect("tidegate runs");
    let mut lines = BufReader::new(demo.stdout.take().expect("piped")).lines();
    let url = within("the demo's address", lines.next_line()).await.expect("its output").expect("a line");
    (demo, url)
}

/// Presses a button and waits until both sessions of the row of this kind have ended; gives what each cell says:
/// `[code, reason, clean]`, through the tunnel and through tidegate.
async fn press(browser: &mut Browser, button: &str, kind: &str) -> [Value; 2] {
    let press = format!(
        "(() => {{ const button = document.querySelector('[data-do={button}]');
           const calm = document.querySelector('[data-scene=calm]');
           if (!calm || button.disabled) return false; button.click(); return true; }})()"
    );
    wait_until(browser, &press).await;
    let mut said = [Value::Null, Value::Null];
    for (side, said) in ["tunnel", "tidegate"].into_iter().zip(&mut said) {
        let cell =
            format!("document.querySelector('[data-kind={kind}] [data-side={side}][data-state=closed]')?.dataset");
        wait_until(browser, &format!("{cell} !== undefined")).await;
        *said = browser.evaluate(&format!("(({{ code, reason, clean }}) => [code, reason, clean])({cell})")).await;
    }
    said
}

async fn wait_until(browser: &mut Browser, condition: &str) {
    eventually(condition, async || (browser.evaluate(condition).await == true).then_some(())).await;
}

#[track_caller]
fn assert_says(cell: &Value, code: u16, reason: &str, clean: bool) {
    assert_eq!((&cell[0], &cell[2]), (&json!(code.to_string()), &json!(clean.to_string())), "{cell}");
    assert!(cell[1].as_str().is_some_and(|said| said.starts_with(reason)), "{cell}");
}

#[tokio::test]
async fn the_demo_page_shows_the_truth_beside_1006_in_chromium() {
    show_the_truth(Kind::Chromium).await;
}

#[tokio::test]
async fn the_demo_page_shows_the_truth_beside_1006_in_firefox() {
    show_the_truth(Kind::Firefox).await;
}

async fn show_the_truth(kind: Kind) {
    let Some(mut browser) = kind.start().await else { return };
    let (_demo, url) = start().await;
    browser.go_to(&url).await;

    for (button, code, reason) in [("close", 1000, "done"), ("app", 4001, "signed out elsewhere")] {
        for cell in press(&mut browser, button, button).await {
            assert_says(&cell, code, reason, true);
        }
    }
    // What is pressed, the row it shows in, and what tidegate says of it.
    let troubles = [
        ("restart", "restart", 1012, "rebalance; retry-after="),
        ("crash", "crash", 1014, "upstream-lost; retry-after="),
        ("overload", "newcomer", 1013, "upstream-overloaded; retry-after="),
    ];
    for (button, kind, code, reason) in troubles {
        let [tunnel, tidegate] = press(&mut browser, button, kind).await;
        assert_says(&tunnel, 1006, "", false);
        assert_says(&tidegate, code, reason, true);
    }
}
