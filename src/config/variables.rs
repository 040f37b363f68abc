//! Every variable, its default and a description: the list that the reader, `print env` and the spelling help share.

/// An environment variable.
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

/// Declares the list: the kind of each variable (plain, secret or foreign), its name, default and description.
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
        "Required. The client secret of your HubSpot app. While you rotate it: the new and the old one, separated by a comma; they are tried in that order.";
    SECRET ENCRYPTION_KEYS = "",
        "Required. Fernet keys, newest first, separated by commas. `hubspot-connect keys generate` prints one.";
    SECRET APP_SECRET = "",
        "Required. At least 32 characters; cookies, form tokens and fingerprints are derived from it. `hubspot-connect keys generate` prints one.";
    PLAIN HUBSPOT_SCOPES = "oauth",
        "Scopes that every account must grant, separated by spaces or commas. Must equal the required scopes of your HubSpot app.";
    PLAIN HUBSPOT_OPTIONAL_SCOPES = "", "Scopes that an account may lack.";
    PLAIN HUBSPOT_REQUIRE_ALL_SCOPES = "false",
        "Whether connecting fails when the account grants fewer than the required scopes; a connect session can override it.";
    PLAIN HUBSPOT_REDIRECT_URI = "",
        "The redirect URI; empty means PUBLIC_URL + /auth/hubspot/callback. Must be registered with your HubSpot app, character for character.";
    PLAIN HUBSPOT_API_VERSION = "2026-09", "HubSpot's API version: 2026-09, 2026-03 or v3.";
    PLAIN HUBSPOT_AUTHORIZE_URL = "https://app.hubspot.com/oauth/authorize", "HubSpot's authorization page.";
    PLAIN HUBSPOT_API_URL = "https://api.hubapi.com", "The base URL of HubSpot's API.";
    PLAIN HUBSPOT_PKCE = "off", "Proof Key for Code Exchange (S256): on or off.";
    PLAIN HUBSPOT_ACCOUNT_RATE = "110/10",
        "The number of proxy calls to one HubSpot account, per number of seconds; each process counts for itself.";
    PLAIN WEBHOOKS_JOURNAL = "off",
        "Whether to read uninstalls from HubSpot's Webhooks Journal: off or on. With on, your HubSpot app must have the scopes developer.webhooks_journal.read, developer.webhooks_journal.subscriptions.read and developer.webhooks_journal.subscriptions.write.";
    PLAIN SERVER_ADDR = "127.0.0.1:6001", "Address and port to listen on.";
    FOREIGN PORT = "",
        "Port to listen on, on all addresses, if SERVER_ADDR is not set; many platforms set it.";
    PLAIN PUBLIC_URL = "http://localhost:6001",
        "The public URL of this service: scheme, host and port.";
    PLAIN APP_NAME = "",
        "The name of your application as its users know it, up to 60 characters. The page behind a hosted link of the project `default` shows it; empty means that the page shows the origins alone.";
    PLAIN ADMIN_ADDR = "127.0.0.1:9464", "Address and port of /readyz and /metrics; `off` disables them.";
    PLAIN ADMIN_HOSTS = "",
        "Further host names for requests to ADMIN_ADDR, besides its own address and loopback names, separated by commas, such as hubspot-connect.monitoring.svc.";
    PLAIN HSTS_INCLUDE_SUBDOMAINS = "off",
        "Whether Strict-Transport-Security covers the subdomains of PUBLIC_URL: on or off.";
    PLAIN TRUSTED_PROXIES = "",
        "Networks (CIDR) of proxies whose X-Forwarded-For is trusted, for rate limits only.";
    SECRET DATABASE_URL = "sqlite://hubspot-connect.db?mode=rwc",
        "SQLite file, or postgres://… to run several replicas.";
    PLAIN DATABASE_AUTO_MIGRATE = "true", "Whether to apply schema changes at start: true or false.";
    PLAIN HOST_ORIGINS = "",
        "Exact origins whose pages may open the popup, separated by commas, such as https://app.example.com.";
    PLAIN TOKEN_DELIVERY = "handle",
        "What a page receives for a connection that it has created: handle (the connection's id), pickup_code (a code to exchange once for the access token), access_token (the token, in the message), or auto (a pickup code for the SDK, the token for a hand-written listener).";
    PLAIN SESSION_IDLE_SECONDS = "1800",
        "The number of seconds without an action of its user after which a browser session ends.";
    PLAIN SESSION_MAX_SECONDS = "43200", "The number of seconds after which a browser session ends in any case.";
    PLAIN ON_SESSION_EXPIRY = "revoke",
        "What happens to a session's connections when it ends: revoke (delete, and revoke at HubSpot), forget (delete only) or keep.";
    PLAIN ONE_CONNECTION_PER_USER = "off",
        "Whether a user has one connection: on or off. With on, connecting a second HubSpot account ends the first connection.";
    PLAIN FLOW_TTL_SECONDS = "600", "The number of seconds a user may take at HubSpot; up to 7200.";
    PLAIN MARKETPLACE_INSTALLS = "off",
        "Whether installs may start at HubSpot's Marketplace: off or on. With on, PUBLIC_URL + /install/hubspot must be registered with your HubSpot app as a redirect URL.";
    PLAIN MARKETPLACE_LANDING_URL = "",
        "The page where an install ends if HubSpot names no return URL; empty means the service's own page /install/hubspot/claim.";
    PLAIN MARKETPLACE_CLAIM_SECONDS = "604800",
        "The number of seconds for which an install can be claimed. Then its grant is revoked; the app stays installed.";
    PLAIN REFRESH_MAX_IN_FLIGHT = "8", "The maximum number of concurrent refreshes.";
    PLAIN REFRESH_RATE_PER_SECOND = "10", "The maximum number of refreshes started per second.";
    PLAIN REFRESH_WINDOW = "0.55-0.70", "The part of an access token's lifetime in which it is refreshed, as fractions.";
    PLAIN WEBHOOK_ALLOWED_HOSTS = "",
        "Hosts (host or host:port) that may receive webhooks although they are private or use plain http, separated by commas. All others must be public and use https.";
    FOREIGN HTTPS_PROXY = "",
        "Proxy for calls to https addresses (HubSpot, webhooks, the Webhooks Journal), such as http://proxy.example.com:3128; lower case works too. The proxy then decides which addresses webhooks can reach.";
    FOREIGN HTTP_PROXY = "", "Proxy for calls to plain http addresses.";
    FOREIGN ALL_PROXY = "", "Proxy for both, if the two above are not set.";
    FOREIGN NO_PROXY = "",
        "Hosts, addresses and networks that are called directly, separated by commas; * for all.";
    PLAIN MAX_CONNECTIONS = "4096",
        "The maximum number of connections to the public listener; fewer if the limit on open files requires it.";
    PLAIN MAX_CONNECTIONS_PER_CLIENT = "256",
        "The maximum number of connections per client address (an IPv6 /64 counts as one). TRUSTED_PROXIES have no such limit.";
    PLAIN KEEP_ALIVE_SECONDS = "75",
        "The number of seconds for which a connection is kept open without a request. Must exceed the idle timeout of a load balancer in front, or the load balancer occasionally returns 502. Shortened when connections run low.";
    PLAIN ALTERNATE_HOSTS = "",
        "Further names (host or host:port, separated by commas) by which a backend may call the API, such as the name in a cluster. Browsers use PUBLIC_URL only.";
    PLAIN RATE_LIMIT_START_PER_MINUTE = "20",
        "The maximum number of authorization requests, and of installs, that one address may start per minute; 0 for no limit.";
    PLAIN RATE_LIMIT_UNVERIFIED_START_PER_MINUTE = "10",
        "The maximum number of authorization requests that one address may start per minute by forms whose sending page the browser does not name; 0 for no limit.";
    PLAIN RATE_LIMIT_API_PER_MINUTE = "6000",
        "The maximum number of requests with one API key per minute and process; 0 for no limit.";
    PLAIN RATE_LIMIT_WRONG_KEYS_PER_MINUTE = "30",
        "The maximum number of requests with invalid API keys from one address per minute; 0 for no limit.";
    PLAIN ALLOW_INSECURE = "",
        "`i-know` permits a PUBLIC_URL of plain http on another machine: cookies and tokens can be read on the way.";
    PLAIN LOG_LEVEL = "info", "error, warn, info, debug or trace; or a tracing filter.";
    FOREIGN RUST_LOG = "", "The same, if LOG_LEVEL is not set.";
    PLAIN LOG_FORMAT = "auto", "pretty, json, or auto: pretty on a terminal, else json.";
    PLAIN LOG_FILE = "",
        "An additional log file: NAME becomes NAME.2026-11-20.log; a new file each day, seven are kept.";
}

/// Returns the text of `.env.example`: every variable with its description; those with a default are commented out.
pub fn example_env() -> String {
    env_text(
        "# Configuration of hubspot-connect. `hubspot-connect init` writes it to .env, with new keys. Or copy this\n\
         # file to .env and fill in the first two lines; `hubspot-connect keys generate` prints the next two.\n\
         # (This file is generated by `hubspot-connect print env`.)\n",
        &[],
    )
}

/// Returns the text of a new `.env`: the same with these values.
pub(crate) fn new_env(values: &[(&str, &str)]) -> String {
    env_text("# Configuration of hubspot-connect, written by `hubspot-connect init`.\n", values)
}

fn env_text(head: &str, values: &[(&str, &str)]) -> String {
    let mut text = format!(
        "{head}\
         # Every secret may also be read from a file: set NAME_FILE to its path instead.\n\
         #\n\
         # One NAME=value per line. Quotes around a whole value are removed. Nothing is substituted: values are taken\n\
         # literally, $ and backslashes included, except that \\\\, \\\", \\$ and \\` are escapes within double quotes.\n\
         # A comment is on a line of its own, or starts with a # after a space. Variables of the environment take\n\
         # precedence. For `docker run --env-file`: no `export`, and no comment after a value.\n",
    );
    for variable in VARIABLES {
        let given = values.iter().find(|(name, _)| *name == variable.name).map(|(_, value)| *value);
        let is_active = given.is_some() || variable.about.starts_with("Required");
        let comment = if is_active { "" } else { "#" };
        let value = given.unwrap_or(variable.default);
        text += &format!("\n# {}\n{comment}{}={value}\n", variable.about, variable.name);
    }
    text
}

/// Returns the list as a page of the documentation.
pub fn configuration() -> String {
    let mut text = String::from(
        "# Configuration\n\n\
         For operators. At the end, you know every variable, its default and its meaning. [Operations](operating.md#configuration)\n\
         says where values come from and which ones production needs. (`hubspot-connect print configuration` prints this page.)\n\n\
         | variable | meaning | default |\n|---|---|---|\n",
    );
    for variable in VARIABLES {
        let code = |value: &str| if value.is_empty() { String::new() } else { format!("`{value}`") };
        let file = if variable.secret { format!("<br>`{}_FILE`", variable.name) } else { String::new() };
        text += &format!("| `{}`{file} | {} | {} |\n", variable.name, variable.about, code(variable.default));
    }
    text
}
