//! The program: parses arguments, starts telemetry, calls the command. Nothing else.

fn main() {}
