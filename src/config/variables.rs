//! Every variable, its default and a sentence: the one list that the reader, `print env` and the spelling help share.

/// One variable of the environment.
#[derive(Debug)]
pub(super) struct Variable {
    pub name: &'static str,
    pub default: &'static str,
    pub about: &'static str,
    /// A secret is never shown, and may be read from the file that NAME_FILE names.
    pub secret: bool,
    /// Whether the name is ours. Platforms and operators set the others for all programs.
    pub ours: bool,
}

impl Variable {
    /// Returns whether our name with this suffix is known as well.
    pub fn takes(&self, suffix: &str) -> bool {
        suffix.is_empty() || (self.secret && suffix == "_FILE")
    }
}

/// Declares the list: whether a variable is plain, a secret, or foreign, its name and default, and its sentence.
macro_rules! variables {
    ($($kind:ident $name:ident = $default:literal, $about:literal;)+) => {
        pub(super) const VARIABLES: &[Variable] = &[$(Variable {
            name: stringify!($name),
            default: $default,
            about: $about,
            ..$kind
        }),+];
    };
}

const PLAIN: Variable = Variable { name: "", default: "", about: "", secret: false, ours: true };
const SECRET: Variable = Variable { secret: true, ..PLAIN };
const FOREIGN: Variable = Variable { ours: false, ..PLAIN };

variables! {
    PLAIN HUBSPOT_CLIENT_ID = "", "Required. The client id of your HubSpot app.";
    SECRET HUBSPOT_CLIENT_SECRET = "",
        "Required. Its client secret. While you change it: the new and the old one, with a comma between; they are tried in that order.";
    SECRET ENCRYPTION_KEYS = "",
        "Required. Fernet keys, newest first, with commas between. `hubspot-connect keys generate` makes one.";
    SECRET APP_SECRET = "",
        "Required. At least 32 characters; cookies, form tokens and fingerprints are derived from it. `hubspot-connect keys generate` makes one.";
    PLAIN HUBSPOT_SCOPES = "oauth",
        "Scopes that every account must grant, with spaces or commas between. Must equal the required scopes of your HubSpot app.";
    PLAIN HUBSPOT_OPTIONAL_SCOPES = "", "Scopes that an account may lack.";
    PLAIN HUBSPOT_REQUIRE_ALL_SCOPES = "false",
        "Whether connecting fails when the account grants fewer than the required scopes; a connect session can say otherwise.";
    PLAIN HUBSPOT_REDIRECT_URI = "",
        "Where HubSpot sends people back to; empty means PUBLIC_URL + /auth/hubspot/callback. Must be registered with your HubSpot app, letter for letter.";
    PLAIN HUBSPOT_API_VERSION = "2026-09", "HubSpot's API version: 2026-09, 2026-03 or v3.";
    PLAIN HUBSPOT_AUTHORIZE_URL = "https://app.hubspot.com/oauth/authorize", "Where people approve.";
    PLAIN HUBSPOT_API_URL = "https://api.hubapi.com", "Where HubSpot's API is.";
    PLAIN HUBSPOT_PKCE = "off", "Proof Key for Code Exchange (S256): on or off.";
    PLAIN HUBSPOT_ACCOUNT_RATE = "110/10",
        "How many calls the proxy makes to one HubSpot account, in how many seconds; each process counts for itself.";
    PLAIN WEBHOOKS_JOURNAL = "off",
        "Whether uninstalls are read from HubSpot's Webhooks Journal: off or on. Your HubSpot app must have the scopes developer.webhooks_journal.read, developer.webhooks_journal.subscriptions.read and developer.webhooks_journal.subscriptions.write then.";
    PLAIN SERVER_ADDR = "127.0.0.1:6001", "Address and port to listen on.";
    FOREIGN PORT = "",
        "Port to listen on, on all addresses, where SERVER_ADDR is not set; many platforms set it.";
    PLAIN PUBLIC_URL = "http://localhost:6001",
        "What this service is called from outside: scheme, host and port.";
    PLAIN APP_NAME = "",
        "The name of your application as its users know it, up to 60 characters. The page behind a hosted link of the project `default` shows it; empty means that the page shows the origins alone.";
    PLAIN ADMIN_ADDR = "127.0.0.1:9464", "Address and port of /readyz and /metrics; `off` for none.";
    PLAIN ADMIN_HOSTS = "",
        "Hosts by which ADMIN_ADDR may be called besides its own address and loopback names, with commas between, such as hubspot-connect.monitoring.svc.";
    PLAIN HSTS_INCLUDE_SUBDOMAINS = "off",
        "Whether Strict-Transport-Security covers the subdomains of PUBLIC_URL: on or off.";
    PLAIN TRUSTED_PROXIES = "",
        "Networks (CIDR) of proxies whose X-Forwarded-For is believed, for rate limits alone.";
    SECRET DATABASE_URL = "sqlite://hubspot-connect.db?mode=rwc",
        "SQLite file, or postgres://… to run several replicas.";
    PLAIN DATABASE_AUTO_MIGRATE = "true", "Whether schema changes are made at start: true or false.";
    PLAIN HOST_ORIGINS = "",
        "Exact origins whose pages may open the popup, with commas between, such as https://app.example.com.";
    PLAIN TOKEN_DELIVERY = "handle",
        "What a page gets of a connection that it has made: handle (its id), pickup_code (a code to exchange once for the access token), access_token (the token, in the message), or auto (a pickup code for the SDK, the token for a hand-written listener).";
    PLAIN SESSION_IDLE_SECONDS = "1800",
        "A browser session ends after so long without an action of its user.";
    PLAIN SESSION_MAX_SECONDS = "43200", "A browser session ends after so long in any case.";
    PLAIN ON_SESSION_EXPIRY = "revoke",
        "What becomes of a session's connections when it ends: revoke (at HubSpot too), forget (here alone) or keep.";
    PLAIN ONE_CONNECTION_PER_USER = "off",
        "Whether a user has one connection: on or off. With on, connecting a second HubSpot account ends the first connection.";
    PLAIN FLOW_TTL_SECONDS = "600", "How long a person may take at HubSpot; up to 7200.";
    PLAIN MARKETPLACE_INSTALLS = "off",
        "Whether installs may begin at HubSpot's Marketplace: off or on. PUBLIC_URL + /install/hubspot must be registered with your HubSpot app as a redirect URL then.";
    PLAIN MARKETPLACE_LANDING_URL = "",
        "The page where an install ends if HubSpot names none; empty means our own page /install/hubspot/claim.";
    PLAIN MARKETPLACE_CLAIM_SECONDS = "604800",
        "How long an install waits to be claimed. Then its grant is revoked; the app stays installed.";
    PLAIN REFRESH_MAX_IN_FLIGHT = "8", "How many refreshes run at once.";
    PLAIN REFRESH_RATE_PER_SECOND = "10", "How many refreshes begin per second.";
    PLAIN REFRESH_WINDOW = "0.55-0.70", "When in its life a token is refreshed, as fractions.";
    PLAIN WEBHOOK_ALLOWED_HOSTS = "",
        "Hosts (host or host:port) that webhooks may go to although they are private or speak plain http, with commas between. All others must be public and https.";
    FOREIGN HTTPS_PROXY = "",
        "Proxy for calls to https addresses (HubSpot, webhooks, the Webhooks Journal), such as http://proxy.example.com:3128; lower case works too. The proxy then decides which addresses webhooks can reach.";
    FOREIGN HTTP_PROXY = "", "Proxy for calls to plain http addresses.";
    FOREIGN ALL_PROXY = "", "Proxy for both, where the two above are not set.";
    FOREIGN NO_PROXY = "",
        "Hosts, addresses and networks that are called directly, with commas between; * for all.";
    PLAIN MAX_CONNECTIONS = "4096",
        "How many connections the public listener keeps open; fewer where the limit on open files leaves no room for them.";
    PLAIN MAX_CONNECTIONS_PER_CLIENT = "256",
        "How many of them one client address may have (an IPv6 /64 is one). TRUSTED_PROXIES have no such limit.";
    PLAIN KEEP_ALIVE_SECONDS = "75",
        "How long a connection is kept open without a request, in seconds. Must exceed the idle timeout of a load balancer in front, or it returns 502 now and then. Shortened when connections run low.";
    PLAIN ALTERNATE_HOSTS = "",
        "Further names (host or host:port, with commas between) by which a backend may call the API, such as the name in a cluster. Browsers use PUBLIC_URL alone.";
    PLAIN RATE_LIMIT_START_PER_MINUTE = "20",
        "How many connects one address may begin per minute, and how many installs; 0 for no limit.";
    PLAIN RATE_LIMIT_UNVERIFIED_START_PER_MINUTE = "10",
        "How many authorization requests one address may start per minute by forms whose sending page the browser does not name; 0 for no limit.";
    PLAIN RATE_LIMIT_API_PER_MINUTE = "6000",
        "How many requests one API key may make per minute, in each process; 0 for no limit.";
    PLAIN RATE_LIMIT_WRONG_KEYS_PER_MINUTE = "30",
        "How many wrong API keys one address may show per minute before it is told to slow down; 0 for no limit.";
    PLAIN ALLOW_INSECURE = "",
        "`i-know` permits a PUBLIC_URL of plain http on another machine: cookies and tokens can be read on the way.";
    PLAIN LOG_LEVEL = "info", "error, warn, info, debug or trace; or a tracing filter.";
    FOREIGN RUST_LOG = "", "The same where LOG_LEVEL is not set.";
    PLAIN LOG_FORMAT = "auto", "pretty, json, or auto: pretty on a terminal, else json.";
    PLAIN LOG_FILE = "",
        "A file to log to as well: NAME becomes NAME.2026-11-20.log, a new one each day, seven are kept.";
}

/// `.env.example`: every variable with its sentence; those with a default are commented out.
pub fn example_env() -> String {
    let mut text = String::from(
        "# Configuration of hubspot-connect. Copy this file to .env and fill in the first two lines;\n\
         # `hubspot-connect keys generate` prints the next two. Every secret may also be read from a file:\n\
         # set NAME_FILE to its path instead. (This file is printed by `hubspot-connect print env`.)\n\
         #\n\
         # One NAME=value a line. Quotes around a whole value are removed. Nothing is substituted: values are taken literally,\n\
         # $ and backslashes included, except that \\\\, \\\", \\$ and \\` are escapes within double quotes. A comment is a line of\n\
         # its own, or begins with a # behind a space. Variables of the environment win.\n\
         # For `docker run --env-file`: no `export`, and no comment behind a value.\n",
    );
    for variable in VARIABLES {
        let required = variable.about.starts_with("Required");
        let comment = if required { "" } else { "#" };
        text += &format!("\n# {}\n{comment}{}={}\n", variable.about, variable.name, variable.default);
    }
    text
}
