//! What was found, as the tables of `docs/performance.md` and `README.md`.

use std::fmt::Write;

use crate::{
    loads::Sample,
    memory::{Churn, Idle},
    proxies::Proxy,
};

/// One kind of load and what each proxy made of it, round by round.
pub(crate) struct Row {
    pub(crate) name: String,
    /// What the cost is of.
    pub(crate) unit: &'static str,
    pub(crate) rounds: Vec<Vec<(Proxy, Sample)>>,
    /// Without a proxy between, where that says something about the generator.
    pub(crate) direct: Vec<Sample>,
}

impl Row {
    fn each(&self, proxy: Proxy, figure: impl Fn(&Sample) -> f64) -> Option<f64> {
        median(self.rounds.iter().flatten().filter(|(of, _)| *of == proxy).map(|(_, sample)| figure(sample)))
    }

    /// tidegate's cost against that of the best other of the same round: least, median, most.
    pub(crate) fn ratios(&self) -> Option<(f64, f64, f64)> {
        let ratio = |round: &Vec<(Proxy, Sample)>| {
            let best = |ours: bool| {
                let costs =
                    round.iter().filter(|(of, _)| (*of == Proxy::Tidegate) == ours).map(|(_, sample)| sample.cost);
                costs.min_by(f64::total_cmp)
            };
            Some(best(true)? / best(false)?)
        };
        let ratios: Vec<f64> = self.rounds.iter().filter_map(ratio).collect();
        let least = ratios.iter().copied().min_by(f64::total_cmp)?;
        let most = ratios.iter().copied().max_by(f64::total_cmp)?;
        Some((least, median(ratios.into_iter())?, most))
    }

    /// For the terminal.
    pub(crate) fn line(&self) -> String {
        let mut line = format!("{} ({}):", self.name, self.unit);
        for proxy in Proxy::ALL {
            if let Some(cost) = self.each(proxy, |sample| sample.cost) {
                let _ = write!(line, "  {} {}", proxy.name(), cost_in_digits(cost));
            }
        }
        if let Some((least, ratio, most)) = self.ratios() {
            let _ = write!(line, "  ratio {ratio:.2} [{least:.2} .. {most:.2}]");
        }
        line
    }
}

/// Two or three digits of it.
fn cost_in_digits(cost: f64) -> String {
    if cost < 10.0 { format!("{cost:.2}") } else { format!("{cost:.1}") }
}

/// What a session costs in processor time.
pub(crate) fn costs(rows: &[Row]) -> String {
    let more = "tidegate / best other, median (least to most)";
    let mut table = head(&["microseconds of the proxy", "a"], Proxy::ALL.map(Proxy::name).into_iter().chain([more]));
    for row in rows {
        let _ = write!(table, "\n| {} | {} |", row.name, row.unit);
        for proxy in Proxy::ALL {
            let _ = match row.each(proxy, |sample| sample.cost) {
                Some(cost) => write!(table, " {} |", cost_in_digits(cost)),
                None => write!(table, " – |"),
            };
        }
        if let Some((least, ratio, most)) = row.ratios() {
            let _ = write!(table, " **{ratio:.2}** ({least:.2} to {most:.2}) |");
        }
    }
    table
}

/// What clients feel, and how often the proxy is woken for it.
pub(crate) fn latencies(rows: &[Row]) -> String {
    let mut table = head(&["", ""], Proxy::PLAIN.map(Proxy::name).into_iter().chain(["no proxy"]));
    for row in rows {
        let p99 = |sample: &Sample| sample.p99.unwrap_or(f64::NAN);
        let direct = median(row.direct.iter().map(p99));
        let cells = Proxy::PLAIN.map(|proxy| row.each(proxy, p99)).into_iter().chain([direct]);
        line(&mut table, &row.name, "p99 of a round trip, ms", cells.map(|us| us.map(|us| us / 1e3)), 2);
        let cells = Proxy::PLAIN.map(|proxy| row.each(proxy, |sample| sample.wakeups)).into_iter().chain([None]);
        line(&mut table, &row.name, "wake-ups of the proxy a message", cells, 3);
    }
    table
}

/// What is asked of the kernel.
pub(crate) fn calls(rows: &[Row]) -> String {
    let mut table = head(&["system calls", "a"], Proxy::PLAIN.map(Proxy::name));
    for row in rows {
        let calls = |sample: &Sample| sample.calls.unwrap_or(f64::NAN);
        line(&mut table, &row.name, row.unit, Proxy::PLAIN.map(|proxy| row.each(proxy, calls)), 1);
    }
    table
}

/// What sessions hold.
pub(crate) fn memory(plain: &[(Proxy, Idle)], tls: &[(Proxy, Idle)], many: &[(Proxy, usize, Idle)]) -> String {
    let mut table = head(&["KiB a session", ""], Proxy::PLAIN.map(Proxy::name));
    let of = |all: &[(Proxy, Idle)], figure: fn(&Idle) -> f64| {
        Proxy::PLAIN.map(|proxy| all.iter().find(|(of, _)| *of == proxy).map(|(_, idle)| figure(idle)))
    };
    for (name, all) in [("plain", plain), ("TLS", tls)] {
        line(&mut table, name, "opened, and idle since", of(all, |idle| idle.opened), 1);
        line(&mut table, name, "after an echo of 16 KiB", of(all, |idle| idle.used), 1);
    }
    if let Some((_, count, _)) = many.first() {
        let all: Vec<_> = many.iter().map(|&(proxy, _, idle)| (proxy, idle)).collect();
        let name = format!("{count} sessions");
        line(&mut table, &name, "opened, and idle since", of(&all, |idle| idle.opened), 1);
        line(&mut table, &name, "kernel, all four sockets", of(&all, |idle| idle.kernel), 1);
    }
    table
}

/// What is left when sessions are gone.
pub(crate) fn churn(all: &[(Proxy, Churn)]) -> String {
    let mut table = String::from(
        "| MiB | sessions | before | most, in a burst | after the first round | after the last | descriptors before, after |\n\
         |---|---:|---:|---:|---:|---:|---:|",
    );
    for (proxy, churn) in all {
        let mib = |kib: u64| kib as f64 / 1024.0;
        let _ = write!(
            table,
            "\n| {} | {} | {:.1} | {:.1} | {:.1} | {:.1} | {}, {} |",
            proxy.name(),
            churn.sessions,
            mib(churn.before),
            mib(churn.most),
            mib(churn.after.0),
            mib(churn.after.1),
            churn.files.0,
            churn.files.1
        );
    }
    table
}

/// What clients hear, one row for each thing that happens.
pub(crate) fn truth(rows: &[(&str, Vec<(Proxy, String)>)]) -> String {
    let mut table = String::from("| |");
    for proxy in Proxy::PLAIN {
        let _ = write!(table, " {} |", proxy.name());
    }
    table += "\n|---|---|---|---|";
    for (what, heard) in rows {
        let _ = write!(table, "\n| {what} |");
        for (_, words) in heard {
            let _ = write!(table, " {words} |");
        }
    }
    table
}

/// A table's head: columns of words, then columns of figures.
fn head(words: &[&str], figures: impl IntoIterator<Item = &'static str>) -> String {
    let (mut names, mut rule) = (String::from("|"), String::from("|"));
    let columns = words.iter().map(|name| (*name, "---|")).chain(figures.into_iter().map(|name| (name, "---:|")));
    for (name, line) in columns {
        names += &if name.is_empty() { " |".to_owned() } else { format!(" {name} |") };
        rule += line;
    }
    format!("{names}\n{rule}")
}

fn line(table: &mut String, name: &str, what: &str, cells: impl IntoIterator<Item = Option<f64>>, digits: usize) {
    let _ = write!(table, "\n| {name} | {what} |");
    for cell in cells {
        let _ = match cell.filter(|cell| cell.is_finite()) {
            Some(cell) => write!(table, " {cell:.digits$} |"),
            None => write!(table, " – |"),
        };
    }
}

fn median(values: impl Iterator<Item = f64>) -> Option<f64> {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    match values.len() {
        0 => None,
        len if len % 2 == 1 => Some(values[middle]),
        _ => Some((values[middle - 1] + values[middle]) / 2.0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ratios_are_taken_within_a_round() {
        let sample = |cost| Sample { cost, ..Sample::default() };
        let round = |nginx, haproxy, ours| {
            vec![(Proxy::Nginx, sample(nginx)), (Proxy::Haproxy, sample(haproxy)), (Proxy::Tidegate, sample(ours))]
        };
        // The second round was slow for all.
        let rounds = vec![round(10.0, 12.0, 9.0), round(24.0, 20.0, 20.0), round(10.0, 11.0, 8.0)];
        let row = Row { name: String::new(), unit: "", rounds, direct: Vec::new() };
        assert_eq!(row.ratios(), Some((0.8, 0.9, 1.0)));
    }

    #[test]
    fn the_median_of_an_even_number_lies_between() {
        assert_eq!(median([4.0, 1.0, 3.0, 2.0].into_iter()), Some(2.5));
        assert_eq!(median([].into_iter()), None);
    }
}
