#![no_main]

#[path = "../bodies/scanner.rs"]
mod scanner;

libfuzzer_sys::fuzz_target!(|data: &[u8]| scanner::run(data));
