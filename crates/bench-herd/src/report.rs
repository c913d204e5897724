//! What was found, as the table of `docs/herd.md`.

use std::time::Duration;

use bench_herd::P99;

use crate::scenario::Outcome;

fn cells(outcome: &Outcome) -> [String; 9] {
    let ms = |time: Option<Duration>| time.map_or("–".into(), |time| format!("{:.2}", time.as_secs_f64() * 1e3));
    let proxied = |p99: Option<P99>| ms(p99.map(|p99| p99.proxied));
    let direct = |p99: Option<P99>| ms(p99.map(|p99| p99.direct));
    let back = match (outcome.t99, outcome.bound) {
        (Some(t99), Some(bound)) => {
            let (t99, bound) = (t99.as_secs_f64(), bound.as_secs_f64());
            format!("{t99:.1} s = {:.2} x {bound:.1} s", t99 / bound)
        }
        (None, Some(bound)) => format!("not in 2.5 x {:.1} s", bound.as_secs_f64()),
        _ => "–".into(),
    };
    let useful = outcome.bound.map_or("–".into(), |_| format!("{} of {}", outcome.useful, outcome.clients));
    let lost = match outcome.bystanders_lost {
        0 => String::new(),
        lost => format!(", {lost} lost"),
    };
    [
        back,
        useful,
        outcome.goodput.map_or("–".into(), |part| format!("{:.1} %", part * 100.0)),
        format!("{:.1} %", outcome.wasted * 100.0),
        format!("{:.1} x", outcome.offered),
        outcome.stopped.to_string(),
        proxied(outcome.rest),
        proxied(outcome.busy) + &lost,
        format!("{}, {}", direct(outcome.rest), direct(outcome.busy)),
    ]
}

const HEADS: [&str; 9] = [
    "99 % back after",
    "with a session at the end",
    "goodput",
    "wasted handshakes",
    "attempts over capacity",
    "stopped for ever",
    "bystanders' p99 at rest, ms",
    "meanwhile, ms",
    "both without a proxy, ms",
];

/// For the terminal.
pub(crate) fn line(outcome: &Outcome) -> String {
    let figures: Vec<_> = HEADS
        .iter()
        .zip(cells(outcome))
        .filter(|(_, cell)| cell != "–")
        .map(|(head, c)| format!("{head} {c}"))
        .collect();
    format!("{}, {}: {}", outcome.scenario, outcome.contender.name(), figures.join("; "))
}

pub(crate) fn table(outcomes: &[Outcome]) -> String {
    let mut table = format!("| | | {} |\n|---|---|{}", HEADS.join(" | "), "---:|".repeat(HEADS.len()));
    for outcome in outcomes {
        table += &format!("\n| {} | {} | {} |", outcome.scenario, outcome.contender.name(), cells(outcome).join(" | "));
    }
    table
}
