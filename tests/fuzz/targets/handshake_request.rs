#![no_main]

#[path = "../bodies/handshake_request.rs"]
mod handshake_request;

libfuzzer_sys::fuzz_target!(|data: &[u8]| handshake_request::run(data));
