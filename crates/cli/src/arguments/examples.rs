//! An example for each command, shown below its help.
//!
//! **Invariant:** every command has one, and every example can be typed: the tests below walk all of them. A command
//! that brings examples of its own keeps them. It never acts.

use clap::Command;

/// The path of a command, and what is typed; what stands behind two spaces says what for.
const EXAMPLES: &[(&str, &[&str])] = &[
    ("serve", &["tailwater serve", "tailwater --config /etc/tailwater/tailwater.toml serve"]),
    ("demo", &["tailwater demo --exit", "tailwater demo --rate \"2 Mbit/s\" --clients 40"]),
    ("sync status", &["tailwater sync status", "tailwater sync status --json"]),
    ("sync history", &["tailwater sync history", "tailwater sync history --json"]),
    ("sync cancel", &["tailwater sync cancel"]),
    ("status", &["tailwater status", "tailwater status --json"]),
    (
        "updates",
        &[
            "tailwater updates list --state unapproved",
            "tailwater updates show KB5031356",
            "tailwater updates approve KB5031356 --group Pilot",
        ],
    ),
    ("updates show", &["tailwater updates show KB5031356", "tailwater updates show KB5031356 --json"]),
    (
        "updates decline",
        &["tailwater updates decline KB5031356", "tailwater updates decline \"Itanium\" --all-matches"],
    ),
    ("updates undecline", &["tailwater updates undecline KB5031356"]),
    ("updates release", &["tailwater updates release KB5031356"]),
    (
        "updates unapprove",
        &[
            "tailwater updates unapprove KB5031356                  for all groups",
            "tailwater updates unapprove KB5031356 --group Pilot",
        ],
    ),
    ("categories", &["tailwater categories list"]),
    ("categories list", &["tailwater categories list", "tailwater categories list --json"]),
    ("groups", &["tailwater groups list", "tailwater groups create Pilot"]),
    ("groups list", &["tailwater groups list", "tailwater groups list --json"]),
    (
        "groups create",
        &["tailwater groups create Pilot", "tailwater groups create \"Front Office\" --parent Pilot"],
    ),
    ("groups rename", &["tailwater groups rename Pilot \"First Ring\""]),
    ("groups remove", &["tailwater groups remove Pilot"]),
    (
        "computers",
        &["tailwater computers list --group Pilot", "tailwater computers show desk-7.branch.example"],
    ),
    (
        "computers list",
        &[
            "tailwater computers list --text desk --group Pilot",
            "tailwater computers list --through branch1.example",
            "tailwater computers list --ours --json",
        ],
    ),
    ("computers show", &["tailwater computers show desk-7.branch.example"]),
    ("computers remove", &["tailwater computers remove desk-7.branch.example"]),
    ("downstreams list", &["tailwater downstreams list", "tailwater downstreams list --json"]),
    ("downstreams show", &["tailwater downstreams show branch1.example"]),
    (
        "downstreams allow",
        &[
            "tailwater downstreams allow branch1.example",
            "tailwater downstreams allow branch1.example --require-token",
        ],
    ),
    (
        "downstreams revoke",
        &[
            "tailwater downstreams revoke branch1.example",
            "tailwater downstreams revoke branch1.example --forget",
        ],
    ),
    ("store", &["tailwater store rebuild", "tailwater store rotate-keys"]),
    ("store rotate-keys", &["tailwater store rotate-keys", "tailwater store rotate-keys --json"]),
    ("content", &["tailwater content status", "tailwater content fetch KB5031356"]),
    ("content status", &["tailwater content status", "tailwater content status --json"]),
    ("content verify", &["tailwater content verify"]),
    ("content fetch", &["tailwater content fetch KB5031356", "tailwater content fetch --approved --no-wait"]),
    ("content collect", &["tailwater content collect"]),
    ("content pause", &["tailwater content pause windows10.0-kb5031356-x64.cab"]),
    ("content resume", &["tailwater content resume windows10.0-kb5031356-x64.cab"]),
    ("content raise", &["tailwater content raise windows10.0-kb5031356-x64.cab --class deadline"]),
    ("content cancel", &["tailwater content cancel windows10.0-kb5031356-x64.cab"]),
    (
        "bandwidth",
        &[
            "tailwater bandwidth show",
            "tailwater bandwidth ledger --by file --from 2026-11",
            "tailwater bandwidth set --rate \"2 Mbit/s\" --until 18:00",
        ],
    ),
    ("bandwidth show", &["tailwater bandwidth show", "tailwater bandwidth show --json"]),
    (
        "simulate",
        &["tailwater simulate upstream --updates 500", "tailwater simulate clients --count 100 --rounds 5"],
    ),
];

/// What a command says of itself beside its options.
fn own_words(command: &Command) -> impl Iterator<Item = String> {
    let texts = [
        command.get_about(),
        command.get_long_about(),
        command.get_after_help(),
        command.get_after_long_help(),
    ];
    texts.into_iter().flatten().map(ToString::to_string)
}

/// The command with an example for each of its commands that brings none.
pub(super) fn added(command: Command) -> Command {
    below(command, "")
}

fn below(command: Command, path: &str) -> Command {
    command.mut_subcommands(|command| {
        let path = format!("{path} {}", command.get_name());
        let path = path.trim_start();
        let lines = EXAMPLES.iter().find(|(known, _)| *known == path).map(|(_, lines)| *lines);
        let command = match lines {
            Some(lines) if !own_words(&command).any(|text| text.contains("Example")) => {
                let title = if lines.len() == 1 { "Example" } else { "Examples" };
                command.after_help(format!("{title}:\n  {}", lines.join("\n  ")))
            }
            _ => command,
        };
        below(command, path)
    })
}

#[cfg(test)]
mod tests {
    use clap::{ArgMatches, CommandFactory as _};

    use super::*;
    use crate::arguments::Arguments;

    /// Every command with its path, those that only hold others included.
    fn walk(command: &Command, path: &str, found: &mut Vec<(String, Vec<String>)>) {
        for command in command.get_subcommands() {
            let path = format!("{path} {}", command.get_name()).trim_start().to_owned();
            found.push((path.clone(), examples_of(command)));
            walk(command, &path, found);
        }
    }

    /// The examples in what a command says, without what stands beside them.
    fn examples_of(command: &Command) -> Vec<String> {
        let lines = own_words(command).flat_map(|text| text.lines().map(str::to_owned).collect::<Vec<_>>());
        let typed =
            lines.map(|line| line.trim_start().to_owned()).filter(|line| line.starts_with("tailwater "));
        let mut typed: Vec<String> = typed
            .map(|line| line.split("  ").next().unwrap().split(" > ").next().unwrap().to_owned())
            .collect();
        typed.dedup();
        typed
    }

    /// The words of a line as a shell sees them.
    fn words(line: &str) -> Vec<String> {
        let (mut words, mut quoted) = (vec![String::new()], false);
        for c in line.trim_end().chars() {
            match c {
                '"' => quoted = !quoted,
                ' ' if !quoted => words.push(String::new()),
                c => words.last_mut().unwrap().push(c),
            }
        }
        assert!(!quoted, "{line}");
        words
    }

    /// The commands of what was parsed, from the first to the last.
    fn path_of(matches: &ArgMatches) -> String {
        match matches.subcommand() {
            Some((name, below)) => format!("{name} {}", path_of(below)).trim_end().to_owned(),
            None => String::new(),
        }
    }

    #[test]
    fn every_command_has_an_example_and_every_example_can_be_typed() {
        let command = added(Arguments::command());
        let mut found = vec![(String::new(), examples_of(&command))];
        walk(&command, "", &mut found);
        assert!(found.len() > 30, "{found:?}");
        for (path, examples) in &found {
            assert!(!examples.is_empty(), "`tailwater {path}` has no example; add one to {}", file!());
            let mut is_named = false;
            for example in examples {
                let parsed = command.clone().try_get_matches_from(words(example));
                let parsed = parsed.unwrap_or_else(|error| panic!("`{example}` cannot be typed: {error}"));
                let named = path_of(&parsed);
                is_named |= named == *path || named.starts_with(&format!("{path} ")) || path.is_empty();
            }
            assert!(is_named, "no example of `tailwater {path}` is of this command: {examples:?}");
        }
    }

    #[test]
    fn examples_are_of_commands_that_exist_and_show_in_their_help() {
        let mut command = added(Arguments::command());
        let mut found = Vec::new();
        walk(&command, "", &mut found);
        for (path, _) in EXAMPLES {
            assert!(found.iter().any(|(known, _)| known == path), "there is no command {path}");
        }
        for (path, _) in &found {
            let named = path.split(' ').try_fold(&mut command, |above, name| above.find_subcommand_mut(name));
            let help = named.unwrap().render_long_help().to_string();
            assert!(help.contains("tailwater "), "{path}: {help}");
        }
    }
}
