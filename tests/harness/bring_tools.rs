//! Brings everything the end-to-end tests need, before they run, and says what there is and what is missing.

use std::process::ExitCode;

use harness::scratch;
use harness::tools::{Tool, in_ci};

fn main() -> ExitCode {
    scratch::clear();
    let mut missing = 0;
    for tool in Tool::ALL {
        match tool.bring() {
            Ok(program) => println!("{tool:?}: {}", program.display()),
            Err(why) => {
                missing += 1;
                println!("*** {tool:?} CANNOT BE BROUGHT, its tests will be skipped: {why} ***");
            }
        }
    }
    if missing > 0 && in_ci() { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}
