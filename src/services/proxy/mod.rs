//! Forwards a call to HubSpot with a connection's access token, at the rate that HubSpot allows the account.

mod accounts;
mod forced_refresh;
mod pace;

use std::sync::Arc;
use std::time::Duration;

use crate::domain::clock::Clock;
use crate::domain::id::ConnectionId;
use crate::domain::rate::Rate;
use crate::hubspot::HubSpot;
pub use crate::hubspot::proxy::{
    Bytes, Call, Download, HeaderMap, Method, PassError, Passed, Pieces, Severed, Upload, UploadError,
};
use crate::services::connections::{Access, AccessError, AccessTokens};
use crate::services::platform::{Base, Tasks};
use accounts::{Account, Accounts};
use forced_refresh::ForcedRefreshThrottle;
use pace::{MAX_TURN_WAIT, Turn};

/// The remaining lifetime below which a token is refreshed first: it must still be valid when HubSpot checks it.
const MIN_TTL: Duration = Duration::from_secs(60);

/// The reason for not forwarding a call, or for a missing response.
#[derive(Debug)]
pub enum ProxyError {
    /// There is no access token.
    Access(AccessError),
    /// The account is called too fast. HubSpot was not called.
    RateLimited {
        /// The time to wait before the next call.
        retry_after: Duration,
    },
    /// HubSpot has not answered, or the caller's body has not arrived.
    Pass(PassError),
}

impl From<AccessError> for ProxyError {
    fn from(why: AccessError) -> Self {
        Self::Access(why)
    }
}

/// Forwards calls to HubSpot. Clones share everything.
#[derive(Debug, Clone)]
pub struct Proxy(Arc<Parts>);

#[derive(Debug)]
struct Parts {
    hubspot: Arc<HubSpot>,
    clock: Clock,
    tasks: Tasks,
    access_tokens: AccessTokens,
    /// The rate at which each HubSpot account may be called.
    accounts: Accounts,
    /// Connections that were refreshed because of a 401.
    forced: ForcedRefreshThrottle,
}

impl Proxy {
    pub(super) fn new(base: &Base, access_tokens: &AccessTokens, account_rate: Rate) -> Self {
        let Base { hubspot, clock, tasks, .. } = base.clone();
        Self(Arc::new(Parts {
            hubspot,
            clock,
            tasks,
            access_tokens: access_tokens.clone(),
            accounts: Accounts::new(account_rate),
            forced: ForcedRefreshThrottle::default(),
        }))
    }

    /// Forwards a call. The caller gets HubSpot's response, refusals included.
    ///
    /// A 401 refreshes the token, unless another call has done so already. A repeatable call is then made again with
    /// the new token; for any other call, the caller gets the 401.
    ///
    /// # Errors
    /// [`ProxyError`] if HubSpot was not called, or has not begun to answer.
    pub async fn pass_on(&self, id: ConnectionId, mut call: Call) -> Result<Passed, ProxyError> {
        let access = self.0.access_tokens.access_token(id, MIN_TTL).await?;
        let account = Account {
            client_id: access.client_id.clone(),
            portal: access.portal_id.ok_or(id),
            is_search: call.path.is_search(),
        };
        self.wait_for_turn(&account).await.map_err(|retry_after| ProxyError::RateLimited { retry_after })?;
        let repeatable = call.is_repeatable();
        let passed = self.pass_once(&account, &mut call, &access).await?;
        if passed.status != 401 {
            return Ok(passed);
        }
        if !repeatable {
            self.begin_refresh(id, access.generation);
            return Ok(passed);
        }
        let Some(newer) = self.refreshed_token(id, access.generation).await else { return Ok(passed) };
        if self.wait_for_turn(&account).await.is_err() {
            return Ok(passed);
        }
        self.pass_once(&account, &mut call, &newer).await
    }

    async fn pass_once(
        &self,
        account: &Account,
        call: &mut Call,
        access: &Access,
    ) -> Result<Passed, ProxyError> {
        let parts = &self.0;
        let passed = parts.hubspot.pass_on(call, &access.token).await.map_err(ProxyError::Pass)?;
        let now = parts.clock.now();
        parts.accounts.learn(account, passed.allowance.as_ref(), now);
        if let Some(exhausted) = &passed.exhausted {
            parts.accounts.pause_for(account, exhausted.pause, now);
        }
        Ok(passed)
    }

    /// Waits for the account's next turn. If there is none soon, returns how long it will take.
    async fn wait_for_turn(&self, account: &Account) -> Result<(), Duration> {
        let parts = &self.0;
        let now = || parts.clock.now();
        match parts.accounts.turn(account, now()) {
            Turn::Now => Ok(()),
            Turn::Refused(wait) => Err(wait),
            Turn::After(wait) => {
                tokio::time::sleep(wait).await;
                // Another call may have been refused in the meantime.
                match parts.accounts.pause(account, now()) {
                    pause if pause > MAX_TURN_WAIT => Err(pause),
                    _ => Ok(()),
                }
            }
        }
    }
}
