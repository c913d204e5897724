//! Brings what the tests need and the machine may lack: other people's WebSocket peers, browsers, Prometheus.
//!
//! Packages of npm and PyPI go to `target/tools`, in exactly the versions of `tests/tools`. Programs are taken from
//! the path, else from the system's packages where that may be done. What cannot be brought is said on the terminal,
//! past the test runner's capture, and fails the test when `CI=true`.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::scratch::{package_directory, target_directory};

/// Something a test needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tool {
    /// Node with `ws`, `undici` and clients and servers of protocols above WebSocket.
    Node,
    /// Python with `websockets`, `aiohttp` and `h2`.
    Python,
    /// Chromium or Chrome.
    Chromium,
    /// Firefox, of the release with long support where there is a choice.
    Firefox,
    /// The `openssl` command.
    Openssl,
    /// The Prometheus server.
    Prometheus,
    /// Prometheus' checker of metrics pages.
    Promtool,
    /// systemd's socket activation, without systemd around it.
    SocketActivate,
    /// HAProxy, for tests and for what `cargo xtask bench macro` compares with.
    Haproxy,
    /// nginx, as [`Self::Haproxy`].
    Nginx,
    /// nginx' module for plain TCP, `stream`, which Debian packs by itself.
    NginxStream,
    /// Counts instructions, for `cargo xtask bench micro`.
    Valgrind,
    /// What `cargo xtask bench macro` counts system calls with.
    Strace,
}

impl Tool {
    /// Everything the tests need.
    pub const ALL: [Self; 11] = [
        Self::Node,
        Self::Python,
        Self::Chromium,
        Self::Firefox,
        Self::Openssl,
        Self::Prometheus,
        Self::Promtool,
        Self::SocketActivate,
        Self::Haproxy,
        Self::Nginx,
        Self::NginxStream,
    ];
    /// What only benchmarks need.
    pub const BENCHMARKS: [Self; 2] = [Self::Valgrind, Self::Strace];

    /// The one that is called so, in lower case.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().chain(Self::BENCHMARKS).find(|tool| format!("{tool:?}").to_lowercase() == name)
    }

    /// Brings it; gives the program to run.
    ///
    /// # Errors
    /// Why it cannot be had.
    pub fn bring(self) -> Result<PathBuf, String> {
        let tools = target_directory().join("tools");
        fs::create_dir_all(&tools).map_err(|error| format!("cannot create {}: {error}", tools.display()))?;
        // Test processes run side by side; one brings, the others wait.
        let turn = File::create(tools.join("lock")).map_err(|error| format!("no lock file: {error}"))?;
        turn.lock().map_err(|error| format!("no lock: {error}"))?;
        match self {
            Self::Node => bring_node(&tools),
            Self::Python => bring_python(&tools),
            Self::Chromium => find(&["chromium", "chromium-browser", "google-chrome"])
                .map_or_else(|| find_or_install("chromium", "chromium"), Ok),
            Self::Firefox => {
                find(&["firefox-esr", "firefox"]).map_or_else(|| find_or_install("firefox-esr", "firefox-esr"), Ok)
            }
            Self::Openssl => find_or_install("openssl", "openssl"),
            Self::Prometheus => bring_from_package(&tools, "prometheus", "prometheus"),
            Self::Promtool => bring_from_package(&tools, "prometheus", "promtool"),
            Self::SocketActivate => find_or_install("systemd-socket-activate", "systemd"),
            Self::Haproxy => bring_from_package(&tools, "haproxy", "haproxy"),
            Self::Nginx => bring_from_package(&tools, "nginx", "nginx"),
            Self::NginxStream => bring_from_package(&tools, "libnginx-mod-stream", "ngx_stream_module.so"),
            Self::Valgrind => find_or_install("valgrind", "valgrind"),
            Self::Strace => find_or_install("strace", "strace"),
        }
    }

    /// Brings it for a test; `None` when the test is to be skipped, which has then been said.
    ///
    /// # Panics
    /// When it cannot be brought and `CI=true`.
    pub fn need(self) -> Option<PathBuf> {
        self.bring()
            .inspect_err(|why| {
                assert!(!in_ci(), "{self:?} cannot be brought: {why}");
                let test = std::thread::current().name().unwrap_or("a test").to_owned();
                // Not `eprintln!`: the test runner would hide it.
                let _ = writeln!(std::io::stderr(), "\n*** SKIPPED {test}: no {self:?}: {why} ***");
            })
            .ok()
    }
}

/// Whether what is missing is a failure.
pub fn in_ci() -> bool {
    std::env::var("CI").is_ok_and(|value| value == "true")
}

/// Where Node finds the packages.
pub fn node_modules() -> PathBuf {
    target_directory().join("tools/node/node_modules")
}

/// Installs the packages of `tests/tools/package-lock.json`.
fn bring_node(tools: &Path) -> Result<PathBuf, String> {
    let directory = tools.join("node");
    let sources = ["package.json", "package-lock.json"];
    let node = find_or_install("node", "nodejs")?;
    once(&directory, &sources, || {
        let npm = find_or_install("npm", "npm")?;
        run(Command::new(npm).args(["ci", "--no-audit", "--no-fund", "--ignore-scripts"]).current_dir(&directory))
    })?;
    Ok(node)
}

/// Installs the packages of `tests/tools/requirements.txt` into a virtual environment.
fn bring_python(tools: &Path) -> Result<PathBuf, String> {
    let directory = tools.join("python");
    let python = directory.join("venv/bin/python");
    once(&directory, &["requirements.txt"], || {
        let system = find_or_install("python3", "python3")?;
        let venv = || run(Command::new(&system).args(["-m", "venv", "--clear"]).arg(directory.join("venv")));
        // Debian keeps the module in a package of its own.
        venv().or_else(|_| install("python3-venv").and_then(|()| venv()))?;
        let requirements = directory.join("requirements.txt");
        run(Command::new(&python).args(["-m", "pip", "install", "--quiet", "--requirement"]).arg(requirements))
    })?;
    Ok(python)
}

/// A program of a Debian package. The package is only unpacked: installing it would start a service. What it depends on
/// is installed when it does not run without.
fn bring_from_package(tools: &Path, package: &str, program: &str) -> Result<PathBuf, String> {
    if let Some(found) = find(&[program]) {
        return Ok(found);
    }
    let directory = tools.join(package);
    once(&directory, &[], || {
        refresh_package_lists();
        run(Command::new("apt-get").args(["download", "--quiet", package]).current_dir(&directory))?;
        let unpack = format!("dpkg-deb --extract {package}_*.deb .");
        run(Command::new("sh").args(["-c", &unpack]).current_dir(&directory))
    })?;
    let places = ["usr/bin", "usr/sbin", "usr/lib/nginx/modules"].map(|place| directory.join(place).join(program));
    let found = places.into_iter().find(|file| file.is_file());
    let found = found.ok_or_else(|| format!("the package {package} has no {program}"))?;
    if lacks_libraries(&found) {
        let depends = format!("dpkg-deb --field {package}_*.deb Depends");
        let depends = Command::new("sh").args(["-c", &depends]).current_dir(&directory).output();
        let depends = depends.map_err(|error| error.to_string())?.stdout;
        apt_get(&["satisfy", String::from_utf8_lossy(&depends).trim()], package)?;
    }
    Ok(found)
}

/// Whether the loader misses something.
fn lacks_libraries(program: &Path) -> bool {
    let listed = Command::new("ldd").arg(program).output();
    listed.is_ok_and(|listed| String::from_utf8_lossy(&listed.stdout).contains("not found"))
}

/// Does `work` in `directory` unless it was done already with the same `sources` of `tests/tools`, which it finds there.
fn once(directory: &Path, sources: &[&str], work: impl FnOnce() -> Result<(), String>) -> Result<(), String> {
    let stamp = directory.join("stamp");
    let mut wanted = String::from("done\n");
    for source in sources {
        wanted += &fs::read_to_string(package_directory().join("tools").join(source)).map_err(|e| e.to_string())?;
    }
    if fs::read_to_string(&stamp).is_ok_and(|done| done == wanted) {
        return Ok(());
    }
    // It need not be there.
    let _ = fs::remove_dir_all(directory);
    fs::create_dir_all(directory).map_err(|error| error.to_string())?;
    for source in sources {
        fs::copy(package_directory().join("tools").join(source), directory.join(source)).map_err(|e| e.to_string())?;
    }
    work()?;
    fs::write(stamp, wanted).map_err(|error| error.to_string())
}

/// The first of `names` on the path, or where Debian keeps servers and nginx' modules.
fn find(names: &[&str]) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    let entries = || std::env::split_paths(&path).chain(["/usr/sbin".into(), "/usr/lib/nginx/modules".into()]);
    names.iter().find_map(|name| entries().map(|entry| entry.join(name)).find(|file| file.is_file()))
}

fn find_or_install(program: &str, package: &str) -> Result<PathBuf, String> {
    if let Some(found) = find(&[program]) {
        return Ok(found);
    }
    install(package)?;
    find(&[program]).ok_or_else(|| format!("the package {package} has no {program}"))
}

/// Installs a package of the system, where that may be done.
fn install(package: &str) -> Result<(), String> {
    apt_get(&["install", package], package)
}

/// Has the system install something for a package's sake, where that may be done.
fn apt_get(what: &[&str], package: &str) -> Result<(), String> {
    let may = find(&["apt-get"]).is_some() && rustix::process::geteuid().is_root();
    if !may {
        return Err(format!("please install {package}: only root can, with apt-get"));
    }
    refresh_package_lists();
    let mut command = Command::new("apt-get");
    command.args(["--yes", "--quiet", "--no-install-recommends", "-o", "DPkg::Lock::Timeout=600"]).args(what);
    run(command.env("DEBIAN_FRONTEND", "noninteractive"))
}

/// A fresh machine has no lists; one that cannot refresh them may have old ones that still serve.
fn refresh_package_lists() {
    let _ = run(Command::new("apt-get").args(["update", "--quiet"]));
}

fn run(command: &mut Command) -> Result<(), String> {
    let output = command.stdin(Stdio::null()).output().map_err(|error| format!("{command:?}: {error}"))?;
    if output.status.success() {
        return Ok(());
    }
    Err(format!("{command:?}: {}: {}", output.status, String::from_utf8_lossy(&output.stderr).trim()))
}
