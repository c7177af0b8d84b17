//! One client's message loop.
//!
//! Messages are handled in order of arrival; output is flushed when a Sync, Flush or simple query has been answered. If the next
//! message is in the input buffer by then, it is held until there is none or until something has to wait, so that a pipelining client costs one write per
//! batch. After an error in the extended protocol everything up to Sync is skipped, as the protocol demands.

use std::sync::Arc;
use std::time::Duration;

use meridian_sql::error::{Result, SqlError, SqlState};
use meridian_sql::session::Session;
use meridian_sql::session::api::{Executed, TransactionStatus};
use tokio::sync::watch;

use super::backend;
use super::frontend::{Frontend, Target, decode};
use super::io::ClientIo;
use super::sink::WireSink;
use super::socket::sending_before_waits;

/// Why a connection ended.
#[derive(Debug, PartialEq, Eq)]
pub enum End {
    /// Terminate, or the socket closed.
    Client,
    /// The node is draining.
    Drained,
    /// An error that the connection does not survive.
    Fatal,
}

/// Serves an authenticated session until it ends.
pub async fn serve(io: &mut ClientIo, session: &mut Session, mut drain: watch::Receiver<bool>) -> End {
    backend::ready(&mut io.output, session.status());
    if io.flush().await.is_err() {
        return End::Client;
    }
    let mut skipping = false;
    loop {
        let (tag, message) = match next_message(io, session, &mut drain).await {
            Ok(Next::Message(tag, body)) => (tag, decode(tag, body)),
            Ok(Next::End(end)) => return end,
            Err(error) => return fatal(io, &error).await,
        };
        if matches!(message, Ok(Frontend::Terminate)) {
            // It may have asked and left in one breath, and read afterwards.
            let _ = io.flush().await;
            return End::Client;
        }
        let held = io.held().cloned();
        if let Err(error) = sending_before_waits(held, answer(io, session, tag, message, &mut skipping)).await {
            return if error.code == SqlState::CONNECTION_FAILURE { End::Client } else { fatal(io, &error).await };
        }
    }
}

/// Does what one message asks for. `skipping`: an error of the extended protocol has everything up to Sync skipped. `Err`: the connection does not survive it.
async fn answer(io: &mut ClientIo, session: &mut Session, tag: u8, message: Result<Frontend>, skipping: &mut bool) -> Result<()> {
    match message {
        Ok(Frontend::Query(sql)) => {
            *skipping = false;
            let outcome = session.simple_query(&sql, &mut WireSink::new(io, false)).await;
            finish(io, session, outcome).await
        }
        Ok(Frontend::Sync) => {
            *skipping = false;
            let outcome = session.sync(&mut WireSink::new(io, true)).await;
            finish(io, session, outcome).await
        }
        // PostgreSQL: "unexpected password message", and out.
        Ok(Frontend::Password(_)) => Err(super::frontend::violation("invalid frontend message type 112")),
        Ok(_) if *skipping => Ok(()),
        Ok(Frontend::Flush) => io.flush().await,
        Ok(message) => match extended(io, session, message).await {
            Ok(()) => Ok(()),
            Err(error) => {
                *skipping = true;
                session.extended_failed().await;
                report_at_once(io, &error).await
            }
        },
        // The frame was cut correctly, so the stream is still in step: an error like any other.
        Err(error) => match tag {
            b'Q' | b'F' | b'S' => {
                *skipping = false;
                session.extended_failed().await;
                finish(io, session, Err(error)).await
            }
            b'P' | b'B' | b'D' | b'E' | b'C' | b'H' => {
                *skipping = true;
                session.extended_failed().await;
                report_at_once(io, &error).await
            }
            b'd' | b'c' | b'f' => Ok(()),
            // PostgreSQL gives a client up that sends what no client sends.
            _ => Err(SqlError { code: SqlState::PROTOCOL_VIOLATION, ..error }),
        },
    }
}

enum Next {
    Message(u8, bytes::Bytes),
    End(End),
}

async fn next_message(io: &mut ClientIo, session: &mut Session, drain: &mut watch::Receiver<bool>) -> Result<Next> {
    if let Some((tag, body)) = io.buffered_message()? {
        return Ok(Next::Message(tag, body));
    }
    if io.held().is_some() {
        io.flush().await?;
    }
    io.flush_if_large().await?;
    let idle_limit: Option<Duration> = session.idle_timeout();
    let deadline = async {
        match idle_limit {
            Some(limit) => tokio::time::sleep(limit).await,
            None => std::future::pending().await,
        }
    };
    // A session inside a transaction may finish it while the node drains.
    let idle = session.status() == TransactionStatus::Idle;
    let leaving = async move {
        if idle {
            let _ = drain.wait_for(|d| *d).await;
        } else {
            std::future::pending::<()>().await;
        }
    };
    tokio::select! {
        biased;
        message = io.message() => match message? {
            Some((tag, body)) => Ok(Next::Message(tag, body)),
            None => Ok(Next::End(End::Client)),
        },
        () = leaving => {
            let goodbye = SqlError::new(SqlState::ADMIN_SHUTDOWN, "terminating connection due to administrator command");
            backend::error(&mut io.output, "FATAL", &goodbye);
            io.close().await;
            Ok(Next::End(End::Drained))
        }
        () = deadline => Err(session.idle_timeout_error()),
        lost = session.locks_lost() => Err(lost),
    }
}

async fn extended(io: &mut ClientIo, session: &mut Session, message: Frontend) -> Result<()> {
    match message {
        Frontend::Parse { name, sql, types } => {
            session.parse(&name, &sql, &types).await?;
            backend::bare(&mut io.output, backend::PARSE_COMPLETE);
        }
        Frontend::Bind { portal, statement, formats, values, result_formats } => {
            session.bind(&portal, &statement, &formats, &values, &result_formats).await?;
            backend::bare(&mut io.output, backend::BIND_COMPLETE);
        }
        Frontend::Describe(Target::Statement(name)) => {
            let description = session.describe_statement(&name).await?;
            backend::parameters(&mut io.output, &description.parameters);
            describe(io, description.fields.as_ref());
        }
        Frontend::Describe(Target::Portal(name)) => {
            let fields = session.describe_portal(&name)?;
            describe(io, fields.as_ref());
        }
        Frontend::Execute { portal, max_rows } => {
            // With Sync already here the statement is the whole transaction: it commits, and may be retried, before its answer is final.
            let last = io.sync_is_next();
            let bound = session.describe_portal(&portal)?;
            let mut sink = WireSink::bound(io, bound);
            if session.execute(&portal, max_rows, last, &mut sink).await? == Executed::Suspended {
                backend::bare(&mut io.output, backend::PORTAL_SUSPENDED);
            }
        }
        Frontend::Close(target) => {
            match target {
                Target::Statement(name) => session.close_statement(&name),
                Target::Portal(name) => session.close_portal(&name),
            }
            backend::bare(&mut io.output, backend::CLOSE_COMPLETE);
        }
        // Left over from a COPY that failed: the client did not know yet.
        Frontend::CopyData(_) | Frontend::CopyDone | Frontend::CopyFail(_) => {}
        Frontend::Password(_) | Frontend::Query(_) | Frontend::Sync | Frontend::Flush | Frontend::Terminate => {
            return Err(super::frontend::violation("unexpected message"));
        }
    }
    Ok(())
}

fn describe(io: &mut ClientIo, fields: Option<&Arc<[meridian_sql::session::api::Field]>>) {
    match fields {
        Some(fields) => backend::row_description(&mut io.output, fields),
        None => backend::bare(&mut io.output, backend::NO_DATA),
    }
}

/// Ends a simple query or a Sync: error if there was one, ReadyForQuery, flush.
async fn finish(io: &mut ClientIo, session: &mut Session, outcome: Result<()>) -> Result<()> {
    if let Err(error) = outcome {
        report(io, &error)?;
    }
    backend::ready(&mut io.output, session.status());
    io.flush_or_hold().await
}

/// Tells the client, unless the client is what was lost.
fn report(io: &mut ClientIo, error: &SqlError) -> Result<()> {
    if matches!(error.code, SqlState::CONNECTION_FAILURE | SqlState::ADMIN_SHUTDOWN) {
        return Err(error.clone());
    }
    backend::error(&mut io.output, "ERROR", error);
    Ok(())
}

/// An error in the extended protocol: sent without waiting for Sync, since everything up to it is skipped, a Flush that the client
/// waits behind included.
async fn report_at_once(io: &mut ClientIo, error: &SqlError) -> Result<()> {
    report(io, error)?;
    io.flush().await
}

async fn fatal(io: &mut ClientIo, error: &SqlError) -> End {
    backend::error(&mut io.output, "FATAL", error);
    io.close().await;
    End::Fatal
}
