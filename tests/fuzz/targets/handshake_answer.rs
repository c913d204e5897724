#![no_main]

#[path = "../bodies/handshake_answer.rs"]
mod handshake_answer;

libfuzzer_sys::fuzz_target!(|data: &[u8]| handshake_answer::run(data));
