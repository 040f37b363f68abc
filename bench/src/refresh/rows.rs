//! The rows of connections, as the service would have written them.

use hubspot_connect::domain::secret::Secret;
use hubspot_connect::keyring::{Context, Keyring};

use crate::Failure;
use crate::servers::{APP_SECRET, CLIENT_ID, ENCRYPTION_KEY};

/// A table and the columns that are filled.
pub struct Table {
    pub name: &'static str,
    pub columns: &'static str,
}

/// The tables, in the order of the rows of [`Connection::values`].
pub const TABLES: [Table; 3] = [
    Table {
        name: "token",
        columns: "id, user_id, client_id, portal_id, hub_domain, hub_user, time_zone, scopes, wanted_scopes, state, \
                  generation, key_id, access_sealed, refresh_sealed, refresh_fingerprint, obtained_at, expires_at, \
                  created_at, connected_at",
    },
    Table { name: "token_refresh_job", columns: "connection_id, run_at" },
    Table { name: "session", columns: "key_hash, user_id, state, created_at, seen_at, expires_at" },
];

const SECOND: i64 = 1000;
const HOUR: i64 = 3600 * SECOND;
const LIFE: i64 = 1800 * SECOND;
/// The length of an encrypted access token of the simulated HubSpot.
const SEALED_ACCESS: usize = 612;
const SEALED_REFRESH: usize = 268;
const FINGERPRINT: usize = 43;

/// A connection that a user created some hours ago and whose session is still alive.
pub struct Connection {
    number: u64,
    key_id: String,
    access: String,
    refresh: String,
    fingerprint: String,
    now: i64,
    run_at: i64,
}

impl Connection {
    /// Returns a connection that has been due for some time for each refresh token of the simulated HubSpot.
    pub fn due(tokens: &[String], now: i64) -> Result<impl Iterator<Item = Self>, Failure> {
        let secret = |text: &str| Secret::new(text.to_owned());
        let keyring = Keyring::new(&[secret(ENCRYPTION_KEY)], &secret(APP_SECRET))?;
        Ok((0..).zip(tokens).map(move |(number, token)| {
            let (row, token) = (id(number, "connection"), secret(token));
            let context = Context { kind: "refresh", row: &row, generation: 0, client_id: CLIENT_ID };
            let access = keyring.seal(&secret(&"C".repeat(300)), Context { kind: "access", ..context });
            let refresh = keyring.seal(&token, context);
            Self {
                number,
                key_id: refresh.key_id,
                access: access.ciphertext,
                refresh: refresh.ciphertext,
                fingerprint: keyring.fingerprint(&token),
                now,
                run_at: now - spread(number, 600 * SECOND) - SECOND,
            }
        }))
    }

    /// Returns this many connections with tokens that were received just now, as the service encrypts them.
    pub fn fresh(count: u64, now: i64) -> Result<impl Iterator<Item = Self>, Failure> {
        let tokens: Vec<String> = (0..count).map(|number| format!("na1-{}", id(number, "token"))).collect();
        let run_at = now + LIFE / 2;
        Ok(Self::due(&tokens, now)?.map(move |one| Self { run_at, ..one }).collect::<Vec<_>>().into_iter())
    }

    /// Returns this many connections that are not due for hours. Their tokens are never decrypted: they only have the
    /// right length.
    pub fn idle(count: u64, now: i64) -> Result<impl Iterator<Item = Self>, Failure> {
        let secret = |text: &str| Secret::new(text.to_owned());
        let key_id = Keyring::new(&[secret(ENCRYPTION_KEY)], &secret(APP_SECRET))?.newest_key_id().to_owned();
        Ok((0..count).map(move |number| Self {
            number,
            key_id: key_id.clone(),
            access: "a".repeat(SEALED_ACCESS),
            refresh: "r".repeat(SEALED_REFRESH),
            fingerprint: format!("{:0>FINGERPRINT$}", id(number, "fingerprint")),
            now,
            run_at: now + 4 * HOUR + spread(number, HOUR),
        }))
    }

    /// Returns a row for each of [`TABLES`].
    pub fn values(self) -> [Vec<String>; 3] {
        let (row, user) = (id(self.number, "connection"), id(self.number, "user"));
        let connected_at = self.now - HOUR - spread(self.number, 10 * HOUR);
        let obtained_at = self.run_at - LIFE / 2;
        let number = |number: i64| number.to_string();
        let text = str::to_owned;
        let token = vec![
            row.clone(),
            user.clone(),
            text(CLIENT_ID),
            (self.number + 1).to_string(),
            format!("hub-{}.example", self.number),
            format!("owner@hub-{}.example", self.number),
            text("UTC"),
            text("oauth"),
            text("oauth"),
            text("active"),
            number(0),
            self.key_id,
            self.access,
            self.refresh,
            self.fingerprint,
            number(obtained_at),
            number(obtained_at + LIFE),
            number(connected_at),
            number(connected_at),
        ];
        let job = vec![row, number(self.run_at)];
        let session = vec![
            format!("{:0>43}", id(self.number, "session")),
            user,
            text("{}"),
            number(connected_at),
            number(self.now),
            number(self.now + 6 * HOUR),
        ];
        [token, job, session]
    }
}

/// Returns an id as random as the real ones, but the same in every run.
pub fn id(number: u64, of: &str) -> String {
    let salt = of.bytes().fold(0, |salt: u64, byte| salt.wrapping_mul(31).wrapping_add(byte.into()));
    let (high, low) = (mixed(number ^ salt << 32), mixed(number ^ salt << 32 ^ 1 << 63));
    format!(
        "{:08x}-{:04x}-4{:03x}-8{:03x}-{:012x}",
        high >> 32,
        high >> 16 & 0xffff,
        high & 0xfff,
        low >> 52,
        low & 0xffff_ffff_ffff
    )
}

/// Spreads numbers over times below `span`.
fn spread(number: u64, span: i64) -> i64 {
    i64::try_from(mixed(number) >> 1).unwrap_or(0) % span
}

/// Applies the finalizer of SplitMix64.
fn mixed(number: u64) -> u64 {
    let mut mixed = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    mixed = (mixed ^ mixed >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ mixed >> 31
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_row_has_a_value_for_each_column() {
        let connection = Connection::idle(1, 0).unwrap().next().unwrap();
        for (table, values) in TABLES.iter().zip(connection.values()) {
            assert_eq!(table.columns.split(',').count(), values.len(), "{}", table.name);
        }
    }

    #[test]
    fn filler_has_the_length_of_real_values() {
        let token = format!("na1-{}", id(0, "token"));
        let [due, ..] = Connection::due(&[token], 0).unwrap().next().unwrap().values();
        let [idle, ..] = Connection::idle(1, 0).unwrap().next().unwrap().values();
        let lengths = |values: &[String]| values[..15].iter().map(String::len).collect::<Vec<_>>();
        assert_eq!(lengths(&due), lengths(&idle));
    }
}
