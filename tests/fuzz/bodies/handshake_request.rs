//! The opening handshake: see `tidegate_proxy::fuzzing::request`.

pub(crate) fn run(data: &[u8]) {
    tidegate_proxy::fuzzing::request(data);
}
