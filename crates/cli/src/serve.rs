//! `serve`: the server, until it is told to stop.
//!
//! **Invariant:** SIGTERM and SIGINT end it in order: nothing new is accepted, what runs may end, the store
//! is flushed. It never starts in part: a listener that is not available ends it with the reason. The token itself is
//! never printed.

use std::borrow::Cow;
use std::io::IsTerminal as _;
use std::net::SocketAddr;
use std::path::Path;

use crate::output::{self, Outcome};
use tailwater_app as app;
use tailwater_config::Loaded;
use tailwater_runtime::{Clock, Tasks};

/// Serves.
pub(super) async fn run(loaded: &Loaded) -> anyhow::Result<Outcome> {
    // who sees that it is ready may stop it at once, in order
    let stopped = app::stop_signals()?;
    tokio::pin!(stopped);
    let running = tokio::select! {
        running = app::start(loaded, Clock::system(), Tasks::new()) => running?,
        () = &mut stopped => return Ok(Outcome::Done),
    };
    let program = std::env::args().next().unwrap_or_default();
    let mut lines = vec![where_to_look(running.admin, &running.token_file)];
    if running.is_empty() {
        lines.push(first_step(&program, loaded.file.as_deref()));
    }
    for line in lines {
        // a log that is kept, perhaps as JSON, is not mixed with lines of another kind
        if std::io::stderr().is_terminal() {
            output::note(&line);
        } else {
            tracing::info!("{line}");
        }
    }
    stopped.await;
    running.stop().await;
    Ok(Outcome::Done)
}

/// Where the console is, and where what lets one in lies.
fn where_to_look(admin: SocketAddr, token_file: &Path) -> String {
    // whoever reads this sits at this machine
    let host = match admin {
        SocketAddr::V4(v4) if v4.ip().is_unspecified() => "127.0.0.1".to_owned(),
        SocketAddr::V6(v6) if v6.ip().is_unspecified() => "[::1]".to_owned(),
        SocketAddr::V4(v4) => v4.ip().to_string(),
        SocketAddr::V6(v6) => format!("[{}]", v6.ip()),
    };
    let token_file = std::path::absolute(token_file).unwrap_or_else(|_e| token_file.to_owned());
    format!("The console is at http://{host}:{}/; its token lies in {}", admin.port(), token_file.display())
}

/// What to type on a server that has nothing yet.
fn first_step(program: &str, file: Option<&Path>) -> String {
    // as it was typed, but good in another folder as well
    let mut command = match std::path::absolute(program) {
        Ok(path) if program.contains('/') => quoted(&path.to_string_lossy()).into_owned(),
        _ => "tailwater".to_owned(),
    };
    if let Some(file) = file {
        let file = std::path::absolute(file).unwrap_or_else(|_e| file.to_owned());
        command = format!("{command} --config {}", quoted(&file.to_string_lossy()));
    }
    format!(
        "Nothing is synchronised yet. Begin, from another terminal or in the console, with: {command} sync"
    )
}

/// A word as a shell takes it for one.
fn quoted(word: &str) -> Cow<'_, str> {
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-+=:@,".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        Cow::Borrowed(word)
    } else {
        Cow::Owned(format!("'{}'", word.replace('\'', "'\\''")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lines_can_be_used_as_they_are() {
        for (address, url) in [
            ("127.0.0.1:8532", "http://127.0.0.1:8532/"),
            ("0.0.0.0:8532", "http://127.0.0.1:8532/"),
            ("[::]:8532", "http://[::1]:8532/"),
            ("192.0.2.7:80", "http://192.0.2.7:80/"),
            ("[2001:db8::1]:80", "http://[2001:db8::1]:80/"),
        ] {
            let line = where_to_look(address.parse().unwrap(), Path::new("/data/admin-token"));
            assert!(line.contains(url) && line.ends_with(" /data/admin-token"), "{line}");
        }
        for (program, file, command) in [
            ("tailwater", None, ": tailwater sync"),
            ("/usr/bin/tailwater", Some("/etc/t.toml"), ": /usr/bin/tailwater --config /etc/t.toml sync"),
            ("", Some("/a b/it's.toml"), ": tailwater --config '/a b/it'\\''s.toml' sync"),
        ] {
            let line = first_step(program, file.map(Path::new));
            assert!(line.ends_with(command), "{line}");
        }
    }
}
