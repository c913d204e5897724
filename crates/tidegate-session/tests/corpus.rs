//! Everything that fuzzing found worth keeping.

#[path = "../../../tests/fuzz/bodies/replay.rs"]
mod replay;
#[path = "../../../tests/fuzz/bodies/session.rs"]
mod session;

#[test]
fn session_corpus() {
    replay::replay("session", session::run);
}
