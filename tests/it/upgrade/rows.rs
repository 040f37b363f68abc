//! The rows of that release, written by SQL: the code of this release writes only the tables of this release.

use fake_hubspot::Grant;
use hubspot_connect::domain::secret::{Sealed, Secret};
use hubspot_connect::keyring::{Context, Keyring};
use sea_orm::sea_query::Query;
use sea_orm::{ConnectOptions, ConnectionTrait, Database, DatabaseConnection, Value as SqlValue};
use serde_json::json;

use super::release_21::{
    API_KEY, API_KEY_ID, APP_SECRET, CHECK, CLIENT, DAY, DUE, ENCRYPTION_KEY, EVERY_SCOPE, EXPIRY, FROZEN,
    FROZEN_ACCESS_SEALED, FROZEN_FINGERPRINT, FROZEN_REFRESH_SEALED, Facts, KEY_ID, MINUTE, NOW, ONCE_ANSWER,
    ONCE_FINGERPRINT, ONCE_ID, RECEIVED, SESSION_HASH, SIGNING_SECRET, Special, USERS, access_token,
    browser_user, claimed_install, connect_session, connection, endpoint, event, flow, hash, id, install,
    portal, secret, special_connection, user,
};
use super::tables::make_schema;
use crate::harness::Receiver;
use crate::harness::app::HOST;
use crate::harness::database::TestDatabase;
use crate::harness::process::value;

/// A row: its columns with their values.
type Row = Vec<(&'static str, SqlValue)>;

/// Columns with their values.
macro_rules! row {
    ($($column:ident: $value:expr),* $(,)?) => { vec![$((stringify!($column), SqlValue::from($value))),*] };
}

/// The end of a flow, if it has ended.
struct Flow<'a> {
    name: &'a str,
    user: String,
    status: &'static str,
    expires_at: i64,
    portal: Option<i64>,
    error: Option<&'static str>,
    connection: Option<String>,
    session: Option<String>,
}

impl<'a> Flow<'a> {
    fn new(name: &'a str, user: String, status: &'static str) -> Self {
        let (expires_at, portal, error) = (NOW + 10 * MINUTE, None, None);
        Self { name, user, status, expires_at, portal, error, connection: None, session: None }
    }
}

/// Writes the rows.
pub struct Rows<'a> {
    db: DatabaseConnection,
    keyring: Keyring,
    redirect_uri: String,
    hook: String,
    facts: &'a Facts,
}

impl<'a> Rows<'a> {
    pub async fn of(
        database: &TestDatabase,
        variables: &[(String, String)],
        receiver: &Receiver,
        facts: &'a Facts,
    ) -> Self {
        // A transaction belongs to one connection.
        let mut options = ConnectOptions::new(&database.url);
        let db = match database.is_sqlite() {
            true => database.connect().await,
            false => Database::connect(options.max_connections(1).to_owned()).await.expect("the database"),
        };
        let (key, app_secret) = (Secret::new(ENCRYPTION_KEY.to_owned()), Secret::new(APP_SECRET.to_owned()));
        let keyring = Keyring::new(&[key], &app_secret).expect("a key");
        let redirect_uri = format!("{}/auth/hubspot/callback", value(variables, "PUBLIC_URL"));
        Self { db, keyring, redirect_uri, hook: receiver.url("/hooks"), facts }
    }

    pub async fn write(&self) {
        make_schema(&self.db).await;
        self.db.execute_unprepared("BEGIN").await.expect("a transaction");
        self.write_connections().await;
        self.write_flows().await;
        self.write_connect_sessions().await;
        self.write_pending_grants().await;
        self.write_installs().await;
        self.write_users().await;
        self.write_events().await;
        self.db.execute_unprepared("COMMIT").await.expect("the rows");
    }

    async fn write_connections(&self) {
        let numbers = 0..self.facts.connections;
        let mut tokens: Vec<Row> = numbers.clone().map(|number| self.token(number)).collect();
        tokens.push(self.connection(
            special_connection(Special::Browser),
            browser_user(),
            Special::Browser,
            "active",
        ));
        tokens.push(self.connection(
            special_connection(Special::Refused),
            user(1),
            Special::Refused,
            "needs_reauth",
        ));
        self.insert("token", tokens).await;
        self.insert("token", vec![frozen()]).await;
        let mut jobs: Vec<Row> =
            numbers.map(|number| job(connection(number), number < DUE, number == 0)).collect();
        jobs.push(job(special_connection(Special::Browser), false, false));
        jobs.push(job(FROZEN.to_owned(), false, false));
        self.insert("token_refresh_job", jobs).await;
        let (grant, row) = (self.facts.grant(Special::Revoked), special_connection(Special::Revoked));
        let refresh = self.seal("refresh", &row, &grant.refresh_token);
        let revocation = row! {
            id: format!("{row}/1"),
            connection_id: row,
            client_id: CLIENT,
            key_id: refresh.key_id,
            refresh_sealed: refresh.ciphertext,
            refresh_fingerprint: self.fingerprint(grant),
            generation: 1_i64,
            created_at: NOW - MINUTE,
            run_at: NOW,
            attempts: 1_i64,
        };
        self.insert("revocation_job", vec![revocation]).await;
    }

    fn token(&self, number: usize) -> Row {
        let grant = &self.facts.grants[number];
        self.row_of_token(connection(number), user(number), grant, "active")
    }

    fn connection(&self, id: String, owner: String, which: Special, state: &'static str) -> Row {
        self.row_of_token(id, owner, self.facts.grant(which), state)
    }

    fn row_of_token(&self, id: String, owner: String, grant: &Grant, state: &'static str) -> Row {
        let is_active = state == "active";
        let mut row = self.tokens_of(&id, grant);
        row.extend(row! {
            id: id,
            user_id: owner,
            portal_id: portal(grant),
            hub_domain: format!("hub-{}.example", grant.hub_id),
            hub_user: format!("owner@hub-{}.example", grant.hub_id),
            time_zone: "UTC",
            scopes: "oauth",
            wanted_scopes: "oauth",
            state: state,
            generation: 1_i64,
            expires_at: EXPIRY,
            last_error: (!is_active).then_some("grant_dead"),
            error_since: (!is_active).then_some(NOW - DAY),
            degraded_since: (!is_active).then_some(NOW - DAY),
            metadata: Some(r#"{"team":"north"}"#),
            created_at: NOW - DAY,
            connected_at: NOW - DAY,
        });
        row
    }

    /// Returns the columns that tables with tokens share.
    fn tokens_of(&self, sealed_for: &str, grant: &Grant) -> Row {
        let access = self.seal("access", sealed_for, &access_token(grant.hub_id));
        let refresh = self.seal("refresh", sealed_for, &grant.refresh_token);
        row! {
            client_id: CLIENT,
            key_id: access.key_id,
            access_sealed: access.ciphertext,
            refresh_sealed: refresh.ciphertext,
            refresh_fingerprint: self.fingerprint(grant),
            obtained_at: RECEIVED,
        }
    }

    async fn write_flows(&self) {
        let expected = portal(self.facts.grant(Special::Browser));
        let browser = Some(special_connection(Special::Browser));
        let flows = [
            Flow::new("awaiting", id(0xb1, 0), "awaiting_user"),
            Flow { expires_at: NOW - MINUTE, ..Flow::new("expired", id(0xb1, 1), "awaiting_user") },
            Flow { portal: Some(expected), ..Flow::new("choice", browser_user(), "exchanging") },
            Flow {
                portal: Some(expected),
                expires_at: NOW - 1,
                ..Flow::new("forgotten", browser_user(), "exchanging")
            },
            Flow {
                session: Some(connect_session("held")),
                expires_at: NOW + DAY,
                ..Flow::new("held", user(0), "exchanging")
            },
            Flow {
                session: Some(connect_session("unconfirmed")),
                expires_at: NOW - 1,
                ..Flow::new("unconfirmed", user(0), "exchanging")
            },
            Flow { connection: browser, ..Flow::new("connected", browser_user(), "connected") },
            Flow { error: Some("user_denied"), ..Flow::new("failed", id(0xb1, 2), "failed") },
            Flow::new("cancelled", id(0xb1, 3), "cancelled"),
        ];
        self.insert("auth_request", flows.into_iter().map(|flow| self.flow(flow)).collect()).await;
    }

    fn flow(&self, one: Flow<'_>) -> Row {
        let (name, flow) = (one.name, flow(one.name).to_string());
        let (is_awaited, is_held) = (one.status == "awaiting_user", one.status == "exchanging");
        let pkce = self.seal_at("pkce", &flow, 0, CLIENT, &secret(&format!("{name}-pkce")));
        row! {
            id: flow,
            state_hash: hash(&format!("{name}-state")).text(),
            binding_hash: hash(&format!("{name}-binding")).text(),
            user_id: one.user,
            client_id: CLIENT,
            redirect_uri: self.redirect_uri.clone(),
            scopes: "oauth",
            optional_scopes: "",
            opener_origin: HOST,
            evidence: "origin_header",
            portal_id: one.portal,
            pkce_key_id: pkce.key_id,
            pkce_sealed: pkce.ciphertext,
            status: one.status,
            error_code: one.error,
            connection_id: one.connection,
            created_at: NOW - 5 * MINUTE,
            expires_at: one.expires_at,
            consumed_at: (!is_awaited).then_some(NOW - MINUTE),
            finished_at: (!is_awaited && !is_held).then_some(NOW - MINUTE / 2),
            challenge: hash(name).text(),
            opener_challenge: hash(&format!("{name}-opener")).text(),
            mode: "popup",
            connect_session_id: one.session,
        }
    }

    async fn write_connect_sessions(&self) {
        let session = |name: &str, status: &'static str| {
            let is_held = status == "awaiting_confirmation";
            row! {
                id: connect_session(name),
                token_hash: hash(&format!("{name}-session")).text(),
                external_id: "user-0",
                user_id: user(0),
                client_id: CLIENT,
                metadata: r#"{"plan":"gold"}"#,
                confirm: i64::from(is_held),
                hosted: 0_i64,
                status: status,
                error_code: (name == "cancelled").then_some("cancelled"),
                flow_id: is_held.then(|| flow(name).to_string()),
                connection_id: (name == "connected").then(|| connection(0)),
                created_at: NOW - 10 * MINUTE,
                expires_at: if name == "expired" { NOW - MINUTE } else { NOW + 10 * MINUTE },
                finished_at: ["connected", "cancelled"].contains(&name).then_some(NOW - MINUTE),
            }
        };
        let sessions = vec![
            session("open", "open"),
            session("held", "awaiting_confirmation"),
            session("unconfirmed", "awaiting_confirmation"),
            session("connected", "connected"),
            session("cancelled", "cancelled"),
            // That release does not store that a session has expired.
            session("expired", "open"),
        ];
        self.insert("connect_session", sessions).await;
    }

    async fn write_pending_grants(&self) {
        let session = |name| Some(connect_session(name));
        let grants = [
            (Special::Choice, "choice", browser_user(), NOW + 10 * MINUTE, None),
            (Special::Held, "held", user(0), NOW + DAY, session("held")),
            (Special::Forgotten, "forgotten", browser_user(), NOW - 1, None),
            (Special::Unconfirmed, "unconfirmed", user(0), NOW - 1, session("unconfirmed")),
        ];
        let rows = grants.map(|(which, name, owner, expires_at, session)| {
            let (grant, sealed_for) = (self.facts.grant(which), special_connection(which));
            let mut row = self.tokens_of(&sealed_for, grant);
            row.extend(row! {
                flow_id: flow(name).to_string(),
                user_id: owner,
                connection_id: sealed_for,
                portal_id: portal(grant),
                hub_domain: format!("hub-{}.example", grant.hub_id),
                scopes: "oauth",
                token_expires_at: EXPIRY,
                expires_at: expires_at,
                connect_session_id: session,
            });
            row
        });
        self.insert("parked_grant", rows.into()).await;
    }

    async fn write_installs(&self) {
        let installs = [(Special::Waiting, NOW + 7 * DAY), (Special::Unclaimed, NOW - 1)];
        let rows = installs.map(|(which, expires_at)| {
            let (grant, sealed_for) = (self.facts.grant(which), special_connection(which));
            let mut row = self.tokens_of(&sealed_for, grant);
            row.extend(install_row(install(which), sealed_for, portal(grant), expires_at));
            row
        });
        self.insert("install", rows.into()).await;
        // A claimed install has no tokens.
        let account = portal(&self.facts.grants[0]);
        let mut claimed = install_row(claimed_install(), id(0xc1, 99), account, NOW + 7 * DAY);
        claimed.extend(row! {
            client_id: CLIENT,
            obtained_at: NOW - DAY,
            claimed_by: user(0),
            claimed_as: connection(0),
            claimed_at: NOW - DAY,
        });
        self.insert("install", vec![claimed]).await;
        let seen = [("install-state", "state"), ("install-code", "code")];
        let seen = seen
            .map(|(name, kind)| row! { hash: hash(name).text(), kind: kind, expires_at: NOW + 5 * MINUTE });
        self.insert("install_attempt", seen.into()).await;
    }

    async fn write_users(&self) {
        let users = (0..USERS).map(
            |number| row! { external_id: format!("user-{number}"), user_id: user(number), created_at: NOW - DAY },
        );
        self.insert("external_user", users.collect()).await;
        let (user, nonce) = (json!(browser_user()), json!(secret("nonce")));
        let since = NOW - DAY;
        let values =
            json!({"nonce": nonce.to_string(), "since": since.to_string(), "user_id": user.to_string()});
        let session = row! {
            key_hash: SESSION_HASH,
            user_id: browser_user(),
            state: values.to_string(),
            created_at: NOW - DAY,
            seen_at: NOW - 10,
            expires_at: NOW + DAY,
            seen: 1_i64,
        };
        self.insert("session", vec![session]).await;
        let key = |id: &str, name, secret: &str, revoked_at: Option<i64>| {
            row! {
                id: id,
                name: name,
                key_hash: Secret::new(secret.to_owned()).hash().text(),
                scopes: EVERY_SCOPE,
                created_at: NOW - DAY,
                last_used_at: NOW - DAY,
                revoked_at: revoked_at,
            }
        };
        let revoked = key(&id(0xa9, 2), "revoked", &secret("revoked-key"), Some(NOW - 1));
        self.insert("api_key", vec![key(API_KEY_ID, "host", API_KEY, None), revoked]).await;
        let check = row! { key_id: KEY_ID, check_sealed: CHECK, created_at: NOW - DAY };
        self.insert("crypto_meta", vec![check]).await;
        let once = row! {
            id: ONCE_ID,
            fingerprint: ONCE_FINGERPRINT,
            lease: id(0x1e, 0),
            locked_until: NOW - MINUTE,
            key_id: KEY_ID,
            answer_sealed: ONCE_ANSWER,
            expires_at: NOW + DAY,
        };
        self.insert("idempotency_key", vec![once]).await;
        let reader = row! { client_id: CLIENT, position: "offset-4711", fence: 3_i64 };
        self.insert("journal_reader", vec![reader]).await;
        let alarm = row! { code: "app.credentials_invalid", since: NOW - MINUTE };
        self.insert("alarm", vec![alarm]).await;
    }

    async fn write_events(&self) {
        let secrets = json!({"signing": [{"s": SIGNING_SECRET, "u": null}], "headers": []}).to_string();
        let sealed = self.seal_at("webhook", &endpoint(), 1, "", &secrets);
        let endpoint_row = row! {
            id: endpoint(),
            url: self.hook.clone(),
            enabled: 1_i64,
            key_id: sealed.key_id,
            secrets_sealed: sealed.ciphertext,
            generation: 1_i64,
            created_at: NOW - DAY,
        };
        self.insert("webhook_endpoint", vec![endpoint_row]).await;
        let history = [
            ("connection.created", "delivered"),
            ("connection.reconnected", "failed"),
            ("connection.recovered", "pending"),
        ];
        let (mut events, mut deliveries) = (Vec::new(), Vec::new());
        for (sequence, (kind, status)) in (1_i64..).zip(history) {
            let data = json!({"connection_id": connection(0), "sequence": sequence});
            let payload = json!({"type": kind, "timestamp": "2026-11-18T11:05:40Z", "data": data});
            events.push(row! {
                id: event(sequence),
                type: kind,
                connection_id: connection(0),
                sequence: sequence,
                payload: payload.to_string(),
                created_at: NOW - MINUTE,
            });
            deliveries.push(row! {
                event_id: event(sequence),
                endpoint_id: endpoint(),
                connection_id: connection(0),
                sequence: sequence,
                status: status,
                attempts: i64::from(status != "pending"),
                queued_at: NOW - MINUTE,
                run_at: NOW - MINUTE,
                last_status: (status != "pending").then_some(if status == "failed" { 500_i64 } else { 200 }),
                delivered_at: (status == "delivered").then_some(NOW - MINUTE),
            });
        }
        self.insert("event", events).await;
        self.insert("webhook_delivery", deliveries).await;
        self.insert("event_sequence", vec![row! { connection_id: connection(0), last: 3_i64 }]).await;
    }

    fn seal(&self, kind: &'static str, row: &str, text: &str) -> Sealed {
        self.seal_at(kind, row, 1, CLIENT, text)
    }

    fn seal_at(&self, kind: &'static str, row: &str, generation: i64, client_id: &str, text: &str) -> Sealed {
        self.keyring.seal(&Secret::new(text.to_owned()), Context { kind, row, generation, client_id })
    }

    fn fingerprint(&self, grant: &Grant) -> String {
        self.keyring.fingerprint(&Secret::new(grant.refresh_token.clone()))
    }

    /// Inserts rows with the same columns, many in one statement.
    async fn insert(&self, table: &'static str, rows: Vec<Row>) {
        for rows in rows.chunks(200) {
            let mut query = Query::insert();
            query.into_table(table).columns(rows[0].iter().map(|(column, _)| *column));
            for row in rows {
                query.values_panic(row.iter().map(|(_, value)| value.clone().into()));
            }
            self.db.execute(&query).await.unwrap_or_else(|why| panic!("{table}: {why}"));
        }
    }
}

fn job(connection: String, is_due: bool, is_interrupted: bool) -> Row {
    row! {
        connection_id: connection,
        run_at: if is_due { NOW } else { NOW + 12 * MINUTE },
        lease_owner: is_interrupted.then_some("a process that was killed"),
        lease_until: is_interrupted.then_some(NOW - 1),
        fence: NOW - 5 * MINUTE,
        intent_at: is_interrupted.then_some(NOW - MINUTE),
    }
}

/// Returns the connection with tokens encrypted by that release.
fn frozen() -> Row {
    row! {
        id: FROZEN,
        user_id: user(2),
        client_id: CLIENT,
        portal_id: 2_121_i64,
        scopes: "oauth",
        wanted_scopes: "oauth",
        state: "active",
        generation: 1_i64,
        key_id: KEY_ID,
        access_sealed: FROZEN_ACCESS_SEALED,
        refresh_sealed: FROZEN_REFRESH_SEALED,
        refresh_fingerprint: FROZEN_FINGERPRINT,
        obtained_at: RECEIVED,
        expires_at: EXPIRY,
        created_at: NOW - DAY,
        connected_at: NOW - DAY,
    }
}

fn install_row(id: String, sealed_for: String, account: i64, expires_at: i64) -> Row {
    row! {
        id: id,
        connection_id: sealed_for,
        portal_id: account,
        hub_domain: "install.example",
        hub_user: "owner@install.example",
        scopes: "oauth",
        token_expires_at: EXPIRY,
        expires_at: expires_at,
    }
}
