//! `meridian sql`: a small SQL shell, for machines without psql.

use std::io::{BufRead, IsTerminal, Write};

use anyhow::{Context, Result};
use tokio_postgres::{NoTls, SimpleQueryMessage};

/// Runs statements from `execute`, or from standard input, one result after the other. Answers whether all succeeded.
pub async fn run(url: &str, execute: &[String]) -> Result<bool> {
    let (client, connection) = tokio_postgres::connect(url, NoTls).await.with_context(|| format!("connecting to {url}"))?;
    let connection = tokio::spawn(connection);
    let mut ok = true;
    if execute.is_empty() {
        let stdin = std::io::stdin();
        let interactive = stdin.is_terminal();
        let mut pending = String::new();
        loop {
            if interactive {
                print!("{}", if pending.is_empty() { "meridian> " } else { "       -> " });
                std::io::stdout().flush()?;
            }
            let mut line = String::new();
            // A terminal is read from rarely and by this task alone: blocking is fine.
            if stdin.lock().read_line(&mut line)? == 0 {
                break;
            }
            if pending.is_empty() && matches!(line.trim(), "\\q" | "quit" | "exit") {
                break;
            }
            pending.push_str(&line);
            if line.trim_end().ends_with(';') {
                ok &= statement(&client, &std::mem::take(&mut pending)).await?;
            }
        }
        if !pending.trim().is_empty() {
            ok &= statement(&client, &pending).await?;
        }
    } else {
        for sql in execute {
            ok &= statement(&client, sql).await?;
        }
    }
    drop(client);
    connection.await??;
    Ok(ok)
}

async fn statement(client: &tokio_postgres::Client, sql: &str) -> Result<bool> {
    let messages = match client.simple_query(sql).await {
        Ok(messages) => messages,
        Err(error) => {
            match error.as_db_error() {
                Some(db) => {
                    eprintln!("{}:  {} (SQLSTATE {})", db.severity(), db.message(), db.code().code());
                    for (label, text) in [("DETAIL", db.detail()), ("HINT", db.hint())] {
                        if let Some(text) = text {
                            eprintln!("{label}:  {text}");
                        }
                    }
                }
                None => return Err(error.into()),
            }
            return Ok(false);
        }
    };
    let mut table: Vec<Vec<String>> = vec![];
    for message in messages {
        match message {
            SimpleQueryMessage::RowDescription(columns) => table = vec![columns.iter().map(|c| c.name().to_owned()).collect()],
            SimpleQueryMessage::Row(row) => table.push((0..row.len()).map(|i| row.get(i).unwrap_or("").to_owned()).collect()),
            SimpleQueryMessage::CommandComplete(rows) => {
                if table.is_empty() {
                    println!("OK, {rows} rows affected");
                } else {
                    print_table(&table);
                }
                table.clear();
            }
            _ => {}
        }
    }
    Ok(true)
}

fn print_table(table: &[Vec<String>]) {
    let width = |column: usize| table.iter().map(|row| row.get(column).map_or(0, |v| v.chars().count())).max().unwrap_or(0);
    let widths: Vec<usize> = (0..table[0].len()).map(width).collect();
    for (number, row) in table.iter().enumerate() {
        let cells: Vec<String> = row.iter().zip(&widths).map(|(value, width)| format!(" {value:<width$} ")).collect();
        println!("{}", cells.join("|").trim_end());
        if number == 0 {
            println!("{}", widths.iter().map(|w| "-".repeat(w + 2)).collect::<Vec<_>>().join("+"));
        }
    }
    println!("({} rows)", table.len() - 1);
}
