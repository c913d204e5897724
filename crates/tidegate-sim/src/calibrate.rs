//! The model beside what was measured on real sockets.

use std::fmt::Write as _;

use crate::{
    policy::Choice,
    report::{Job, Run, median, run_all},
    scenario::{HERD, Measure},
};

/// Who was measured, as the table calls it, and what it is in the model.
const PAIRS: [(&str, Choice); 2] = [("tidegate", Choice::Own), ("nginx", Choice::Nothing)];
/// The columns of the measured table.
const SCENARIO: usize = 0;
const PROXY: usize = 1;
const T99: usize = 2;
const GOODPUT: usize = 4;

/// The herd of so many clients in the model, and what `cargo xtask bench herd` wrote into this page; as Markdown.
#[must_use]
pub fn calibrate(page: &str, clients: u32, seeds: u64) -> String {
    let mut jobs = Vec::new();
    for scenario in HERD {
        for (_, policy) in PAIRS {
            jobs.extend((1..=seeds).map(|seed| Job { scenario, policy, clients, seed }));
        }
    }
    let runs: Vec<Run> = run_all(&jobs).into_iter().flatten().collect();
    let mut runs = runs.chunks(seeds.max(1) as usize);
    let mut out = String::from("| | | measured | in the model |\n|---|---|---:|---:|\n");
    for scenario in HERD {
        for (proxy, _) in PAIRS {
            let Some(runs) = runs.next() else { continue };
            let is_recovery = matches!(runs[0].measure, Measure::Whole(_));
            let (value, low, high) = median(runs.iter().map(|run| run.value));
            let model = match is_recovery {
                true if value.is_infinite() => "never".into(),
                true => format!("{value:.1} s [{low:.1}, {high:.1}]"),
                false => format!("{:.1} % [{:.1}, {:.1}]", 100.0 * value, 100.0 * low, 100.0 * high),
            };
            let column = if is_recovery { T99 } else { GOODPUT };
            let seen = measured(page, scenario, proxy, column).unwrap_or("not measured");
            let _ = writeln!(out, "| {scenario} | {proxy} | {seen} | {model} |");
        }
    }
    out
}

/// A cell of the measured table.
fn measured<'a>(page: &'a str, scenario: &str, proxy: &str, column: usize) -> Option<&'a str> {
    let rows = page.lines().map(|line| line.trim_matches('|').split('|').map(str::trim).collect::<Vec<_>>());
    let mut rows = rows.filter(|row| row.get(SCENARIO) == Some(&scenario) && row.get(PROXY) == Some(&proxy));
    rows.next()?.get(column).copied()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests::HERD_PAGE;

    #[test]
    fn the_measured_table_has_a_figure_for_each_scenario() {
        for (scenario, column) in HERD.into_iter().zip([T99, T99, GOODPUT, GOODPUT]) {
            let cell = measured(HERD_PAGE, scenario, "tidegate", column).unwrap_or_default();
            let figure = cell.split(' ').next().unwrap_or_default();
            assert!(figure.parse::<f64>().is_ok(), "{scenario}: {cell}");
        }
    }

    #[test]
    fn the_model_recovers_as_the_real_sockets_do_within_a_sixth() {
        for scenario in &HERD[..2] {
            let cell = measured(HERD_PAGE, scenario, "tidegate", T99).unwrap_or_default();
            let seen: f64 = cell.split(' ').next().unwrap_or_default().parse().unwrap();
            let run = Job { scenario, policy: Choice::Own, clients: 8_000, seed: 1 }.run().unwrap();
            assert!(
                (5.0 / 6.0..7.0 / 6.0).contains(&(run.value / seen)),
                "{scenario}: {} s, measured {seen}",
                run.value
            );
        }
    }
}
