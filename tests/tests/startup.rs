//! What a node refuses to start on, and the secure modes.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use meridian_tests::process::{Scratch, Server, ServerOptions, binary, port, wait_until};

/// A node that must not start: its exit and what it says.
fn refusal(options: ServerOptions) -> Result<String> {
    let mut server = Server::start(options)?;
    ensure!(!server.wait_end(Duration::from_secs(30))?, "the node ended with success");
    Ok(server.log())
}

#[test]
fn a_store_of_a_newer_format_is_refused_and_left_alone() -> Result<()> {
    let scratch = Scratch::new("format")?;
    let options = ServerOptions::single(scratch.path(), port(12));
    let mut server = Server::start_ready(options.clone())?;
    server.terminate()?;
    ensure!(server.wait_end(Duration::from_secs(20))?, "drain failed");
    let file = options.data_dir.join("STORE");
    let old = std::fs::read_to_string(&file).with_context(|| format!("reading {}", file.display()))?;
    std::fs::write(&file, old.replace("format 1\n", "format 2\n"))?;
    let said = refusal(options.clone())?;
    ensure!(said.contains("format 2") && said.contains("newer version"), "{said}");
    // With the right mark it opens again: nothing was touched.
    std::fs::write(&file, old)?;
    Server::start_ready(options)?;
    Ok(())
}

#[test]
fn security_is_not_optional_by_accident() -> Result<()> {
    let scratch = Scratch::new("nosec")?;
    let output = Command::new(binary())
        .args([
            "start-single-node",
            "--listen",
            &format!("127.0.0.1:{}", port(16)),
            "--http",
            &format!("127.0.0.1:{}", port(17)),
            "--data-dir",
        ])
        .arg(scratch.path().join("data"))
        .output()?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(!output.status.success() && said.contains("--certs-dir") && said.contains("--insecure"), "{said}");
    Ok(())
}

/// The build machines' kernel clocks are not synchronised; where one is, the node rightly starts and waits for its cluster.
#[test]
fn an_unsynchronised_clock_without_a_bound_is_refused() -> Result<()> {
    let scratch = Scratch::new("clock")?;
    let mut options = ServerOptions::single(scratch.path(), port(20));
    options.command = "start";
    let options = options.flag("--rpc-listen", &format!("127.0.0.1:{}", port(22))).flag("--join", &format!("127.0.0.1:{}", port(23)));
    let mut server = Server::start(options)?;
    let live = || matches!(meridian_tests::process::http_get(port(21), "/health/live"), Ok((200, _)));
    let mut ended = None;
    wait_until("an end or a live node", Duration::from_secs(30), || {
        ended = server.wait_end(Duration::ZERO).ok();
        ended.is_some() || live()
    })?;
    if ended.is_some() {
        let said = server.log();
        ensure!(ended == Some(false) && said.contains("--clock-bound"), "{said}");
    }
    Ok(())
}

fn meridian(arguments: &[&str]) -> Result<()> {
    let output = Command::new(binary()).args(arguments).output()?;
    ensure!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    Ok(())
}

fn certificates(directory: &Path) -> Result<String> {
    let dir = directory.join("certs");
    let dir = dir.to_str().context("a path in UTF-8")?.to_owned();
    meridian(&["cert", "create-ca", "--certs-dir", &dir])?;
    meridian(&["cert", "create-node", "--certs-dir", &dir, "localhost", "127.0.0.1"])?;
    Ok(dir)
}

/// One statement by psql: whether it succeeded, and its output and errors.
fn psql(port: u16, sslmode: &str, password: &str, certs: &str, statement: &str) -> Result<(bool, String)> {
    let url =
        format!("host=localhost hostaddr=127.0.0.1 port={port} user=root dbname=defaultdb sslmode={sslmode} sslrootcert={certs}/ca.crt");
    let output =
        Command::new("psql").args(["-XAtw", "-c", statement, &url]).env("PGPASSWORD", password).output().context("running psql")?;
    Ok((output.status.success(), format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))))
}

#[test]
fn a_secure_node_wants_tls_and_the_right_password() -> Result<()> {
    let scratch = Scratch::new("secure")?;
    let certs = certificates(scratch.path())?;
    let secret = scratch.path().join("password");
    std::fs::write(&secret, "correct horse\n")?;
    let options = ServerOptions::single(scratch.path(), port(24))
        .flag("--certs-dir", &certs)
        .flag("--root-password-file", secret.to_str().context("UTF-8")?);
    let mut server = Server::start_ready(options)?;
    let (ok, said) = psql(port(24), "verify-full", "correct horse", &certs, "SELECT 40 + 2")?;
    ensure!(ok && said.trim() == "42", "{said}");
    let (ok, said) = psql(port(24), "verify-full", "wrong horse", &certs, "SELECT 1")?;
    ensure!(!ok && said.contains("password authentication failed for user \"root\""), "{said}");
    let tls = meridian_tests::tls::Connector::new(&Path::new(&certs).join("ca.crt"))?;
    let config =
        format!("host=localhost hostaddr=127.0.0.1 port={} user=root dbname=defaultdb password='wrong horse' sslmode=require", port(24));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let refusal = runtime.block_on(tokio_postgres::connect(&config, tls)).err().context("a wrong password was let in")?;
    ensure!(refusal.code() == Some(&tokio_postgres::error::SqlState::INVALID_PASSWORD), "{refusal:?}");
    let (ok, said) = psql(port(24), "disable", "correct horse", &certs, "SELECT 1")?;
    ensure!(!ok && !said.contains("42"), "plaintext must be refused: {said}");
    ensure!(said.contains("encryption") || said.contains("TLS") || said.contains("SSL"), "the refusal should say why: {said}");
    let wire = plaintext_refusal(port(24))?;
    ensure!(wire == "28000", "{wire}");

    // The password is data: it stays when the node starts without the flag, and it can be changed by SQL.
    server.terminate()?;
    ensure!(server.wait_end(Duration::from_secs(20))?, "drain failed");
    server.options_mut().flags.truncate(2);
    server.restart()?;
    server.wait_ready(Duration::from_secs(30))?;
    let (ok, said) = psql(port(24), "verify-full", "correct horse", &certs, "SELECT 43")?;
    ensure!(ok && said.trim() == "43", "{said}");
    Ok(())
}

/// A plaintext startup at a secure node: the SQLSTATE of its refusal.
fn plaintext_refusal(port: u16) -> Result<String> {
    use std::io::{Read, Write};
    let mut stream = std::net::TcpStream::connect(("127.0.0.1", port))?;
    let body = b"\0\x03\0\0user\0root\0database\0defaultdb\0\0";
    stream.write_all(&u32::try_from(body.len() + 4)?.to_be_bytes())?;
    stream.write_all(body)?;
    stream.set_read_timeout(Some(Duration::from_secs(5)))?;
    let mut answer = vec![];
    stream.read_to_end(&mut answer)?;
    let text = String::from_utf8_lossy(&answer).into_owned();
    let code = text.split('\0').find_map(|field| field.strip_prefix('C')).with_context(|| format!("no SQLSTATE in {text:?}"))?;
    Ok(code.to_owned())
}

#[test]
fn three_nodes_trust_each_other_by_certificate() -> Result<()> {
    let scratch = Scratch::new("secure3")?;
    let certs = certificates(scratch.path())?;
    let secret = scratch.path().join("password");
    std::fs::write(&secret, "s3cret")?;
    let rpc: Vec<String> = (0..3).map(|n| format!("127.0.0.1:{}", port(32 + 4 * n))).collect();
    let mut servers = vec![];
    for (at, address) in rpc.iter().enumerate() {
        let directory = scratch.path().join(format!("n{at}"));
        std::fs::create_dir_all(&directory)?;
        let mut options = ServerOptions::single(&directory, port(30 + 4 * at as u16));
        options.command = "start";
        let options = options
            .flag("--rpc-listen", address)
            .flag("--join", &rpc.join(","))
            .flag("--certs-dir", &certs)
            .flag("--root-password-file", secret.to_str().context("UTF-8")?)
            .flag("--shared-host-clock", "");
        servers.push(Server::start(options)?);
    }
    // Without a certificate of the cluster's authority nobody founds anything.
    meridian(&["init", "--host", &rpc[0], "--certs-dir", &certs])?;
    for server in &mut servers {
        server.wait_ready(Duration::from_secs(60))?;
    }
    let (ok, said) = psql(port(30), "verify-full", "s3cret", &certs, "CREATE TABLE t (id int PRIMARY KEY); INSERT INTO t VALUES (7)")?;
    ensure!(ok, "{said}");
    let (ok, said) = psql(port(38), "verify-full", "s3cret", &certs, "SELECT id FROM t")?;
    ensure!(ok && said.trim() == "7", "{said}");
    Ok(())
}
