//! The opening handshake: see `tidegate_proxy::fuzzing::answer`.

pub(crate) fn run(data: &[u8]) {
    tidegate_proxy::fuzzing::answer(data);
}
