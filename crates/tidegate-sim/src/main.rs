//! `cargo xtask sim`

use std::{path::PathBuf, process::ExitCode};

use tidegate_sim::{Plan, calibrate, check, plot, table};

const USAGE: &str = "\
usage: cargo xtask sim [OPTIONS]

  --full            every policy, not only the governor and the static bound at 1 x
  --assert          says whether the governor reaches its figures; fails where it does not
  --scenario A,B    these only
  --clients N       clients of the fleet: 100,000 unless told
  --seeds N         runs of each: 3 unless told, 20 with --assert
  --herd            the model beside what bench herd measured; --clients: 8,000 unless told
  --plot FILE       writes the picture of a full restart, and nothing else";

fn main() -> ExitCode {
    match run(std::env::args().skip(1)) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(why) => {
            eprintln!("{why}\n\n{USAGE}");
            ExitCode::from(2)
        }
    }
}

fn run(mut arguments: impl Iterator<Item = String>) -> Result<bool, String> {
    let mut plan = Plan { scenarios: Vec::new(), clients: 0, seeds: 0, full: false };
    let (mut assert, mut herd, mut picture) = (false, false, None);
    while let Some(argument) = arguments.next() {
        let mut value = || arguments.next().ok_or(format!("{argument} needs a value"));
        match argument.as_str() {
            "--full" => plan.full = true,
            "--assert" => assert = true,
            "--herd" => herd = true,
            "--scenario" => plan.scenarios = value()?.split(',').map(str::to_owned).collect(),
            "--clients" => plan.clients = number(&value()?)?,
            "--seeds" => plan.seeds = number(&value()?)?,
            "--plot" => picture = Some(PathBuf::from(value()?)),
            "--help" => {
                println!("{USAGE}");
                return Ok(true);
            }
            _ => return Err(format!("unknown option {argument}")),
        }
    }
    if plan.clients == 0 {
        plan.clients = if herd { 8_000 } else { 100_000 };
    }
    if let Some(path) = picture {
        return plot(&path, plan.clients).map(|()| true);
    }
    if plan.seeds == 0 {
        plan.seeds = if assert { 20 } else { 3 };
    }
    if herd {
        let page = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/herd.md");
        let page = std::fs::read_to_string(page).map_err(|error| format!("{page}: {error}"))?;
        print!("{}", calibrate(&page, plan.clients, plan.seeds));
        return Ok(true);
    }
    if assert {
        let (report, good) = check(&plan);
        print!("{report}");
        return Ok(good);
    }
    print!("{}", table(&plan)?);
    Ok(true)
}

fn number<T: std::str::FromStr>(text: &str) -> Result<T, String> {
    text.replace([',', '_'], "").parse().map_err(|_| format!("{text} is no number"))
}
