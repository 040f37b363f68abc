//! Imports a connection from a refresh token that another application has obtained.
//!
//! The token is used once, to check that it is valid and for which account. From HubSpot's response on, an import is
//! like any refresh: the new tokens are stored before anything else is done, and a crash before that loses only this
//! one token.

use std::collections::HashSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::account_details::{AccountDetails, MissingDetails};
use super::circuit_breaker::CircuitBreaker;
use super::intake::{GrantedTokens, Intake, Terms};
use crate::domain::clock::Clock;
use crate::domain::external::ExternalUserId;
use crate::domain::failure::{Failure, FailureClass, FailureCode};
use crate::domain::id::{ConnectionId, PortalId};
use crate::domain::project::ProjectId;
use crate::domain::random::Random;
use crate::domain::scopes::Scopes;
use crate::domain::secret::Secret;
use crate::hubspot::HubSpot;
use crate::keyring::Keyring;
use crate::services::platform::{Base, Changes, Tasks, joined};
use crate::store::{ConnectionStore, PlatformStore, Source, StoreError};

/// The number of attempts when HubSpot fails transiently.
const MAX_ATTEMPTS: u32 = 3;
/// The longest pause between attempts, whatever `Retry-After` HubSpot sends.
const MAX_PAUSE: Duration = Duration::from_secs(30);
/// The longest wait of an import for the end of an outage.
const OUTAGE_WAIT: Duration = Duration::from_secs(60);
const POLL_INTERVAL: Duration = Duration::from_millis(250);
/// The longest wait of an import for its turn while a caller waits for the response.
const IMPATIENT_WAIT: Duration = Duration::from_secs(5);

/// The parameters of an import.
#[derive(Debug)]
pub struct Import {
    /// The project of the user.
    pub project: ProjectId,
    /// The owner of the connection.
    pub external_user: ExternalUserId,
    /// The refresh token.
    pub refresh: Secret,
    /// The expected account, if it is known. It is checked before the token is used.
    pub portal: Option<PortalId>,
    /// The metadata that the host keeps with the connection, as JSON.
    pub metadata: Option<String>,
    /// The requested scopes, if they are known.
    pub scopes: Option<Scopes>,
    /// Whether to wait for the end of an outage, and to retry.
    pub is_patient: bool,
}

/// The result of an import.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Imported {
    /// There is a new connection, or an existing one has the new tokens.
    Done(ConnectionId),
    /// The token was imported before. Nothing has changed.
    Known(ConnectionId),
}

/// The reason for refusing an import. The token was not used, or is still valid, unless HubSpot returned
/// `invalid_grant`.
#[derive(Debug)]
pub enum ImportError {
    /// The import was refused with this code.
    Refused(FailureCode),
    /// The database failed.
    Store(StoreError),
}

impl From<StoreError> for ImportError {
    fn from(why: StoreError) -> Self {
        Self::Store(why)
    }
}

impl From<Failure> for ImportError {
    fn from(failure: Failure) -> Self {
        Self::Refused(failure.code)
    }
}

/// Imports connections. Clones share everything.
#[derive(Debug, Clone)]
pub struct Imports(Arc<Parts>);

#[derive(Debug)]
struct Parts {
    connection_store: ConnectionStore,
    platform_store: PlatformStore,
    hubspot: Arc<HubSpot>,
    keyring: Arc<Keyring>,
    clock: Clock,
    random: Random,
    tasks: Tasks,
    changes: Changes,
    circuit_breaker: Arc<CircuitBreaker>,
    intake: Intake,
    details: AccountDetails,
    /// The fingerprints of the refresh tokens that are being imported.
    in_flight: Mutex<HashSet<String>>,
}

/// A refresh token that is being imported, until this is dropped.
struct InFlightImport<'a> {
    all: &'a Mutex<HashSet<String>>,
    fingerprint: &'a str,
}

impl<'a> InFlightImport<'a> {
    /// Returns `None` if the token is being imported already: HubSpot may replace it at its first use.
    fn begin(all: &'a Mutex<HashSet<String>>, fingerprint: &'a str) -> Option<Self> {
        let is_new =
            all.lock().expect("nothing panics while it holds this lock").insert(fingerprint.to_owned());
        is_new.then_some(Self { all, fingerprint })
    }
}

impl Drop for InFlightImport<'_> {
    fn drop(&mut self) {
        self.all.lock().expect("nothing panics while it holds this lock").remove(self.fingerprint);
    }
}

impl Imports {
    pub(super) fn new(
        base: &Base,
        circuit_breaker: &Arc<CircuitBreaker>,
        intake: &Intake,
        details: &AccountDetails,
    ) -> Self {
        let Base { store, hubspot, keyring, clock, random, tasks, changes, .. } = base.clone();
        let circuit_breaker = Arc::clone(circuit_breaker);
        let (intake, details) = (intake.clone(), details.clone());
        Self(Arc::new(Parts {
            connection_store: store.connections,
            platform_store: store.platform,
            hubspot,
            keyring,
            clock,
            random,
            tasks,
            changes,
            circuit_breaker,
            intake,
            details,
            in_flight: Mutex::default(),
        }))
    }

    /// Imports a connection. The same import again changes nothing. If the user has connected the account already,
    /// with another refresh token, the new one replaces it, as at a reconnect.
    ///
    /// # Errors
    /// [`ImportError`] names the reason; the same import may be tried again.
    pub async fn import(&self, import: Import) -> Result<Imported, ImportError> {
        // Finishes even if the caller goes away: HubSpot may have replaced the token.
        let imports = self.clone();
        let work = self.0.tasks.detach(async move { imports.take_over(&import).await });
        joined(work).await
    }

    async fn take_over(&self, import: &Import) -> Result<Imported, ImportError> {
        let parts = &self.0;
        let (project, external) = (import.project.clone(), import.external_user.clone());
        let user = parts.platform_store.user_of_external(project, external, &parts.random).await?;
        let brought = parts.keyring.fingerprint(&import.refresh);
        let in_use = || ImportError::Refused(FailureCode::RefreshTokenInUse);
        let _in_flight = InFlightImport::begin(&parts.in_flight, &brought).ok_or_else(in_use)?;
        if let Some(known) =
            parts.connection_store.imported(user, parts.hubspot.client_id(), &brought).await?
        {
            return Ok(Imported::Known(known));
        }
        // Its connection refreshes it under a lease, and a concurrent second use may cost both of them the grant.
        if parts.connection_store.is_in_use(&brought).await?
            || parts.connection_store.was_imported(&brought).await?
        {
            return Err(in_use());
        }
        if let Some(expected) = import.portal
            && self.ask(import, || parts.hubspot.introspect_refresh(&import.refresh)).await?.portal_id
                != expected
        {
            return Err(ImportError::Refused(FailureCode::WrongAccount));
        }
        let asked_at = parts.clock.now();
        let grant = self.ask(import, || parts.hubspot.refresh(&import.refresh)).await?;
        let none = Scopes::default();
        let received = GrantedTokens {
            flow: None,
            client_id: parts.hubspot.client_id(),
            grant: &grant,
            refresh: grant.refresh.as_ref().unwrap_or(&import.refresh),
            portal: grant.portal_id,
            at: asked_at,
            terms: Terms {
                owner: user,
                project: &import.project,
                scopes: import.scopes.as_ref().or(grant.scopes.as_ref()).unwrap_or(&none),
                optional_scopes: &none,
                session: None,
                metadata: import.metadata.as_deref(),
            },
        };
        let stored = parts.intake.save(received, Source::Import(brought.clone())).await?;
        let connection = stored.ok_or(ImportError::Refused(FailureCode::StorageUnavailable))?.connection;
        parts.changes.publish(user);
        tracing::info!(connection = %connection, portal = grant.portal_id.map(|id| id.0), "imported");
        if grant.portal_id.is_none() {
            parts.details.fetch_account_details(connection, &grant.access, MissingDetails::ALL, 0).await;
            parts.changes.publish(user);
        }
        Ok(Imported::Done(connection))
    }

    /// Calls HubSpot, and retries if that may help. Does not call it while the circuit breaker is open.
    async fn ask<T, F>(&self, import: &Import, ask: impl Fn() -> F) -> Result<T, ImportError>
    where
        F: Future<Output = Result<T, Failure>>,
    {
        let parts = &self.0;
        let mut attempt = 0;
        loop {
            self.wait_for_hubspot(import.is_patient).await?;
            let failure = match ask().await {
                Ok(answer) => {
                    parts.circuit_breaker.succeeded(parts.clock.now());
                    return Ok(answer);
                }
                Err(failure) => failure,
            };
            parts.circuit_breaker.failed(None, &failure, parts.clock.now());
            attempt += 1;
            let FailureClass::Transient { retry_after } = failure.class else { return Err(failure.into()) };
            if attempt == MAX_ATTEMPTS || !import.is_patient {
                return Err(failure.into());
            }
            let pause = retry_after.unwrap_or(Duration::from_secs(1 << attempt)).min(MAX_PAUSE);
            tokio::time::sleep(pause).await;
        }
    }

    async fn wait_for_hubspot(&self, is_patient: bool) -> Result<(), ImportError> {
        let breaker = &self.0.circuit_breaker;
        let mut waited = Duration::ZERO;
        while breaker.admit(1, self.0.clock.now()) == 0 {
            match breaker.open_reason() {
                // Our own credentials are refused: waiting does not fix that.
                Some((code, _)) if !is_patient || !breaker.is_outage() || waited >= OUTAGE_WAIT => {
                    return Err(ImportError::Refused(code));
                }
                _ => {}
            }
            if !is_patient && waited >= IMPATIENT_WAIT {
                return Err(ImportError::Refused(FailureCode::ProviderBusy));
            }
            tokio::time::sleep(POLL_INTERVAL).await;
            waited += POLL_INTERVAL;
        }
        Ok(())
    }
}
