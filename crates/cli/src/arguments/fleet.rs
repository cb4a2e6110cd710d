//! `groups`, `computers`, `downstreams`: what can be typed about those that are served.
//!
//! **Invariant:** long lists are shown by page. It never acts.

use clap::{Args, Subcommand, ValueEnum};

use tailwater_api::{self as api, Paging};

/// `groups …`.
#[derive(Debug, Subcommand)]
pub(crate) enum GroupsCommand {
    /// All groups, with how many computers each has
    List,
    /// A new group
    Create {
        /// Its name, as clients with client-side targeting send it
        name: String,
        /// The group above it (name or GUID) [default: All Computers]
        #[arg(long)]
        parent: Option<String>,
    },
    /// Another name for a group
    Rename {
        /// Name or GUID
        group: String,
        /// The new name
        name: String,
    },
    /// Put a group, with those below it, under another one
    #[command(
        after_help = "Examples:\n  tailwater groups move Desk Office\n  tailwater groups move Desk \"All Computers\""
    )]
    Move {
        /// Name or GUID
        group: String,
        /// The group to lie in from now on (name or GUID)
        parent: String,
    },
    /// Remove a group, those below it and their approvals; computers that are in no other group become unassigned
    ///
    /// What goes with it is shown and confirmed, at a terminal or with --yes.
    #[command(
        after_help = "Examples:\n  tailwater groups remove Pilot\n  tailwater groups remove Pilot --yes"
    )]
    Remove {
        /// Name or GUID
        group: String,
        /// Do not ask
        #[arg(long, short)]
        yes: bool,
    },
}

/// Which rows of a long list.
#[derive(Debug, Args)]
pub(crate) struct PageArguments {
    /// How many at most
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=1_000))]
    limit: u32,
    /// How many to skip
    #[arg(long, default_value_t = 0)]
    offset: u32,
}

impl PageArguments {
    /// As the API takes it.
    pub(crate) fn paging(&self) -> Paging {
        let number = |number: u32| usize::try_from(number).unwrap_or(usize::MAX);
        Paging::new(number(self.offset), Some(number(self.limit)))
    }
}

/// Which rows of a list that is shown whole unless something else is said.
#[derive(Debug, Args)]
pub(crate) struct WholeArguments {
    /// How many at most [default: all]
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) limit: Option<u32>,
    /// How many to skip
    #[arg(long, default_value_t = 0)]
    pub(crate) offset: usize,
}

/// Whether a server may synchronise from here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum ServerState {
    /// Nobody decided: the policy does.
    Open,
    /// Let in.
    Allowed,
    /// Shut out.
    Revoked,
}

impl From<ServerState> for api::ServerState {
    fn from(state: ServerState) -> Self {
        match state {
            ServerState::Open => Self::Open,
            ServerState::Allowed => Self::Allowed,
            ServerState::Revoked => Self::Revoked,
        }
    }
}

/// What a computer can say of an update.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum ReportedState {
    /// It tried and failed.
    Failed,
    /// It needs it.
    Needed,
    /// It has it.
    Installed,
}

impl From<ReportedState> for api::ReportedState {
    fn from(state: ReportedState) -> Self {
        match state {
            ReportedState::Failed => Self::Failed,
            ReportedState::Needed => Self::Needed,
            ReportedState::Installed => Self::Installed,
        }
    }
}

/// `computers …`.
#[derive(Debug, Subcommand)]
pub(crate) enum ComputersCommand {
    /// All computers
    List {
        /// Part of the name
        #[arg(long, short)]
        text: Option<String>,
        /// Only of this group (name or GUID)
        #[arg(long)]
        group: Option<String>,
        /// Only those that came through this downstream server (name or identity)
        #[arg(long, value_name = "SERVER")]
        through: Option<String>,
        /// Only agents of this server, none of servers below
        #[arg(long, conflicts_with = "through")]
        ours: bool,
        #[command(flatten)]
        page: WholeArguments,
    },
    /// What a computer is and what it reported
    #[command(after_help = "Example:\n  tailwater computers show desk-7 --state needed --limit 500")]
    Show {
        /// Name or id
        computer: String,
        /// Only updates in this state
        #[arg(long)]
        state: Option<ReportedState>,
        #[command(flatten)]
        page: PageArguments,
    },
    /// Put computers into a group, all of them or none
    #[command(
        after_help = "Examples:\n  tailwater computers move desk-7 Pilot\n  tailwater computers move desk-7 desk-8 desk-9 \"Front Office\""
    )]
    Move {
        /// Names or ids
        #[arg(required = true)]
        computers: Vec<String>,
        /// Name or GUID
        #[arg(required = true)]
        group: String,
    },
    /// Forget a computer; it comes back when it asks again
    Remove {
        /// Name or id
        computer: String,
    },
}

const DOWNSTREAMS_EXAMPLES: &str = "Examples:
  tailwater downstreams list
  tailwater downstreams allow branch1.example                  by name, and a token for a Tailwater
  tailwater downstreams allow branch1.example --require-token  only with the token
  tailwater downstreams revoke branch1.example

With downstream.policy \"open\" whoever is not revoked may synchronise; with \"enrolled\" only who was allowed,
and who shows a client certificate.";

/// `downstreams …`.
#[derive(Debug, Subcommand)]
#[command(after_help = DOWNSTREAMS_EXAMPLES)]
pub(crate) enum DownstreamsCommand {
    /// All servers below: what each took and what it lacks; who waits to be let in, who was refused
    #[command(
        after_help = "Examples:\n  tailwater downstreams list --state revoked\n  tailwater downstreams list --text branch --limit 20"
    )]
    List {
        /// Part of the name or identity
        #[arg(long, short)]
        text: Option<String>,
        /// Only those in this state
        #[arg(long)]
        state: Option<ServerState>,
        #[command(flatten)]
        page: WholeArguments,
    },
    /// One server, with its own numbers
    Show {
        /// Name or identity
        server: String,
    },
    /// Let a server in, and print a token for it
    Allow {
        /// Name or identity (the GUID it authorizes with)
        server: String,
        /// Its name and identity are not enough: it must show the token
        #[arg(long)]
        require_token: bool,
    },
    /// Shut a server out, and whoever comes with its name, token, certificate or address; what it told stays
    Revoke {
        /// Name or identity
        server: String,
        /// Forget it instead, with the servers below it and all their computers
        #[arg(long)]
        forget: bool,
    },
}
