//! Real `meridian` processes for tests: started, killed, frozen, and always cleaned up.
//!
//! [`Server`] is one node process (`start-single-node`, or `start` with the flags the test gives). [`LocalCluster`] drives
//! `meridian cluster …`, the command that operators use. Both end what they started when they are dropped, also when the test fails.
//! Ports come from one window (`MERIDIAN_TEST_PORTS`, by default 29000): each test names its own offset, so that tests run side by side.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

const POLL: Duration = Duration::from_millis(10);

/// The `meridian` binary: `MERIDIAN_BIN`, or the one beside this test, built if it is missing.
pub fn binary() -> PathBuf {
    static BINARY: OnceLock<PathBuf> = OnceLock::new();
    BINARY.get_or_init(|| find_binary().expect("no meridian binary")).clone()
}

fn find_binary() -> Result<PathBuf> {
    if let Some(path) = std::env::var_os("MERIDIAN_BIN") {
        return Ok(path.into());
    }
    // <target>/<profile>/deps/<test>, or <target>/<profile>/<program>.
    let exe = std::env::current_exe()?;
    let mut profile = exe.parent().context("an executable without a directory")?;
    if profile.ends_with("deps") {
        profile = profile.parent().context("a target directory")?;
    }
    let path = profile.join("meridian");
    if !path.exists() {
        let mut build = Command::new("cargo");
        build.args(["build", "-p", "meridian"]).env("CARGO_TARGET_DIR", profile.parent().context("a target directory")?);
        if profile.ends_with("release") {
            build.arg("--release");
        }
        anyhow::ensure!(build.status()?.success(), "building meridian failed");
    }
    Ok(path)
}

/// Port number `offset` of the tests' window.
pub fn port(offset: u16) -> u16 {
    let base: u16 = std::env::var("MERIDIAN_TEST_PORTS").ok().and_then(|v| v.parse().ok()).unwrap_or(29000);
    base + offset
}

/// A directory for a test's data, removed when dropped unless `MERIDIAN_TEST_KEEP` is set.
pub struct Scratch(PathBuf);

impl Scratch {
    /// An empty directory of this name.
    pub fn new(name: &str) -> Result<Self> {
        let root = std::env::var_os("MERIDIAN_TEST_DIR").map_or_else(std::env::temp_dir, PathBuf::from);
        let path = root.join(format!("meridian-test-{name}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&path);
        std::fs::create_dir_all(&path).with_context(|| format!("creating {}", path.display()))?;
        Ok(Scratch(path))
    }
    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if std::env::var_os("MERIDIAN_TEST_KEEP").is_none() {
            let _ = std::fs::remove_dir_all(&self.0);
        }
    }
}

/// GET of a path on a loopback HTTP port: status and body.
pub fn http_get(port: u16, path: &str) -> Result<(u16, String)> {
    http("GET", port, path)
}

/// POST without a body.
pub fn http_post(port: u16, path: &str) -> Result<(u16, String)> {
    http("POST", port, path)
}

fn http(method: &str, port: u16, path: &str) -> Result<(u16, String)> {
    let mut stream = TcpStream::connect_timeout(&([127, 0, 0, 1], port).into(), Duration::from_secs(2))?;
    stream.set_read_timeout(Some(Duration::from_secs(30)))?;
    stream
        .write_all(format!("{method} {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\nConnection: close\r\n\r\n").as_bytes())?;
    let mut text = String::new();
    stream.read_to_string(&mut text)?;
    let status = text.split(' ').nth(1).and_then(|s| s.parse().ok()).context("not an HTTP answer")?;
    Ok((status, text.split_once("\r\n\r\n").map_or(String::new(), |(_, body)| body.to_owned())))
}

/// Asks again until the condition holds; an error that names `what` after `limit`.
pub fn wait_until(what: &str, limit: Duration, mut condition: impl FnMut() -> bool) -> Result<Duration> {
    let began = Instant::now();
    while !condition() {
        if began.elapsed() > limit {
            bail!("{what}: not within {limit:?}");
        }
        std::thread::sleep(POLL);
    }
    Ok(began.elapsed())
}

/// How a node process is started.
#[derive(Clone, Debug)]
pub struct ServerOptions {
    /// `start-single-node` or `start`.
    pub command: &'static str,
    /// Its data.
    pub data_dir: PathBuf,
    /// SQL port; HTTP is the one after it.
    pub sql_port: u16,
    /// More flags. `--insecure` is added unless `--certs-dir` is among them.
    pub flags: Vec<String>,
    /// Environment.
    pub env: Vec<(String, String)>,
}

impl ServerOptions {
    /// A single node with its data in `directory`.
    pub fn single(directory: &Path, sql_port: u16) -> Self {
        ServerOptions { command: "start-single-node", data_dir: directory.join("data"), sql_port, flags: vec![], env: vec![] }
    }
    /// With one more flag and its value.
    #[must_use]
    pub fn flag(mut self, name: &str, value: &str) -> Self {
        self.flags.push(name.to_owned());
        if !value.is_empty() {
            self.flags.push(value.to_owned());
        }
        self
    }
}

/// One node process.
pub struct Server {
    options: ServerOptions,
    child: Child,
    log: PathBuf,
}

impl Server {
    /// Starts the process; does not wait until it serves.
    pub fn start(options: ServerOptions) -> Result<Server> {
        let log = options.data_dir.with_extension("log");
        let file = std::fs::OpenOptions::new().create(true).append(true).open(&log)?;
        let mut command = Command::new(binary());
        command
            .arg(options.command)
            .arg("--data-dir")
            .arg(&options.data_dir)
            .args(["--listen", &format!("127.0.0.1:{}", options.sql_port)])
            .args(["--http", &format!("127.0.0.1:{}", options.sql_port + 1)])
            .args(&options.flags)
            .envs(options.env.iter().cloned());
        if !options.flags.iter().any(|f| f == "--certs-dir" || f == "--no-insecure") {
            command.arg("--insecure");
        }
        let child = command.stdin(Stdio::null()).stdout(file.try_clone()?).stderr(file).spawn().context("starting meridian")?;
        Ok(Server { options, child, log })
    }

    /// Starts the process and waits until it serves SQL.
    pub fn start_ready(options: ServerOptions) -> Result<Server> {
        let mut server = Server::start(options)?;
        server.wait_ready(Duration::from_secs(60))?;
        Ok(server)
    }

    /// Waits until it serves SQL.
    pub fn wait_ready(&mut self, limit: Duration) -> Result<Duration> {
        let began = Instant::now();
        loop {
            if matches!(http_get(self.http_port(), "/health/ready"), Ok((200, _))) {
                return Ok(began.elapsed());
            }
            if let Some(status) = self.child.try_wait()? {
                bail!("the node ended ({status}):\n{}", self.log_tail());
            }
            if began.elapsed() > limit {
                bail!("the node is not ready within {limit:?}:\n{}", self.log_tail());
            }
            std::thread::sleep(POLL);
        }
    }

    /// `kill -9`, and waits until the process is gone.
    pub fn kill(&mut self) -> Result<()> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }

    /// Starts it again with the same flags; it must have ended.
    pub fn restart(&mut self) -> Result<()> {
        let options = self.options.clone();
        *self = Server::start(options)?;
        Ok(())
    }

    /// SIGTERM.
    pub fn terminate(&self) -> Result<()> {
        let status = Command::new("kill").args(["-TERM", &self.child.id().to_string()]).status()?;
        anyhow::ensure!(status.success(), "kill -TERM failed");
        Ok(())
    }

    /// Waits for its end; answers whether it ended with success.
    pub fn wait_end(&mut self, limit: Duration) -> Result<bool> {
        let began = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait()? {
                return Ok(status.success());
            }
            if began.elapsed() > limit {
                bail!("the node did not end within {limit:?}:\n{}", self.log_tail());
            }
            std::thread::sleep(POLL);
        }
    }

    /// HTTP port.
    pub fn http_port(&self) -> u16 {
        self.options.sql_port + 1
    }

    /// Where to connect.
    pub fn url(&self) -> String {
        format!("postgresql://root@127.0.0.1:{}/defaultdb?sslmode=disable", self.options.sql_port)
    }

    /// How it was started.
    pub fn options_mut(&mut self) -> &mut ServerOptions {
        &mut self.options
    }

    /// Everything that it logged.
    pub fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    fn log_tail(&self) -> String {
        let text = self.log();
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(20)..].join("\n")
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            eprintln!("--- end of {} ---\n{}", self.log.display(), self.log_tail());
        }
    }
}

/// A cluster run by `meridian cluster`.
pub struct LocalCluster {
    dir: PathBuf,
    base_port: u16,
}

impl LocalCluster {
    /// `cluster up` with these flags; returns when every range has its replicas.
    pub fn up(dir: &Path, base_port: u16, flags: &[&str]) -> Result<LocalCluster> {
        let cluster = LocalCluster { dir: dir.to_owned(), base_port };
        let port = base_port.to_string();
        let mut all = vec!["up", "--base-port", &port];
        all.extend(flags);
        cluster.run(&all)?;
        Ok(cluster)
    }

    /// A `cluster` subcommand; its standard output.
    pub fn run(&self, arguments: &[&str]) -> Result<String> {
        let output = self.try_run(arguments)?;
        if !output.status.success() {
            bail!("cluster {arguments:?} failed:\n{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        }
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    fn try_run(&self, arguments: &[&str]) -> Result<Output> {
        let mut command = Command::new(binary());
        command
            .arg("cluster")
            .args(arguments)
            .arg("--dir")
            .arg(&self.dir)
            .env("MERIDIAN_LOG", std::env::var("MERIDIAN_LOG").unwrap_or("info".into()));
        command.stdin(Stdio::null()).output().context("running meridian cluster")
    }

    /// `kill`, `restart`, `pause`, `resume`, `wipe` of a node, numbered from 1.
    pub fn act(&self, action: &str, node: usize) -> Result<()> {
        self.run(&[action, &node.to_string()]).map(drop)
    }

    /// SQL URL of a node, numbered from 1.
    pub fn url(&self, node: usize) -> String {
        format!("postgresql://root@127.0.0.1:{}/defaultdb?sslmode=disable", self.port(node))
    }

    /// HTTP port of a node, numbered from 1.
    pub fn http_port(&self, node: usize) -> u16 {
        self.port(node) + 2
    }

    fn port(&self, node: usize) -> u16 {
        self.base_port + 10 * (node as u16 - 1)
    }

    /// Whether the node serves SQL.
    pub fn is_ready(&self, node: usize) -> bool {
        matches!(http_get(self.http_port(node), "/health/ready"), Ok((200, _)))
    }

    /// One figure of a node's metrics.
    pub fn metric(&self, node: usize, name: &str) -> Option<u64> {
        let (_, text) = http_get(self.http_port(node), "/metrics").ok()?;
        text.lines().find_map(|line| line.strip_prefix(name)?.trim().parse().ok())
    }

    /// The log of a node.
    pub fn log(&self, node: usize) -> String {
        std::fs::read_to_string(self.dir.join(format!("n{node}/node.log"))).unwrap_or_default()
    }
}

impl Drop for LocalCluster {
    fn drop(&mut self) {
        if std::thread::panicking() {
            for node in 1..=9 {
                let text = self.log(node);
                let lines: Vec<&str> = text.lines().collect();
                if !lines.is_empty() {
                    eprintln!("--- end of node {node}'s log ---\n{}", lines[lines.len().saturating_sub(15)..].join("\n"));
                }
            }
        }
        let keep: &[&str] = if std::env::var_os("MERIDIAN_TEST_KEEP").is_some() { &["down", "--keep"] } else { &["down"] };
        match self.try_run(keep) {
            Ok(output) if output.status.success() => {}
            other => eprintln!("cluster down: {other:?}"),
        }
    }
}
