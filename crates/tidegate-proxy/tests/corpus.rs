//! Everything that fuzzing found worth keeping.

#[path = "../../../tests/fuzz/bodies/handshake_answer.rs"]
mod handshake_answer;
#[path = "../../../tests/fuzz/bodies/handshake_request.rs"]
mod handshake_request;
#[path = "../../../tests/fuzz/bodies/replay.rs"]
mod replay;

#[test]
fn handshake_request_corpus() {
    replay::replay("handshake_request", handshake_request::run);
}

#[test]
fn handshake_answer_corpus() {
    replay::replay("handshake_answer", handshake_answer::run);
}
