//! Any text is a configuration that is valid, or a list of mistakes that can be shown.

pub(crate) fn run(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    match tidegate_config::parse("tidegate.toml", text) {
        Ok(config) => {
            assert!(config.routes.iter().all(|route| config.upstreams.contains_key(&route.upstream)));
            let _ = config.route("host:80", "/path", ["a"].into_iter(), |_| true);
        }
        Err(errors) => assert!(!errors.render(true).is_empty()),
    }
}
