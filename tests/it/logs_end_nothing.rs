//! What lies under standard output and standard error is best effort: a broken pipe, a full disk, a reader that takes
//! nothing or a closed stream ends no server, no synchronisation and no command with a panic.

use std::fs::OpenOptions;
use std::io::Read as _;
use std::os::fd::OwnedFd;
use std::process::{Output, Stdio};

use crate::server::{Server, command, said};

/// A device that takes nothing: a full disk.
fn full() -> Stdio {
    OpenOptions::new().write(true).open("/dev/full").unwrap().into()
}

/// A pipe whose reader went away.
fn broken() -> Stdio {
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    Stdio::from(OwnedFd::from(writer))
}

#[test]
fn a_server_outlives_whatever_reads_its_log() {
    // every line of a chatty log, so that a pipe that nobody reads is full after the first requests
    let chatty = "[log]\nfilter = \"trace\"\n";
    let (mut stalled, writer) = std::io::pipe().unwrap();
    let table = [
        ("a full disk", full()),
        ("a broken pipe", broken()),
        ("a reader that takes nothing", Stdio::from(OwnedFd::from(writer))),
    ];
    let outlives = move |name: &str, log: Stdio| {
        let mut server = Server::configured(chatty);
        server.start_with(log);
        for round in 0..300 {
            let answer = server.ask_agents("GET", &format!("/selfupdate/{round}.cab"), "Host: localhost\r\n");
            assert_eq!(answer.status, 404, "{name}");
        }
        // a synchronisation that fails logs it, and is remembered as what it is
        let sync = server.run(&["sync"]);
        assert_eq!(sync.status.code(), Some(1), "{name}: {}", said(&sync));
        assert!(!said(&sync).contains("panicked"), "{name}: {}", said(&sync));
        let history = server.api("GET", "/sync/history", None).json();
        assert_eq!(history["syncs"].as_array().map(Vec::len), Some(1), "{name}: {history}");
        assert_eq!(history["syncs"][0]["reason"], "unreachable", "{name}: {history}");
        assert!(server.stop(), "{name}: it ends in order");
    };
    std::thread::scope(|scope| {
        for (name, log) in table {
            scope.spawn(move || outlives(name, log));
        }
    });
    let mut some = [0; 16];
    assert!(stalled.read(&mut some).unwrap() > 0, "the pipe was in use");
}

/// Runs a command with these streams; standard output and error are read where they are pipes.
fn run(server: &Server, arguments: &[&str], stdin: Stdio, stdout: Stdio, stderr: Stdio) -> Output {
    let mut command = command(&server.config());
    command.args(arguments).stdin(stdin).stdout(stdout).stderr(stderr);
    command.spawn().unwrap().wait_with_output().unwrap()
}

#[test]
fn commands_end_as_good_tools_do() {
    let server = Server::started("");
    let table: [(&[&str], i32); 9] = [
        (&["--help"], 0),
        (&["status"], 0),
        (&["status", "--json"], 0),
        (&["check-config"], 0),
        (&["client-policy", "--url", "http://wsus:8530", "--format", "reg"], 0),
        (&["updates", "list"], 0),
        (&["updates", "show", "KB1"], 1),
        (&["updates", "show", "KB1", "--json"], 1),
        (&["updates", "lst"], 2),
    ];
    for (arguments, code) in table {
        let plain = run(&server, arguments, Stdio::null(), Stdio::piped(), Stdio::piped());
        assert_eq!(plain.status.code(), Some(code), "{arguments:?}: {}", said(&plain));
        let prints = !plain.stdout.is_empty();
        // the reader had enough: `| head -1`
        let cut = run(&server, arguments, Stdio::null(), broken(), Stdio::piped());
        assert_eq!(cut.status.code(), Some(code), "{arguments:?}: {}", said(&cut));
        assert!(!said(&cut).contains("panicked"), "{arguments:?}: {}", said(&cut));
        // the answer is lost, and that is said
        let lost = run(&server, arguments, Stdio::null(), full(), Stdio::piped());
        let wanted = if prints && code == 0 { 1 } else { code };
        assert_eq!(lost.status.code(), Some(wanted), "{arguments:?}: {}", said(&lost));
        assert!(!said(&lost).contains("panicked"), "{arguments:?}: {}", said(&lost));
        assert_eq!(said(&lost).contains("standard output"), prints, "{arguments:?}: {}", said(&lost));
        for stderr in [full(), broken()] {
            let deaf = run(&server, arguments, Stdio::null(), Stdio::piped(), stderr);
            assert_eq!(deaf.status.code(), Some(code), "{arguments:?}: {}", said(&deaf));
            assert_eq!(deaf.stdout.is_empty(), plain.stdout.is_empty(), "{arguments:?}");
        }
    }
    // closed streams, as a shell closes them
    for streams in ["<&-", "2>&-", ">&-", "<&- >&- 2>&-"] {
        let script = format!("exec \"$0\" \"$@\" {streams}");
        let mut shell = std::process::Command::new("/bin/sh");
        shell.args(["-c", &script, env!("CARGO_BIN_EXE_tailwater"), "--config"]).arg(server.config());
        let output = shell.arg("status").output().unwrap();
        assert_eq!(output.status.code(), Some(0), "{streams}: {}", said(&output));
    }
}
