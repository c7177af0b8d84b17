//! The two servers under comparison, private to the test: own data directory, own port, stopped when dropped.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use tempfile::TempDir;

use super::client::Client;

/// Where Debian's `postgresql-15` puts the server's programs.
const POSTGRES_BIN: &str = "/usr/lib/postgresql/15/bin";

/// How often a server is asked whether it is there, and for how long.
const START_POLL: Duration = Duration::from_millis(100);
const START_POLLS_MAX: u32 = 600;

/// The user and the first database on both sides.
pub const USER: &str = "root";
pub const DATABASE: &str = "defaultdb";

/// A port that was free a moment ago.
fn free_port() -> anyhow::Result<u16> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}

/// Polls until the server lets a client in.
fn wait_until_ready(port: u16, name: &str, mut alive: impl FnMut() -> anyhow::Result<()>) -> anyhow::Result<()> {
    let mut last = String::new();
    for _ in 0..START_POLLS_MAX {
        match Client::connect(port, USER, DATABASE) {
            Ok(_) => return Ok(()),
            Err(error) => last = error.to_string(),
        }
        alive()?;
        std::thread::sleep(START_POLL);
    }
    bail!("{name} did not come up on port {port}: {last}")
}

/// A private PostgreSQL 15.
pub struct Postgres {
    directory: TempDir,
    pub port: u16,
}

impl Postgres {
    /// `initdb` with byte-order collation and UTF-8 case mapping (as ours), then a server in UTC on a free port of the loopback interface.
    pub fn start() -> anyhow::Result<Self> {
        ensure!(
            Path::new(POSTGRES_BIN).join("initdb").exists(),
            "PostgreSQL 15 is needed for the differential test and is not in {POSTGRES_BIN}: install postgresql-15 (scripts/test does)"
        );
        let directory = tempfile::Builder::new().prefix("meridian-differential-pg").tempdir()?;
        if is_root() {
            run(Command::new("chown").arg("postgres").arg(directory.path()))?;
        }
        let postgres = Self { directory, port: free_port()? };
        let data = postgres.data();
        run(program("initdb").args(["-D", &data, "-U", USER, "--locale=C.UTF-8", "--encoding=UTF8", "--auth=trust", "--no-sync"]))?;
        let options = format!(
            "-p {} -c listen_addresses=127.0.0.1 -c unix_socket_directories= -c fsync=off -c TimeZone=UTC -c log_timezone=UTC",
            postgres.port
        );
        let log = postgres.directory.path().join("log");
        run(program("pg_ctl").args(["-D", &data, "-w", "-o", &options, "-l", &log.to_string_lossy(), "start"]))?;
        let mut client = Client::connect(postgres.port, USER, "postgres")?;
        client.simple(&format!("CREATE DATABASE {DATABASE}"))?;
        wait_until_ready(postgres.port, "PostgreSQL", || Ok(()))?;
        Ok(postgres)
    }

    fn data(&self) -> String {
        self.directory.path().join("data").to_string_lossy().into_owned()
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        let _ = run(program("pg_ctl").args(["-D", &self.data(), "-m", "immediate", "stop"]));
    }
}

/// A PostgreSQL program, as user postgres when the test runs as root (PostgreSQL refuses to run as root).
fn program(name: &str) -> Command {
    let path = Path::new(POSTGRES_BIN).join(name);
    let mut command = if is_root() {
        let mut command = Command::new("runuser");
        command.args(["-u", "postgres", "--"]).arg(path);
        command
    } else {
        Command::new(path)
    };
    command.current_dir("/");
    command
}

fn is_root() -> bool {
    Command::new("id").arg("-u").output().is_ok_and(|output| output.stdout.trim_ascii() == b"0")
}

fn run(command: &mut Command) -> anyhow::Result<()> {
    // A daemon that inherits a pipe would keep `output()` waiting: the output goes to a file that the daemon may keep.
    let output = tempfile::NamedTempFile::new()?;
    let status = command
        .stdin(Stdio::null())
        .stdout(output.reopen()?)
        .stderr(output.reopen()?)
        .status()
        .with_context(|| format!("starting {command:?}"))?;
    ensure!(status.success(), "{command:?} failed: {}", std::fs::read_to_string(output.path()).unwrap_or_default());
    Ok(())
}

/// A private single-node Meridian: the built binary in its own process.
pub struct Meridian {
    process: Child,
    _directory: TempDir,
    pub port: u16,
}

impl Meridian {
    pub fn start() -> anyhow::Result<Self> {
        let binary = meridian_binary()?;
        let directory = tempfile::Builder::new().prefix("meridian-differential").tempdir()?;
        let (port, http) = (free_port()?, free_port()?);
        let log = std::fs::File::create(directory.path().join("log"))?;
        let log_path = directory.path().join("log");
        let mut process = Command::new(&binary)
            .arg("start-single-node")
            .arg("--data-dir")
            .arg(directory.path().join("data"))
            .args(["--listen", &format!("127.0.0.1:{port}"), "--http", &format!("127.0.0.1:{http}"), "--insecure"])
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .with_context(|| format!("starting {}", binary.display()))?;
        let ready = wait_until_ready(port, "Meridian", || match process.try_wait()? {
            None => Ok(()),
            Some(status) => bail!("Meridian ended with {status}: {}", std::fs::read_to_string(&log_path).unwrap_or_default()),
        });
        let meridian = Self { process, _directory: directory, port };
        ready?;
        Ok(meridian)
    }
}

impl Drop for Meridian {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// `MERIDIAN_BIN`, or the binary beside this test in the target directory, built on demand.
fn meridian_binary() -> anyhow::Result<PathBuf> {
    if let Some(path) = std::env::var_os("MERIDIAN_BIN") {
        return Ok(path.into());
    }
    // The test is <target>/<profile>/deps/differential-…
    let test = std::env::current_exe()?;
    let profile = test.ancestors().nth(2).context("the test stands outside a target directory")?;
    let binary = profile.join("meridian");
    // Always asked, since cargo knows whether the binary is older than the sources; a build that is current costs a moment.
    let mut build = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    build.args(["build", "-p", "meridian", "--bin", "meridian", "--target-dir"]);
    build.arg(profile.parent().context("the target directory has no parent")?);
    if profile.ends_with("release") {
        build.arg("--release");
    }
    build.current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/.."));
    ensure!(build.status()?.success(), "building the meridian binary failed");
    Ok(binary)
}
