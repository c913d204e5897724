//! Everything that fuzzing found worth keeping.

#[path = "../../../tests/fuzz/bodies/config.rs"]
mod config;
#[path = "../../../tests/fuzz/bodies/replay.rs"]
mod replay;

#[test]
fn config_corpus() {
    replay::replay("config", config::run);
}
