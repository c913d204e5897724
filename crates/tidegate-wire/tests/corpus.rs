//! Everything that fuzzing found worth keeping.

#[path = "../../../tests/fuzz/bodies/close_payload.rs"]
mod close_payload;
#[path = "../../../tests/fuzz/bodies/replay.rs"]
mod replay;
#[path = "../../../tests/fuzz/bodies/scanner.rs"]
mod scanner;

#[test]
fn scanner_corpus() {
    replay::replay("scanner", scanner::run);
}

#[test]
fn close_payload_corpus() {
    replay::replay("close_payload", close_payload::run);
}
