//! The SQL of the tests: tables, and columns that several tests use, are named only here, so that renaming one costs
//! one line. Statements that occur once stay in their test and take the names from here.

use serde_json::Value;

use super::database::TestDatabase;

// Tables.
pub const ALARMS: &str = "alarm";
pub const API_KEYS: &str = "api_key";
pub const AUTH_REQUESTS: &str = "auth_request";
const CLAIMED_INSTALLS: &str = "claimed_install";
pub const CONNECT_SESSIONS: &str = "connect_session";
pub const CONNECTIONS: &str = "token";
pub const DELIVERIES: &str = "webhook_delivery";
pub const ENDPOINTS: &str = "webhook_endpoint";
pub const EVENT_SEQUENCE: &str = "event_sequence";
pub const EVENTS: &str = "event";
pub const EXTERNAL_USERS: &str = "external_user";
pub const IDEMPOTENCY_KEYS: &str = "idempotency_key";
pub const INSTALL_ATTEMPTS: &str = "install_attempt";
pub const JOURNAL_READER: &str = "journal_reader";
pub const KEY_CHECK: &str = "crypto_meta";
pub const PENDING_GRANTS: &str = "pending_grant";
pub const REFRESH_JOBS: &str = "token_refresh_job";
pub const REVOCATION_JOBS: &str = "revocation_job";
pub const SESSIONS: &str = "session";

// Joined tables, and parts of tables.
pub const CONNECTIONS_WITH_JOBS: &str = "token JOIN token_refresh_job ON connection_id = id";
pub const CONNECTIONS_WITH_USERS: &str = "token JOIN external_user ON external_user.user_id = token.user_id";
pub const NEWEST_CONNECTION: &str = "token ORDER BY connected_at DESC LIMIT 1";
pub const REFUSED_REFRESH_JOBS: &str = "token_refresh_job WHERE strikes = 1";

// Columns of connections.
pub const ACCESS_TOKEN: &str = "access_sealed";
pub const HUB_DOMAIN: &str = "hub_domain";
pub const ID: &str = "id";
pub const KEY_ID: &str = "key_id";
pub const LAST_ERROR: &str = "last_error";
pub const METADATA: &str = "metadata";
pub const REFRESH_TOKEN: &str = "refresh_sealed";
pub const STATE: &str = "state";
pub const USER_ID: &str = "user_id";

// Conditions on connections, the last one on connections with their jobs.
pub const ACTIVE: &str = "state = 'active'";
pub const ACTIVE_WITHOUT_JOB: &str =
    "state = 'active' AND id NOT IN (SELECT connection_id FROM token_refresh_job)";
pub const DETAILS_DUE: &str = "details_due_at IS NOT NULL";
pub const HEALTHY: &str = "state = 'active' AND last_error IS NULL";
pub const HEALTHY_AFTER_ONE_REFRESH: &str = "state = 'active' AND last_error IS NULL AND generation = 2";
pub const NEEDS_REAUTH: &str = "state = 'needs_reauth'";
pub const REFRESHED: &str = "generation > 1";
pub const WITHOUT_SESSION: &str = "user_id NOT IN (SELECT user_id FROM session WHERE user_id IS NOT NULL)";
pub const WELL: &str = "state = 'active' AND last_error IS NULL AND attempts = 0 AND strikes = 0";

/// A condition on refresh jobs.
pub const WITHOUT_ACTIVE_CONNECTION: &str =
    "connection_id NOT IN (SELECT id FROM token WHERE state = 'active')";

/// A statement that changes every connection in a column that the service only displays.
pub const TOUCH_CONNECTIONS: &str = "UPDATE token SET hub_user = 'first'";

/// Returns the statement that locks a table against everything else, on PostgreSQL.
pub fn lock(table: &str) -> String {
    format!("LOCK TABLE {table} IN ACCESS EXCLUSIVE MODE")
}

impl TestDatabase {
    /// Counts the rows of a table.
    pub async fn count(&self, table: &str) -> i64 {
        self.number_in(table, "COUNT(*)").await
    }

    /// Counts the rows of a table that meet a condition.
    pub async fn count_where(&self, table: &str, condition: &str) -> i64 {
        self.number(&format!("SELECT COUNT(*) FROM {table} WHERE {condition}")).await
    }

    /// Counts the connections that meet a condition, which may be about their jobs too.
    pub async fn connections(&self, condition: &str) -> i64 {
        let both = format!("{CONNECTIONS} LEFT JOIN {REFRESH_JOBS} ON connection_id = id");
        self.count_where(&both, condition).await
    }

    /// Reads a number from the first row of a table.
    pub async fn number_in(&self, table: &str, expression: &str) -> i64 {
        self.number(&format!("SELECT {expression} FROM {table}")).await
    }

    /// Reads a text from the first row of a table.
    pub async fn text_in(&self, table: &str, expression: &str) -> String {
        self.text(&format!("SELECT {expression} FROM {table}")).await
    }

    /// Updates the rows of a table; the assignments may end with a condition. Returns the number of rows.
    pub async fn update(&self, table: &str, assignments: &str) -> u64 {
        self.execute(&format!("UPDATE {table} SET {assignments}")).await
    }

    /// Deletes all rows of a table.
    pub async fn clear(&self, table: &str) {
        self.execute(&format!("DELETE FROM {table}")).await;
    }

    /// Hides a table, so that every statement on it fails.
    pub async fn hide(&self, table: &str) {
        self.execute(&format!("ALTER TABLE {table} RENAME TO {table}_gone")).await;
    }

    /// Restores a hidden table.
    pub async fn unhide(&self, table: &str) {
        self.execute(&format!("ALTER TABLE {table}_gone RENAME TO {table}")).await;
    }

    /// Reads a column of the only connection.
    pub async fn column(&self, column: &str) -> String {
        self.text_in(CONNECTIONS, column).await
    }

    /// Reads a column of the connection to this account.
    pub async fn column_of(&self, portal: u64, column: &str) -> String {
        self.text(&format!("SELECT {column} FROM {CONNECTIONS} WHERE portal_id = {portal}")).await
    }

    /// Sets a column of all connections.
    pub async fn set_column(&self, column: &str, value: &str) {
        self.update(CONNECTIONS, &format!("{column} = '{value}'")).await;
    }

    /// Sets a column of the connections to this account.
    pub async fn set_column_of(&self, portal: u64, column: &str, value: &str) {
        let changed =
            self.update(CONNECTIONS, &format!("{column} = '{value}' WHERE portal_id = {portal}")).await;
        assert_ne!(changed, 0, "a connection to {portal}");
    }

    /// Swaps the encrypted tokens of the connections to two accounts.
    pub async fn swap_tokens(&self, one: u64, other: u64) {
        for column in [ACCESS_TOKEN, REFRESH_TOKEN] {
            let (of_one, of_other) = (self.column_of(one, column).await, self.column_of(other, column).await);
            self.set_column_of(one, column, &of_other).await;
            self.set_column_of(other, column, &of_one).await;
        }
    }

    /// Returns the generation of the only connection.
    pub async fn generation(&self) -> i64 {
        self.number_in(CONNECTIONS, "generation").await
    }

    /// Returns the time of the only connection's next refresh, in Unix milliseconds.
    pub async fn refresh_due_at(&self) -> i64 {
        self.number_in(REFRESH_JOBS, "run_at").await
    }

    /// Makes every refresh job due; a lease on it stays.
    pub async fn make_refreshes_due(&self) {
        self.update(REFRESH_JOBS, "run_at = 0").await;
    }

    /// Makes every revocation job due.
    pub async fn make_revocations_due(&self) {
        self.update(REVOCATION_JOBS, "run_at = 0").await;
    }

    /// Expires every browser session.
    pub async fn expire_sessions(&self) {
        self.update(SESSIONS, "expires_at = 1").await;
    }

    /// Counts the events of this type.
    pub async fn events_of(&self, kind: &str) -> i64 {
        self.count_where(EVENTS, &format!("type = '{kind}'")).await
    }

    /// Reads the event of this type.
    pub async fn event(&self, kind: &str) -> Value {
        let payload = self.text_in(&format!("{EVENTS} WHERE type = '{kind}'"), "payload").await;
        serde_json::from_str(&payload).expect("JSON")
    }

    /// Gives the user of the only connection an external id.
    pub async fn name_user(&self, external_id: &str) {
        let named = format!("SELECT 'default', '{external_id}', user_id, 1 FROM {CONNECTIONS}");
        self.execute(&format!(
            "INSERT INTO {EXTERNAL_USERS} (project_id, external_id, user_id, created_at) {named}"
        ))
        .await;
    }

    /// Counts the rows that are encrypted under this key: connections, revocations and pending grants.
    pub async fn sealed_under(&self, key_id: &str) -> i64 {
        let mut count = 0;
        for table in [CONNECTIONS, REVOCATION_JOBS, PENDING_GRANTS] {
            count += self.count_where(table, &format!("{KEY_ID} = '{key_id}'")).await;
        }
        count
    }

    /// Counts the pending grants.
    pub async fn pending_grants(&self) -> i64 {
        self.count(PENDING_GRANTS).await
    }

    /// Makes the key of pending grants and waiting installs an unknown one.
    pub async fn lose_key_of_pending_grants(&self) {
        self.update(PENDING_GRANTS, "key_id = 'gone' || key_id").await;
    }

    /// Undoes [`TestDatabase::lose_key_of_pending_grants`].
    pub async fn find_key_of_pending_grants(&self) {
        self.update(PENDING_GRANTS, "key_id = substr(key_id, 5)").await;
    }

    /// Replaces the access tokens of pending grants and waiting installs with their refresh tokens.
    pub async fn damage_pending_grants(&self) {
        self.update(PENDING_GRANTS, "access_sealed = refresh_sealed").await;
    }

    /// Makes the connection id of pending grants invalid.
    pub async fn misplace_pending_grants(&self) {
        self.update(PENDING_GRANTS, "connection_id = 'damaged'").await;
    }

    /// Counts the pending grants whose connection id [`TestDatabase::misplace_pending_grants`] made invalid.
    pub async fn misplaced_pending_grants(&self) -> i64 {
        self.count_where(PENDING_GRANTS, "connection_id = 'damaged'").await
    }

    /// Counts the installs that wait to be claimed.
    pub async fn waiting_installs(&self) -> i64 {
        self.count_where(PENDING_GRANTS, "source = 'marketplace'").await
    }

    /// Counts the installs that wait to be claimed or were claimed.
    pub async fn installs(&self) -> i64 {
        self.waiting_installs().await + self.count(CLAIMED_INSTALLS).await
    }

    /// Returns the id of the only install, whether it waits to be claimed or was claimed.
    pub async fn install_id(&self) -> String {
        let table = if self.waiting_installs().await == 1 { PENDING_GRANTS } else { CLAIMED_INSTALLS };
        self.text_in(table, "id").await
    }
}
