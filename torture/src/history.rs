//! What has happened in a run: all that the judge is given. Moments are milliseconds since 1970.

use std::fmt::{self, Display, Formatter};

use fake_hubspot::{AccessToken, Kind};

use crate::plan::Step;

/// Everything that has happened.
#[derive(Clone, Debug, Default)]
pub struct History {
    /// How the replicas were set.
    pub rules: Rules,
    /// Calls to HubSpot, oldest first.
    pub calls: Vec<Call>,
    /// Processes, in the order in which they were started.
    pub lives: Vec<Life>,
    /// What went wrong, and when it began.
    pub troubles: Vec<(i64, Step)>,
    /// Times in which a process stood still.
    pub freezes: Vec<Freeze>,
    /// Times in which a line did not carry.
    pub cuts: Vec<Cut>,
    /// Attempts to connect that a person began.
    pub starts: Vec<Start>,
    /// Connections that a person has ended, and was told so.
    pub disconnects: Vec<Disconnect>,
    /// Connections whose person was told that they are active.
    pub connects: Vec<Connect>,
    /// What backends have asked for.
    pub reads: Vec<Read>,
    /// Since when everything was at rest and backends asked on, if it came to that.
    pub rest: Option<i64>,
    /// Connections that were seen to need their person, with the refresh token they had then.
    pub needs_reauth: Vec<NeedsReauth>,
    /// The most memory that each replica was seen to use, in KiB.
    pub resident_kib: Vec<u64>,
    /// How long answers of HubSpot's took until they were written, in milliseconds.
    pub commit_ms: Vec<i64>,
    /// Looks into the database during the run at which jobs and connections did not match.
    pub mismatches: Vec<String>,
    /// Places in the logs where a secret stands.
    pub leaks: Vec<String>,
    /// What stood in the database in the end.
    pub stored: Stored,
    /// Grants that were alive at HubSpot in the end.
    pub grants: Vec<Living>,
    /// Whether everything came to rest in time; what did not, if not.
    pub unsettled: Option<String>,
}

/// How the replicas were set.
#[derive(Clone, Copy, Debug)]
pub struct Rules {
    /// REFRESH_MAX_IN_FLIGHT: of those that are due, and again of those that a backend waits for.
    pub max_in_flight: usize,
    /// How long an access token lives.
    pub life_ms: i64,
    /// The earliest moment of a refresh, as a share of that life: backends may ask for the other half.
    pub window_from: f64,
}

impl Default for Rules {
    fn default() -> Self {
        Self { max_in_flight: 8, life_ms: 20_000, window_from: 0.5 }
    }
}

/// A call to HubSpot.
#[derive(Clone, Debug)]
pub struct Call {
    /// When it arrived.
    pub at: i64,
    /// When it was answered, or given up by HubSpot.
    pub answered: Option<i64>,
    /// What it wanted.
    pub kind: Kind,
    /// Through whose line it came.
    pub replica: Option<usize>,
    /// The account it was about.
    pub hub: Option<u64>,
    /// The grant it was about.
    pub grant: Option<u32>,
    /// The fingerprint of the refresh token that was presented.
    pub fingerprint: Option<String>,
    /// The generation of the refresh token that was presented.
    pub presented: Option<u32>,
    /// The generation of the refresh token that was issued.
    pub issued: Option<u32>,
    /// The status of the answer.
    pub status: Option<u16>,
    /// Another call with the same refresh token was under way.
    pub overlapping: bool,
    /// The refresh token had been replaced.
    pub superseded: bool,
}

/// A process of the service, from its start to its end.
#[derive(Clone, Debug)]
pub struct Life {
    /// Which replica.
    pub replica: usize,
    /// When it was started.
    pub from: i64,
    /// When it said that it is ready.
    pub ready: Option<i64>,
    /// Its end, if it has come.
    pub end: Option<End>,
}

/// The end of a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct End {
    /// When the signal was sent, or when the end was noticed if there was none.
    pub at: i64,
    /// How it came.
    pub how: EndReason,
}

/// How a process has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EndReason {
    /// By SIGKILL.
    Killed,
    /// By SIGTERM, of its own accord, so long after the signal.
    Stopped {
        /// How long it took to finish what was under way.
        took_ms: i64,
        /// Whether it said that all went well.
        well: bool,
    },
    /// Nobody told it to.
    Crashed,
}

impl Display for EndReason {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Killed => f.write_str("killed"),
            Self::Stopped { well: true, .. } => f.write_str("told to stop"),
            Self::Stopped { well: false, .. } => f.write_str("told to stop, in vain"),
            Self::Crashed => f.write_str("ended by itself"),
        }
    }
}

/// A time in which a process stood still (SIGSTOP to SIGCONT).
#[derive(Clone, Copy, Debug)]
pub struct Freeze {
    /// Which replica.
    pub replica: usize,
    /// Since when.
    pub from: i64,
    /// Until when.
    pub to: i64,
}

/// A time in which a line did not carry.
#[derive(Clone, Copy, Debug)]
pub struct Cut {
    /// Whose line.
    pub replica: usize,
    /// To the database, or else to HubSpot.
    pub database: bool,
    /// Since when.
    pub from: i64,
    /// Until when.
    pub to: i64,
}

/// An attempt to connect that a person began.
#[derive(Clone, Debug)]
pub struct Start {
    /// When.
    pub at: i64,
    /// The flow's id.
    pub flow: String,
}

/// A connection that a person has ended.
#[derive(Clone, Debug)]
pub struct Disconnect {
    /// When the person was told so.
    pub at: i64,
    /// Which.
    pub connection: String,
}

/// A connection whose person was told that it is active.
#[derive(Clone, Debug)]
pub struct Connect {
    /// When the person was told so.
    pub at: i64,
    /// Which.
    pub connection: String,
}

/// A backend has asked for an access token.
#[derive(Clone, Debug)]
pub struct Read {
    /// When it asked.
    pub at: i64,
    /// When it was answered.
    pub answered: i64,
    /// Whom it asked.
    pub replica: usize,
    /// For which connection.
    pub connection: String,
    /// The account of that connection.
    pub hub: Option<u64>,
    /// How much life it asked for.
    pub min_ttl_ms: i64,
    /// What it got.
    pub answer: Answer,
}

/// What a backend got that has asked for an access token.
#[derive(Clone, Debug)]
pub enum Answer {
    /// 200.
    Lent {
        /// The token.
        token: Lent,
        /// What was said of it.
        promise: Promise,
    },
    /// 304: the token of an earlier answer is still as good.
    Unchanged(Lent),
    /// Another status.
    Refused {
        /// The status.
        status: u16,
        /// The code of the problem.
        code: String,
        /// Whether it says when to come back.
        retry_after: bool,
    },
    /// The connection broke, or nothing came for very long.
    Silence,
}

/// A token that was lent.
#[derive(Clone, Copy, Debug)]
pub struct Lent {
    /// What HubSpot knows of it; `None` if it was never given out there.
    pub known: Option<AccessToken>,
    /// Its generation, as the service tells it.
    pub generation: i64,
}

/// What the service says of a token that it lends.
#[derive(Clone, Copy, Debug)]
pub struct Promise {
    /// When it expires.
    pub expires_at: i64,
    /// How long it still lives.
    pub expires_in_ms: i64,
    /// How long it may be kept without asking again.
    pub fresh_for_ms: i64,
    /// Whether it is said to live for less than was asked for.
    pub is_short: bool,
}

/// A connection that was seen to need its person.
#[derive(Clone, Debug)]
pub struct NeedsReauth {
    /// When it was seen.
    pub at: i64,
    /// Which.
    pub connection: String,
    /// The fingerprint of the refresh token it had.
    pub fingerprint: String,
}

/// What stands in the database.
#[derive(Clone, Debug, Default)]
pub struct Stored {
    /// The connections.
    pub connections: Vec<Connection>,
    /// Jobs whose connection is not active.
    pub spare_jobs: Vec<String>,
    /// Revocations that are still to be done.
    pub revocations: i64,
    /// The attempts to connect.
    pub auth_requests: Vec<AuthRequest>,
}

/// A stored connection.
#[derive(Clone, Debug)]
pub struct Connection {
    /// Which.
    pub id: String,
    /// `active`, `needs_reauth` or `integrity_error`.
    pub state: String,
    /// The fingerprint of its refresh token.
    pub fingerprint: String,
    /// When its tokens were received.
    pub obtained_at: i64,
    /// How many jobs it has.
    pub jobs: i64,
    /// How often in a row HubSpot has refused its refresh token.
    pub strikes: i64,
}

/// A stored attempt to connect.
#[derive(Clone, Debug)]
pub struct AuthRequest {
    /// The flow's id.
    pub flow: String,
    /// How far it has come.
    pub status: String,
    /// When its code was taken for the exchange.
    pub consumed_at: Option<i64>,
    /// Until when it was awaited.
    pub expires_at: i64,
    /// The connection it led to.
    pub connection: Option<String>,
}

/// A grant that is alive at HubSpot.
#[derive(Clone, Debug)]
pub struct Living {
    /// Its number.
    pub id: u32,
    /// The account.
    pub hub: u64,
    /// The fingerprint of the refresh token in force.
    pub fingerprint: String,
}

impl Life {
    /// When it was killed, if it was.
    pub fn killed(&self) -> Option<i64> {
        self.end.filter(|end| end.how == EndReason::Killed).map(|end| end.at)
    }
}

impl History {
    /// The process that made a call. What a dying process has sent may arrive a little later; the next one of the same
    /// replica is not started before that.
    pub fn maker(&self, call: &Call) -> Option<(usize, &Life)> {
        let replica = call.replica?;
        self.lives.iter().enumerate().rev().find(|(_, life)| life.replica == replica && life.from <= call.at)
    }
}
