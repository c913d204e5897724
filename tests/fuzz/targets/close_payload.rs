#![no_main]

#[path = "../bodies/close_payload.rs"]
mod close_payload;

libfuzzer_sys::fuzz_target!(|data: &[u8]| close_payload::run(data));
