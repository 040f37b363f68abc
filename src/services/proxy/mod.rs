//! Passes a call on to HubSpot with a connection's access token, at the pace that HubSpot allows the account.

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

/// A token is renewed first if it has less than this left: it has to last until HubSpot looks at it.
const MIN_TTL: Duration = Duration::from_secs(60);

/// Why a call was not passed on, or got no answer.
#[derive(Debug)]
pub enum ProxyError {
    /// There is no access token.
    Access(AccessError),
    /// The account is being asked too fast. HubSpot was not asked.
    RateLimited {
        /// How long to wait before calling again.
        retry_after: Duration,
    },
    /// HubSpot has not answered, or the caller's body has not come.
    Pass(PassError),
}

impl From<AccessError> for ProxyError {
    fn from(why: AccessError) -> Self {
        Self::Access(why)
    }
}

/// Calls passed on to HubSpot. Clones share everything.
#[derive(Debug, Clone)]
pub struct Proxy(Arc<Parts>);

#[derive(Debug)]
struct Parts {
    hubspot: Arc<HubSpot>,
    clock: Clock,
    tasks: Tasks,
    access_tokens: AccessTokens,
    /// How fast each HubSpot account may be asked.
    accounts: Accounts,
    /// Connections that were renewed because of a 401.
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

    /// Passes a call on. What HubSpot answers is what the caller gets, refusals included.
    ///
    /// A 401 of HubSpot's has the token renewed, unless somebody has done so meanwhile. A call that may be made twice is
    /// made again with the new token; of any other the caller is told the 401.
    ///
    /// # Errors
    /// [`ProxyError`] if HubSpot was not asked, or has not begun to answer.
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

    /// Waits for the account's next turn. If there is none soon: how long it will take.
    async fn wait_for_turn(&self, account: &Account) -> Result<(), Duration> {
        let parts = &self.0;
        let now = || parts.clock.now();
        match parts.accounts.turn(account, now()) {
            Turn::Now => Ok(()),
            Turn::Refused(wait) => Err(wait),
            Turn::After(wait) => {
                tokio::time::sleep(wait).await;
                // Another call may have been refused meanwhile.
                match parts.accounts.pause(account, now()) {
                    pause if pause > MAX_TURN_WAIT => Err(pause),
                    _ => Ok(()),
                }
            }
        }
    }
}
