//! A database of the release with schema 21, with rows in every table.
//!
//! The constants were recorded from that release: its ciphertexts, and the cookies and keys that it issued.

use fake_hubspot::{FakeHubSpot, Grant, Options};
use hubspot_connect::domain::clock::{Clock, Timestamp};
use hubspot_connect::domain::id::FlowId;
use hubspot_connect::domain::secret::{Hash, Secret};

use super::rows::Rows;
use super::tables::{kept_tables, rows_of};
use crate::harness::app::{LONG_SESSIONS, settle};
use crate::harness::database::TestDatabase;
use crate::harness::process::run;
use crate::harness::{Receiver, TestApp};

/// The time at which that release was stopped.
pub const NOW: i64 = 1_795_000_000_000;
pub const MINUTE: i64 = 60_000;
pub const DAY: i64 = 24 * 60 * MINUTE;
/// The time at which the tokens were received, and the expiry of the access tokens.
pub const RECEIVED: i64 = NOW - 5 * MINUTE;
pub const EXPIRY: i64 = NOW + 25 * MINUTE;

pub const CLIENT: &str = "fake-client-id";
pub const ENCRYPTION_KEY: &str = "Zu3G8TVO5bdDPscG320QeBFkcX29xf_pe2of1KQcsVc=";
pub const APP_SECRET: &str = "the application secret of release 21";
pub const KEY_ID: &str = "1198af52";
/// The stored check text by which that release recognizes the key.
pub const CHECK: &str = "gAAAAABrDLw7jZM1LAD_VuLKXpK0OktIkLaxcdbeOwelrpabiVJN2-lf1LueS7G2QREkIXqTdticrxAUBvkOrwml9Hg321Q4_t8iUultWQJpPopxkAzeiNd4RkDNODDGlc3PLyBDlVXb";

/// A connection with tokens encrypted by that release.
pub const FROZEN: &str = "c0000000-0000-4000-8000-0000000f0e21";
pub const FROZEN_ACCESS: &str = "the access token of release 21";
pub const FROZEN_REFRESH: &str = "the refresh token of release 21";
pub const FROZEN_FINGERPRINT: &str = "cqyEnO1SMgoPIOM7zQVqSKOlZ6_azz0xIBSQ_M2ODjw";
pub const FROZEN_ACCESS_SEALED: &str = "gAAAAABrDLw78se2EGlLOlaqc9xshxMRsBfhbusLMoU10D141l_glj56cfBxLs3CPiuAnImrZNoo0vt9B8OeMbk2D0i4FYW45Dm4mRFxE8ZBJ16mqodCunQ7fCl1a1kJkpvb4KC61KAW78eGxMyn37xEdREK6S393opPnQA1wsIY4PszjgUhiXNmqeCRM6_ZnH3vEMlsKdikVpbssE9KuxY34ImzFj6L7YXIVY-3Q_NxbipIo7gA1uw=";
pub const FROZEN_REFRESH_SEALED: &str = "gAAAAABrDLw7drWldpcHPT0TheHt9UyLqYyZ6oGfzxo0D4wCw0QowJYmiJrF-Ex24ONg_i687YYSNh3qJCgqFLpY0DytKSr_an4sj36vIRfAUT9hvmag_oHEaI8O9EKDYaX57V5hnZAzBoClFKfNX0jdgn_xvYWmGiYYz-gYMtIR5q3EfJHb6UliST35Lg-db-zzXNWleQv2YXB7TXXkroBZrUxpRhOcbyrscj6KTCAvy74Gyq11I-cZLLeuxHMAd-J6DhkwPXud";

/// A key of the host's backend with every scope, and its id.
pub const API_KEY: &str = "hsc_key_a9100000_ZdM61zQcdq_iPOpVM2qpFs1pNAot2PDfFWU8mktWy3o";
pub const API_KEY_ID: &str = "a9100000-0000-4000-8000-000000000001";
pub const EVERY_SCOPE: &str = "tokens:read connections:read connections:write sessions:write proxy webhooks";

/// The cookie of a browser's session, and the hash of the key inside.
pub const SESSION_COOKIE: (&str, &str) = (
    "__Host-hsc_sid",
    "UtQDhrdxGzyORLeF1f4ULCvsQZ36yJLRkjeytr6VHwWrf5PD6+7EBX7vAPF1Eh4M7MLmozoLANzC4bS45FYWEjmbcYaez+A%3D",
);
pub const SESSION_HASH: &str = "eoAa0159BfS-gmKOJVJwbNYXrLsMqkcZx_0fE4EhCfU";

/// A request that was answered, with its idempotency key.
pub const REPEATED: (&str, &str, &str) =
    ("/api/hubspot/connect-sessions", "order-66", r#"{"external_user_id":"user-0"}"#);
pub const FIRST_ANSWER: &str = r#"{"id":"59408177-5f40-44cf-b7d4-68f3909d8629","external_user_id":"user-0","status":"open","connection_id":null,"error_code":null,"awaiting":null,"hub_id":null,"confirm":"none","hosted":false,"created_at":"2026-11-18T11:06:40Z","expires_at":"2026-11-18T11:36:40Z","token":"FDFwKp5SG-V_QllxqHMl6V0GYeB2HrXhJ0Q71624rGA","link":null}"#;
pub const ONCE_ID: &str = "elAaT4Qc2X_cls37pPSBF8-4Dun4hqC6mM7FEbZA_UA";
pub const ONCE_FINGERPRINT: &str = "KF3C0zebZWGLQkJzn1VS_3J_xNwjOtASnjeKvZNeHzM";
pub const ONCE_ANSWER: &str = "gAAAAABrDLw7BhSFJngns38HKb075mN-SAHw89CptFHo1uXqNnDgveWyyMoI_nWHqmAWV_x2vdVwi4iaE6ibHUeLmFB8NYkSc298vkfb_KG8KaB5CaRjkVGnlNRT1XU9kIREFcjtW6n_bN8xghwQU3UgN3uIu7pfraWapV__yZ3pKTSs_GOyteVE7b2haj6N1-kXC1alyTtRBwXmqXSk68ngUG6go0ZBL-CbezVL9--_E64C8BnMLGvnCdMtbVplJhPAP73zqRUtzzvhDg-T10lt_VhpA-Xd92nJ9Uq5obq_Mvlwc3Xy4n9EipkMLnw-dZB-V9Xua7dqrOJD8rLIMUQ89z2iZq4DDdNqHNAliv9MLw5thZ3FB7_3EO87EJru7Z8tMoVmbwkxLqjuOopQJ0Y3JXDFOp_Z6jHEy8JbOpIdS6AnV7TqrynpGL8uVBNdPBzCnZLCZaXaChfrvhgPlLFuyyhp5NmxYTQTwbnZ2GgmZ8L-kg5OZk37T8U2tRP8E3kUSVMbPxxcYxkik5hady_xpT0W-Iw95xBgta0bPBR9bXWWMASlZdQNziMYMKVz4QvgGrbewcYp2pHfIZBPvJo-Cyyf72m8UpVIjzfYKsP2foIfOZTeY-l5dTTLr4G82Fy2ym7pk6jTqi_rSkpbgXVkr8zPHtL-4BSaJN_BfuQ6gj_7j6spYrg5TZ4_TiEmknxICDg1EuHxbf6xrJINRU5lnr1p52t2httpMudDgWXDF1NNMsXTCiwUFlWVSM9sBgQd3hTqLfvbGVTM0xsjew-AHvaJUM5B5WFuPzvV1ESritQfk4n3WoqEJByvkE7y7McNMa9afz7_hd4pkJYb56Pc8VAZs-BQZFT4a96qzHxPbsUfPvcG_8uiuhucJHyEvbcJQBh0CAYlgp9NKgUpfq_UHSDYikzt1_VXa8716CBVEpnzqFpwpohJmzIxZuj6nnsYU--O0IOVDv_Mmsj77R_pFy8uJl3xpZCqbvJ5ssf3VRhYu0h1BVswg8m8YgRPSGxzVpxiqGEN";

/// The signing secret of webhooks.
pub const SIGNING_SECRET: &str = "whsec_ojuRxrXbfHVQ4XfMdRKjC9q50yzUdAyMQAVIesRiyx4=";

/// The number of connections that are due for a refresh.
pub const DUE: usize = 5;
/// The number of the host's users who own the connections.
pub const USERS: usize = 100;
/// The number of encrypted rows besides the connections of the host's users.
pub const OTHER_SEALED: usize = 11;

/// The grants besides those of the host's users.
#[derive(Debug, Clone, Copy)]
pub enum Special {
    /// A connection of a browser.
    Browser,
    /// A connection whose grant HubSpot has ended.
    Refused,
    /// A pending grant that waits for the browser user's decision.
    Choice,
    /// A pending grant that waits for the confirmation of the host's backend.
    Held,
    /// An overdue grant that waited for a decision.
    Forgotten,
    /// An overdue grant that waited for a confirmation.
    Unconfirmed,
    /// An install that can be claimed.
    Waiting,
    /// An install whose time for a claim is over.
    Unclaimed,
    /// A grant to revoke.
    Revoked,
}

const SPECIALS: usize = 9;

/// A database of that release, with its facts.
pub struct Release21 {
    pub database: TestDatabase,
    hubspot: FakeHubSpot,
    receiver: Receiver,
    variables: Vec<(String, String)>,
    facts: Facts,
}

/// The facts of that database.
pub struct Facts {
    pub connections: usize,
    pub grants: Vec<Grant>,
}

/// The service of this release on a database of that one.
pub struct Upgraded {
    pub app: TestApp,
    pub receiver: Receiver,
    pub facts: Facts,
}

impl Facts {
    /// Returns the account of a connection of the host's users.
    pub fn portal(&self, number: usize) -> u64 {
        self.grants[number].hub_id
    }

    /// Returns another grant.
    pub fn grant(&self, which: Special) -> &Grant {
        &self.grants[self.connections + which as usize]
    }

    /// Returns the account of another grant.
    pub fn special(&self, which: Special) -> u64 {
        self.grant(which).hub_id
    }
}

impl Release21 {
    /// Creates a database with this many connections of the host's users.
    pub async fn with(connections: usize) -> Self {
        let grants = u32::try_from(connections + SPECIALS).expect("a number of grants");
        let hubspot = FakeHubSpot::start(Options { grants, ..Options::default() }).await.expect("a HubSpot");
        let receiver = Receiver::start().await;
        let database = TestDatabase::fresh().await;
        let own = [
            ("ENCRYPTION_KEYS", ENCRYPTION_KEY),
            ("APP_SECRET", APP_SECRET),
            ("HUBSPOT_SCOPES", "oauth"),
            ("MARKETPLACE_INSTALLS", "on"),
            ("WEBHOOK_ALLOWED_HOSTS", &receiver.host()),
        ];
        let variables = settle(&hubspot, &database, &[LONG_SESSIONS, &own].concat());
        let facts = Facts { connections, grants: hubspot.grants() };
        Rows::of(&database, &variables, &receiver, &facts).await.write().await;
        Self { database, hubspot, receiver, variables, facts }
    }

    /// Migrates the database by command, like an operator, checks that no row was lost, and starts the service.
    pub async fn upgraded(self) -> Upgraded {
        let tables = kept_tables(&self.database).await;
        let before = rows_of(&self.database, &tables).await;
        let migrated = run(&["db", "migrate"], &self.variables);
        assert_eq!(migrated.code, Some(0), "{migrated:?}");
        let after = rows_of(&self.database, &tables).await;
        for (table, before) in &before {
            let lost = before.iter().zip(&after[table]).find(|(before, after)| before != after);
            assert!(lost.is_none() && before.len() == after[table].len(), "{table}: {lost:?}");
        }
        let Self { database, hubspot, receiver, variables, facts } = self;
        let clock = Clock::manual(Timestamp::from_unix_ms(NOW));
        Upgraded { app: TestApp::again(hubspot, database, variables, clock).await, receiver, facts }
    }
}

/// Returns the id of the connection with this number.
pub fn connection(number: usize) -> String {
    id(0xc0, number)
}

/// Returns the id of another connection, or of the connection for which a grant is encrypted.
pub fn special_connection(which: Special) -> String {
    id(0xc1, which as usize)
}

/// Returns the id of an install.
pub fn install(which: Special) -> String {
    id(0x15, which as usize)
}

/// Returns the id of the install that user 0 has claimed.
pub fn claimed_install() -> String {
    id(0x15, 99)
}

/// Returns the id of the connect session with this name, which is its status unless it waits.
pub fn connect_session(name: &str) -> String {
    let names = ["open", "held", "unconfirmed", "connected", "cancelled", "expired"];
    id(0x5e, names.iter().position(|known| *known == name).expect("a name"))
}

pub fn user(number: usize) -> String {
    id(0xe0, number % USERS)
}

/// Returns the user of the browser.
pub fn browser_user() -> String {
    id(0xb0, 0)
}

pub fn endpoint() -> String {
    id(0x4b, 0)
}

pub fn id(kind: u32, number: usize) -> String {
    format!("{kind:08x}-0000-4000-8000-{number:012x}")
}

/// Returns an access token as stored.
pub fn access_token(portal: u64) -> String {
    format!("access-{portal}")
}

/// Returns a secret of 43 characters.
pub fn secret(name: &str) -> String {
    format!("{name:_<43}")
}

/// Returns the id of the flow with this name.
pub fn flow(name: &str) -> FlowId {
    FlowId::of_state_hash(hash(&format!("{name}-state")).bytes())
}

/// Returns the cookie of that flow.
pub fn flow_cookie(name: &str) -> (String, String) {
    (format!("__Host-hsc_f_{}", flow(name).short()), format!("{NOW}.{}", secret(&format!("{name}-binding"))))
}

pub fn hash(name: &str) -> Hash {
    Secret::new(secret(name)).hash()
}

pub fn portal(grant: &Grant) -> i64 {
    i64::try_from(grant.hub_id).expect("an account")
}

/// Returns the id of an event of connection 0.
pub fn event(sequence: i64) -> String {
    format!("evt_{}_{sequence}", connection(0).replace('-', ""))
}
