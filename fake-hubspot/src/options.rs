//! The options of a running fake.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::decision::Decision;
use crate::millis;

/// The behavior of the fake. Every option but the address can be changed while it runs.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Options {
    /// The listen address; port 0 takes a free one. Read once, at the start.
    pub address: SocketAddr,
    /// The only app that this HubSpot knows.
    pub client_id: String,
    /// The accepted secrets; two of them while a secret is being rotated.
    pub client_secrets: Vec<String>,
    /// The registered redirect URLs, compared character by character. Empty accepts any.
    pub redirect_uris: Vec<String>,
    /// Lifetime of an access token.
    pub access_token_seconds: i64,
    /// Lifetime of an authorization code.
    pub code_seconds: i64,
    /// Whether a refresh issues a new refresh token and retires the presented one.
    pub rotate_refresh_tokens: bool,
    /// Whether a retired refresh token is refused. Otherwise it still works, and is only recorded.
    pub reject_reused_refresh_tokens: bool,
    /// Whether revoking a retired refresh token has no effect, so that only its newest token ends a grant.
    pub ignore_revocation_of_retired_refresh_tokens: bool,
    /// The delay of every response. Milliseconds in JSON.
    #[serde(with = "millis")]
    pub latency: Duration,
    /// The `Cross-Origin-Opener-Policy` of the consent page.
    pub coop: Option<String>,
    /// Sends that header on the redirect back to the app instead of on the page.
    pub coop_on_redirect_only: bool,
    /// Answers the authorize URL at once with this decision.
    pub auto_consent: Option<Decision>,
    /// The accounts offered on the consent page.
    pub accounts: Vec<Account>,
    /// Whether authorizing an account again returns the refresh token it already has.
    pub share_refresh_token_per_account: bool,
    /// Whether each listed account has the two contacts that HubSpot gives a new account. Read once.
    pub sample_contacts: bool,
    /// The CRM calls that an account may make in ten seconds; 0 is unlimited and sends no rate limit headers.
    pub calls_per_ten_seconds: u32,
    /// The searches that an account may make in a second; 0 is unlimited.
    pub searches_per_second: u32,
    /// The scopes of the app itself, for tokens that belong to no account.
    pub app_scopes: Vec<String>,
    /// The status of the Webhooks Journal when nothing is new. HubSpot documents 204; 404 has been observed.
    pub nothing_new_status: u16,
    /// The number of calls that the journal keeps; 0 keeps all of them.
    pub journal_limit: usize,
    /// The number of initial grants, each of its own account. Read once.
    pub grants: u32,
}

impl Default for Options {
    fn default() -> Options {
        Options {
            address: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
            client_id: "fake-client-id".to_owned(),
            client_secrets: vec!["fake-client-secret".to_owned()],
            redirect_uris: Vec::new(),
            access_token_seconds: 1800,
            code_seconds: 60,
            rotate_refresh_tokens: false,
            reject_reused_refresh_tokens: false,
            ignore_revocation_of_retired_refresh_tokens: false,
            latency: Duration::ZERO,
            coop: None,
            coop_on_redirect_only: false,
            auto_consent: None,
            accounts: Account::samples(),
            share_refresh_token_per_account: false,
            sample_contacts: false,
            calls_per_ten_seconds: 110,
            searches_per_second: 5,
            app_scopes: ["read", "subscriptions.read", "subscriptions.write"]
                .map(|right| format!("developer.webhooks_journal.{right}"))
                .to_vec(),
            nothing_new_status: 204,
            journal_limit: 0,
            grants: 0,
        }
    }
}

impl Options {
    /// Returns the listed account, or a made-up one so that a test may use any number.
    pub(crate) fn account(&self, hub_id: u64) -> Account {
        self.accounts
            .iter()
            .find(|account| account.hub_id == hub_id)
            .cloned()
            .unwrap_or_else(|| Account::made_up(hub_id))
    }
}

/// A customer's HubSpot account, and the user who is signed in to it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Account {
    /// HubSpot's number for the account, also called portal id.
    pub hub_id: u64,
    /// The customer's own web site.
    pub hub_domain: String,
    /// The user's e-mail address.
    pub user: String,
    /// HubSpot's number for the user.
    pub user_id: u64,
    /// The account's time zone, as HubSpot writes it.
    pub time_zone: String,
    /// The scopes that this account can grant; `None` grants every requested scope.
    #[serde(default)]
    pub scopes: Option<Vec<String>>,
}

impl Account {
    fn new(hub_id: u64, hub_domain: &str, user: &str, user_id: u64, time_zone: &str) -> Account {
        Account {
            hub_id,
            hub_domain: hub_domain.to_owned(),
            user: user.to_owned(),
            user_id,
            time_zone: time_zone.to_owned(),
            scopes: None,
        }
    }

    fn samples() -> Vec<Account> {
        let acme = Account::new(1_234_567, "acme.example", "ada@acme.example", 111_111, "US/Eastern");
        let mut globex =
            Account::new(7_654_321, "globex.example", "hank@globex.example", 777_777, "Europe/Berlin");
        let initech = Account::new(2_222_222, "initech.example", "peter@initech.example", 222_222, "UTC");
        // The free plan of this customer lacks every product beyond contacts and companies.
        let scopes = [
            "oauth",
            "crm.objects.contacts.read",
            "crm.objects.contacts.write",
            "crm.objects.companies.read",
        ];
        globex.scopes = Some(scopes.map(str::to_owned).to_vec());
        vec![acme, globex, initech]
    }

    fn made_up(hub_id: u64) -> Account {
        let domain = format!("hub-{hub_id}.example");
        let user = format!("owner@{domain}");
        Account::new(hub_id, &domain, &user, hub_id, "UTC")
    }

    /// Returns whether this account can grant the scope.
    pub(crate) fn can_grant(&self, scope: &str) -> bool {
        self.scopes.as_ref().is_none_or(|able| able.iter().any(|one| one == scope))
    }
}
