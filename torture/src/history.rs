//! The history of a run: all that the judge gets. Times are milliseconds since 1970.

use std::fmt::{self, Display, Formatter};

use fake_hubspot::{AccessToken, Kind};

use crate::plan::Step;

/// Everything that happened in a run.
#[derive(Clone, Debug, Default)]
pub struct History {
    /// The settings of the replicas.
    pub rules: Rules,
    /// Calls to HubSpot, oldest first.
    pub calls: Vec<Call>,
    /// Processes, in the order of their starts.
    pub lives: Vec<Life>,
    /// The faults, each with its start.
    pub troubles: Vec<(i64, Step)>,
    /// The spans in which a process was stopped.
    pub freezes: Vec<Freeze>,
    /// The spans in which a line was cut.
    pub cuts: Vec<Cut>,
    /// Authorization requests that users started.
    pub starts: Vec<Start>,
    /// Connections that users ended, confirmed by the service.
    pub disconnects: Vec<Disconnect>,
    /// Connections that the service reported as active to their users.
    pub connects: Vec<Connect>,
    /// The token requests of backends.
    pub reads: Vec<Read>,
    /// The time since which everything was at rest while backends kept reading, if that state was reached.
    pub rest: Option<i64>,
    /// Connections that were seen in `needs_reauth`, with the refresh token they had then.
    pub needs_reauth: Vec<NeedsReauth>,
    /// The peak resident memory of each replica, in KiB.
    pub resident_kib: Vec<u64>,
    /// The times from HubSpot's responses to their commits, in milliseconds.
    pub commit_ms: Vec<i64>,
    /// Samples of the database during the run in which jobs and connections did not match.
    pub mismatches: Vec<String>,
    /// Places in the logs that contain a secret.
    pub leaks: Vec<String>,
    /// The content of the database at the end.
    pub stored: Stored,
    /// Grants that were alive at HubSpot at the end.
    pub grants: Vec<Living>,
    /// The description of what did not come to rest in time, if anything.
    pub unsettled: Option<String>,
}

/// The settings of the replicas.
#[derive(Clone, Copy, Debug)]
pub struct Rules {
    /// REFRESH_MAX_IN_FLIGHT: for due refreshes, and as many again for those that backends wait for.
    pub max_in_flight: usize,
    /// The lifetime of an access token.
    pub life_ms: i64,
    /// The earliest time of a refresh, as a share of that lifetime: backends may request the other half.
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
    /// The time of its arrival.
    pub at: i64,
    /// The time of the response, or of HubSpot's giving up.
    pub answered: Option<i64>,
    /// The kind of call.
    pub kind: Kind,
    /// The replica through whose line it came.
    pub replica: Option<usize>,
    /// The account.
    pub hub: Option<u64>,
    /// The grant.
    pub grant: Option<u32>,
    /// The fingerprint of the refresh token that was presented.
    pub fingerprint: Option<String>,
    /// The generation of the refresh token that was presented.
    pub presented: Option<u32>,
    /// The generation of the refresh token that was issued.
    pub issued: Option<u32>,
    /// The status of the response.
    pub status: Option<u16>,
    /// Whether another call with the same refresh token was in progress.
    pub overlapping: bool,
    /// Whether the refresh token had been replaced.
    pub superseded: bool,
}

/// A process of the service, from its start to its end.
#[derive(Clone, Debug)]
pub struct Life {
    /// The replica.
    pub replica: usize,
    /// The time of its start.
    pub from: i64,
    /// The time at which it reported to be ready.
    pub ready: Option<i64>,
    /// Its end, if it has ended.
    pub end: Option<End>,
}

/// The end of a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct End {
    /// The time of the signal, or of the discovery of the end if there was none.
    pub at: i64,
    /// The reason.
    pub how: EndReason,
}

/// The reason for the end of a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EndReason {
    /// SIGKILL.
    Killed,
    /// A clean exit after SIGTERM.
    Stopped {
        /// The time it took to finish the work in progress.
        took_ms: i64,
        /// Whether it reported success.
        well: bool,
    },
    /// An end without a signal of the run.
    Crashed,
}

impl Display for EndReason {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Killed => f.write_str("killed"),
            Self::Stopped { well: true, .. } => f.write_str("stopped"),
            Self::Stopped { well: false, .. } => f.write_str("stopped, with an error"),
            Self::Crashed => f.write_str("ended by itself"),
        }
    }
}

/// A span in which a process was stopped (SIGSTOP to SIGCONT).
#[derive(Clone, Copy, Debug)]
pub struct Freeze {
    /// The replica.
    pub replica: usize,
    /// The start.
    pub from: i64,
    /// The end.
    pub to: i64,
}

/// A span in which a line was cut.
#[derive(Clone, Copy, Debug)]
pub struct Cut {
    /// The replica.
    pub replica: usize,
    /// Whether it is the line to the database, else the one to HubSpot.
    pub database: bool,
    /// The start.
    pub from: i64,
    /// The end.
    pub to: i64,
}

/// An authorization request that a user started.
#[derive(Clone, Debug)]
pub struct Start {
    /// The time.
    pub at: i64,
    /// The flow's id.
    pub flow: String,
}

/// A connection that a user ended.
#[derive(Clone, Debug)]
pub struct Disconnect {
    /// The time of the confirmation.
    pub at: i64,
    /// The connection.
    pub connection: String,
}

/// A connection that was reported as active to its user.
#[derive(Clone, Debug)]
pub struct Connect {
    /// The time of the report.
    pub at: i64,
    /// The connection.
    pub connection: String,
}

/// A backend's request for an access token.
#[derive(Clone, Debug)]
pub struct Read {
    /// The time of the request.
    pub at: i64,
    /// The time of the response.
    pub answered: i64,
    /// The replica.
    pub replica: usize,
    /// The connection.
    pub connection: String,
    /// The account of that connection.
    pub hub: Option<u64>,
    /// The requested lifetime.
    pub min_ttl_ms: i64,
    /// The response.
    pub answer: Answer,
}

/// The response to a backend's request for an access token.
#[derive(Clone, Debug)]
pub enum Answer {
    /// 200.
    Lent {
        /// The token.
        token: Lent,
        /// The statements about it.
        promise: Promise,
    },
    /// 304: the token of an earlier response is still valid for long enough.
    Unchanged(Lent),
    /// Another status.
    Refused {
        /// The status.
        status: u16,
        /// The code of the problem.
        code: String,
        /// Whether it has `Retry-After`.
        retry_after: bool,
    },
    /// The connection broke, or no response came for very long.
    Silence,
}

/// A token that was returned.
#[derive(Clone, Copy, Debug)]
pub struct Lent {
    /// HubSpot's record of it; `None` if it was never issued there.
    pub known: Option<AccessToken>,
    /// Its generation according to the service.
    pub generation: i64,
}

/// The service's statements about a token that it returns.
#[derive(Clone, Copy, Debug)]
pub struct Promise {
    /// The time of its expiry.
    pub expires_at: i64,
    /// Its remaining lifetime.
    pub expires_in_ms: i64,
    /// The time for which it may be cached.
    pub fresh_for_ms: i64,
    /// Whether it has a warning that it lives shorter than requested.
    pub is_short: bool,
}

/// A connection that was seen in `needs_reauth`.
#[derive(Clone, Debug)]
pub struct NeedsReauth {
    /// The time at which it was seen.
    pub at: i64,
    /// The connection.
    pub connection: String,
    /// The fingerprint of the refresh token it had.
    pub fingerprint: String,
}

/// The content of the database.
#[derive(Clone, Debug, Default)]
pub struct Stored {
    /// The connections.
    pub connections: Vec<Connection>,
    /// Jobs whose connection is not active.
    pub spare_jobs: Vec<String>,
    /// The number of queued revocations.
    pub revocations: i64,
    /// The authorization requests.
    pub auth_requests: Vec<AuthRequest>,
}

/// A stored connection.
#[derive(Clone, Debug)]
pub struct Connection {
    /// Its id.
    pub id: String,
    /// `active`, `needs_reauth` or `integrity_error`.
    pub state: String,
    /// The fingerprint of its refresh token.
    pub fingerprint: String,
    /// The time at which its tokens were received.
    pub obtained_at: i64,
    /// The number of its jobs.
    pub jobs: i64,
    /// The number of consecutive `invalid_grant` responses.
    pub strikes: i64,
}

/// A stored authorization request.
#[derive(Clone, Debug)]
pub struct AuthRequest {
    /// The flow's id.
    pub flow: String,
    /// Its status.
    pub status: String,
    /// The time at which its code was taken for the exchange.
    pub consumed_at: Option<i64>,
    /// The time of its expiry.
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
    /// Returns the time at which it was killed, if it was.
    pub fn killed(&self) -> Option<i64> {
        self.end.filter(|end| end.how == EndReason::Killed).map(|end| end.at)
    }
}

impl History {
    /// Returns the process that made a call. A call that a dying process sent may arrive a little later; the next
    /// process of the same replica is not started before that.
    pub fn maker(&self, call: &Call) -> Option<(usize, &Life)> {
        let replica = call.replica?;
        self.lives.iter().enumerate().rev().find(|(_, life)| life.replica == replica && life.from <= call.at)
    }
}
