//! Rows of ParkedGrant: what HubSpot gave for another account than the expected one, until the person has chosen.

use super::row::Row;
use super::{Store, StoreError, Tx};
use crate::domain::clock::Moment;
use crate::domain::id::{ConnectionId, FlowId, PortalId, UserId};
use crate::domain::scopes::Scopes;
use crate::domain::secret::Sealed;

/// A grant that waits for a person's word. It is sealed for the first generation of a connection yet to be made.
#[derive(Debug, Clone)]
pub struct ParkedGrant {
    /// The flow it came by.
    pub flow: FlowId,
    /// Whose it would be.
    pub user: UserId,
    /// The connection it is sealed for.
    pub connection: ConnectionId,
    /// The HubSpot app.
    pub client_id: String,
    /// The account it is for.
    pub portal: PortalId,
    /// The account's website, where HubSpot has told it.
    pub hub_domain: Option<String>,
    /// What was granted, where HubSpot has told it.
    pub scopes: Option<Scopes>,
    /// The access token.
    pub access: Sealed,
    /// The refresh token.
    pub refresh: Sealed,
    /// The keyed hash of the refresh token.
    pub refresh_fingerprint: String,
    /// When the tokens were received.
    pub obtained_at: Moment,
    /// When the access token expires.
    pub token_expires_at: Moment,
    /// Until when the person may choose.
    pub expires_at: Moment,
}

const COLUMNS: &str = "flow_id, user_id, connection_id, client_id, portal_id, hub_domain, scopes, key_id, \
    access_sealed, refresh_sealed, refresh_fingerprint, obtained_at, token_expires_at, expires_at";

impl Store {
    /// Parks a grant, and keeps its flow open for as long.
    ///
    /// # Errors
    /// [`StoreError`] if the database fails: the tokens are still only in memory, so try again.
    pub async fn park_grant(&self, grant: ParkedGrant) -> Result<(), StoreError> {
        self.write(move |tx| {
            let grant = grant.clone();
            Box::pin(async move { park(tx, &grant).await })
        })
        .await
    }

    /// The grant that this flow has parked, if it has.
    ///
    /// # Errors
    /// [`StoreError`] if the database fails.
    pub async fn parked_grant(&self, flow: FlowId) -> Result<Option<ParkedGrant>, StoreError> {
        let sql = format!("SELECT {COLUMNS} FROM parked_grant WHERE flow_id = $1");
        self.one(&sql, [flow.to_string().into()]).await?.map(|row| read(&row)).transpose()
    }

    /// Grants about which nobody has said anything in time.
    ///
    /// # Errors
    /// [`StoreError`] if the database fails.
    pub async fn expired_grants(&self, now: Moment, limit: u32) -> Result<Vec<ParkedGrant>, StoreError> {
        let sql =
            format!("SELECT {COLUMNS} FROM parked_grant WHERE expires_at <= $1 ORDER BY expires_at LIMIT $2");
        let rows = self.all(&sql, [now.unix_ms().into(), i64::from(limit).into()]).await?;
        rows.iter().map(read).collect()
    }

    /// The grant has become a connection, or its end is queued.
    ///
    /// # Errors
    /// [`StoreError`] if the database fails.
    pub async fn forget_parked(&self, flow: FlowId) -> Result<(), StoreError> {
        self.write(move |tx| {
            let values = [flow.to_string().into()];
            Box::pin(async move {
                tx.run("DELETE FROM parked_grant WHERE flow_id = $1", values).await.map(|_| ())
            })
        })
        .await
    }
}

async fn park(tx: &Tx<'_>, grant: &ParkedGrant) -> Result<(), StoreError> {
    let sql = format!(
        "INSERT INTO parked_grant ({COLUMNS}) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14) \
         ON CONFLICT (flow_id) DO NOTHING"
    );
    let values = [
        grant.flow.to_string().into(),
        grant.user.to_string().into(),
        grant.connection.to_string().into(),
        grant.client_id.clone().into(),
        grant.portal.0.into(),
        grant.hub_domain.clone().into(),
        grant.scopes.as_ref().map(Scopes::to_string).into(),
        grant.refresh.key_id.clone().into(),
        grant.access.ciphertext.clone().into(),
        grant.refresh.ciphertext.clone().into(),
        grant.refresh_fingerprint.clone().into(),
        grant.obtained_at.unix_ms().into(),
        grant.token_expires_at.unix_ms().into(),
        grant.expires_at.unix_ms().into(),
    ];
    tx.run(&sql, values).await?;
    let sql = "UPDATE auth_request SET expires_at = $2 WHERE id = $1 AND status = 'exchanging'";
    tx.run(sql, [grant.flow.to_string().into(), grant.expires_at.unix_ms().into()]).await.map(|_| ())
}

fn read(row: &Row) -> Result<ParkedGrant, StoreError> {
    Ok(ParkedGrant {
        flow: row.parsed("flow_id")?,
        user: row.parsed("user_id")?,
        connection: row.parsed("connection_id")?,
        client_id: row.get("client_id")?,
        portal: PortalId(row.get("portal_id")?),
        hub_domain: row.get("hub_domain")?,
        scopes: row.get::<Option<String>>("scopes")?.map(|text| Scopes::parse(&text)),
        access: row.sealed("key_id", "access_sealed")?,
        refresh: row.sealed("key_id", "refresh_sealed")?,
        refresh_fingerprint: row.get("refresh_fingerprint")?,
        obtained_at: row.moment("obtained_at")?,
        token_expires_at: row.moment("token_expires_at")?,
        expires_at: row.moment("expires_at")?,
    })
}
