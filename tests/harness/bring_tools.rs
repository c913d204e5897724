//! Brings what the end-to-end tests need, before they run, or the tools that are named, and says what there is and
//! what is missing.

use std::process::ExitCode;

use harness::scratch;
use harness::tools::{Tool, in_ci};

fn main() -> ExitCode {
    let named: Vec<String> = std::env::args().skip(1).collect();
    if named.is_empty() {
        scratch::clear();
        let missing = bring(&Tool::ALL, "its tests will be skipped");
        return if missing && in_ci() { ExitCode::FAILURE } else { ExitCode::SUCCESS };
    }
    let Some(tools) = named.iter().map(|name| Tool::named(name)).collect::<Option<Vec<_>>>() else {
        eprintln!("no tool is called one of {named:?}");
        return ExitCode::from(2);
    };
    if bring(&tools, "and nothing goes without it") { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

/// Whether any is missing.
fn bring(tools: &[Tool], otherwise: &str) -> bool {
    let mut missing = false;
    for tool in tools {
        match tool.bring() {
            Ok(program) => println!("{tool:?}: {}", program.display()),
            Err(why) => {
                missing = true;
                println!("*** {tool:?} CANNOT BE BROUGHT, {otherwise}: {why} ***");
            }
        }
    }
    missing
}
