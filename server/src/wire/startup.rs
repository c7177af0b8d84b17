//! From an accepted socket to an authenticated user: TLS, start-up packet, SCRAM-SHA-256.

use bytes::{Buf, Bytes};
use meridian_sql::error::{Result, SqlError, SqlState};
use meridian_sql::session::api::SessionStart;
use pgwire::api::auth::sasl::scram::{ScramSecret, ScramServerAuth};
use pgwire::messages::startup::{Authentication, NegotiateProtocolVersion};
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;

use super::backend;
use super::frontend::{Body, Frontend, decode, violation};
use super::io::{ClientIo, MAX_STARTUP_BYTES};
use super::socket::Socket;

const SSL_REQUEST: u32 = 80_877_103;
const GSS_REQUEST: u32 = 80_877_104;
const CANCEL_REQUEST: u32 = 80_877_102;
/// SASL messages may be as long as PostgreSQL allows.
const MAX_AUTH_BYTES: usize = 65_535;
const MECHANISM: &str = "SCRAM-SHA-256";

/// What the first packets of a connection turned out to be.
pub enum Opening {
    /// A client that wants a session; not yet authenticated.
    Session(Box<ClientIo>, SessionStart),
    /// A cancel request: process id and secret.
    Cancel(i32, Bytes),
    /// The client left.
    Gone,
}

/// Answers TLS and GSS requests until a start-up or cancel packet comes.
pub async fn open(stream: TcpStream, tls: Option<&TlsAcceptor>, require_tls: bool) -> Result<Opening> {
    let mut io = Box::new(ClientIo::new(Socket::plain(stream), MAX_STARTUP_BYTES));
    // Each request may be made once: more is a client playing games.
    for _ in 0..3 {
        let Some(mut packet) = io.startup_packet().await? else { return Ok(Opening::Gone) };
        match packet.get_u32() {
            SSL_REQUEST if !io.is_tls() => match tls {
                Some(acceptor) => {
                    io.output.extend_from_slice(b"S");
                    io.flush().await?;
                    let stream = acceptor.accept(io.into_plain_socket()?).await.map_err(super::io::lost)?;
                    io = Box::new(ClientIo::new(Socket::Tls(Box::new(stream)), MAX_STARTUP_BYTES));
                }
                None => {
                    io.output.extend_from_slice(b"N");
                    io.flush().await?;
                }
            },
            GSS_REQUEST => {
                io.output.extend_from_slice(b"N");
                io.flush().await?;
            }
            CANCEL_REQUEST => {
                if packet.len() < 8 {
                    return Err(violation("invalid length of cancel request packet"));
                }
                let pid = packet.get_i32();
                return Ok(Opening::Cancel(pid, packet));
            }
            version => {
                if require_tls && !io.is_tls() {
                    let refusal = SqlError::new(SqlState::INVALID_AUTHORIZATION, "this node accepts only TLS connections");
                    return fatal(&mut io, refusal).await;
                }
                let start = match parameters(&mut io, version, packet) {
                    Ok(start) => start,
                    Err(error) => return fatal(&mut io, error).await,
                };
                return Ok(Opening::Session(io, start));
            }
        }
    }
    fatal(&mut io, violation("too many negotiation requests")).await
}

async fn fatal<T>(io: &mut ClientIo, error: SqlError) -> Result<T> {
    backend::error(&mut io.output, "FATAL", &error);
    io.close().await;
    Err(error)
}

fn parameters(io: &mut ClientIo, version: u32, packet: Bytes) -> Result<SessionStart> {
    let (major, minor) = (version >> 16, version & 0xffff);
    if major != 3 {
        let message = format!("unsupported frontend protocol {major}.{minor}: server supports 3.0 to 3.0");
        return Err(SqlError::new(SqlState::FEATURE_NOT_SUPPORTED, message));
    }
    let mut start = SessionStart::default();
    let mut unknown_options = vec![];
    let mut body = Body(packet);
    loop {
        let name = body.string()?;
        if name.is_empty() {
            break;
        }
        let value = body.string()?;
        match name.as_str() {
            "user" => start.user = value,
            "database" => start.database = value,
            "options" => start.parameters.extend(command_line_options(&value)?),
            "replication" if matches!(value.as_str(), "false" | "off" | "no" | "0") => {}
            "replication" => return Err(SqlError::unsupported("the replication protocol")),
            name if name.starts_with("_pq_.") => unknown_options.push(name.to_owned()),
            _ => start.parameters.push((name, value)),
        }
    }
    if start.user.is_empty() {
        return Err(SqlError::new(SqlState::INVALID_AUTHORIZATION, "no PostgreSQL user name specified in startup packet"));
    }
    if start.database.is_empty() {
        start.database.clone_from(&start.user);
        // What a user of a fresh cluster means by `psql -U root`.
        if start.user == "root" {
            start.database = "defaultdb".into();
        }
    }
    if minor > 0 || !unknown_options.is_empty() {
        backend::put(&mut io.output, &NegotiateProtocolVersion::new(0, unknown_options));
    }
    Ok(start)
}

/// `-c name=value` and `--name=value` of the `options` parameter, backslash-escaped as libpq writes it.
fn command_line_options(text: &str) -> Result<Vec<(String, String)>> {
    let mut words = vec![String::new()];
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        match (c, words.last_mut()) {
            ('\\', Some(word)) => word.extend(chars.next()),
            (c, _) if c.is_ascii_whitespace() => words.push(String::new()),
            (c, Some(word)) => word.push(c),
            (_, None) => {}
        }
    }
    let mut words = words.into_iter().filter(|w| !w.is_empty());
    let mut options = vec![];
    while let Some(word) = words.next() {
        let setting = match (word.as_str(), word.strip_prefix("--"), word.strip_prefix("-c")) {
            ("-c", _, _) => words.next(),
            (_, Some(rest), _) => Some(rest.replace('-', "_")),
            (_, _, Some(rest)) => Some(rest.to_owned()),
            _ => None,
        };
        let Some((name, value)) = setting.as_deref().and_then(|s| s.split_once('=')) else {
            return Err(SqlError::new(SqlState::SYNTAX_ERROR, format!("invalid command-line argument for server process: {word}")));
        };
        options.push((name.to_owned(), value.to_owned()));
    }
    Ok(options)
}

/// Proves the client's knowledge of the password whose `verifier` (PostgreSQL's `SCRAM-SHA-256$…` form) is given. A user without one
/// goes through the same exchange with a made-up verifier, so that names cannot be probed, and fails at its end.
pub async fn authenticate(io: &mut ClientIo, user: &str, verifier: Option<&str>) -> Result<()> {
    io.set_max_message_bytes(MAX_AUTH_BYTES);
    backend::put(&mut io.output, &Authentication::SASL(vec![MECHANISM.into()]));
    io.flush().await?;
    let failed = || SqlError::new(SqlState::INVALID_PASSWORD, format!("password authentication failed for user \"{user}\""));

    let mut first = Body(password_message(io).await?);
    if first.string()? != MECHANISM {
        return Err(violation("client selected an invalid SASL authentication mechanism"));
    }
    let length = first.u32()? as i32;
    let client_first = first.bytes(usize::try_from(length).map_err(|_| violation("malformed SCRAM message"))?)?;
    let known = verifier.and_then(parse_verifier);
    let impostor = known.is_none();
    let secret = known.unwrap_or_else(|| ScramSecret::Verifier {
        salt: user.bytes().chain(*b"mock authentication").take(16).collect(),
        iterations: 4096,
        stored_key: vec![0; 32],
        server_key: vec![0; 32],
    });
    let (server_first, waiting) = ScramServerAuth::new()
        .on_client_first_message_with_secret(&client_first, secret)
        .map_err(|e| violation(format!("malformed SCRAM message: {e}")))?;
    backend::put(&mut io.output, &Authentication::SASLContinue(server_first.into()));
    io.flush().await?;

    let client_final = password_message(io).await?;
    let server_final = waiting.on_client_final_message(&client_final).map_err(|_| failed())?;
    if impostor {
        return Err(failed());
    }
    backend::put(&mut io.output, &Authentication::SASLFinal(server_final.into()));
    Ok(())
}

async fn password_message(io: &mut ClientIo) -> Result<Bytes> {
    let Some((tag, body)) = io.message().await? else {
        return Err(SqlError::new(SqlState::CONNECTION_FAILURE, "the client left during authentication"));
    };
    match decode(tag, body)? {
        Frontend::Password(body) => Ok(body),
        _ => Err(violation(format!("expected SASL response, got message type {tag}"))),
    }
}

fn parse_verifier(text: &str) -> Option<ScramSecret> {
    use base64::Engine;
    let decode = |s: &str| base64::engine::general_purpose::STANDARD.decode(s).ok();
    let mut parts = text.strip_prefix("SCRAM-SHA-256$")?.split('$');
    let (iterations, salt) = parts.next()?.split_once(':')?;
    let (stored, server) = parts.next()?.split_once(':')?;
    Some(ScramSecret::Verifier {
        salt: decode(salt)?,
        iterations: iterations.parse().ok()?,
        stored_key: decode(stored)?,
        server_key: decode(server)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_are_split_as_libpq_joins_them() {
        let options = command_line_options(r"-c statement_timeout=5s --application-name=my\ app -cgeqo=off").unwrap();
        let expected = [("statement_timeout", "5s"), ("application_name", "my app"), ("geqo", "off")];
        assert_eq!(options, expected.map(|(a, b)| (a.to_owned(), b.to_owned())));
        assert!(command_line_options("-z").is_err());
    }
}
