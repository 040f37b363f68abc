//! A request, parsed and classified.

use std::collections::BTreeMap;

use actix_web::HttpRequest;
use actix_web::http::header::{AUTHORIZATION, CONTENT_TYPE, HOST};
use actix_web::web::Bytes;
use url::form_urlencoded;

use crate::clock::now_ms;
use crate::journal::{Entry, Kind};

/// The supported versions, without the retired `v1`.
const VERSIONS: [&str; 3] = ["v3", "2026-03", "2026-09"];

/// Names with their first value, and whether a name occurred twice.
#[derive(Clone, Default)]
pub(crate) struct Fields {
    pub first: BTreeMap<String, String>,
    pub repeated: bool,
}

impl Fields {
    pub(crate) fn read(encoded: &[u8]) -> Fields {
        let mut fields = Fields::default();
        for (name, value) in form_urlencoded::parse(encoded) {
            if fields.first.contains_key(&*name) {
                fields.repeated = true;
            } else {
                fields.first.insert(name.into_owned(), value.into_owned());
            }
        }
        fields
    }

    /// Returns the value of a field that is present and not empty.
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.first.get(name).map(String::as_str).filter(|value| !value.is_empty())
    }
}

/// A call of the app or of a browser.
pub(crate) struct Incoming {
    pub kind: Kind,
    pub method: String,
    pub path: String,
    pub version: Option<String>,
    /// The account preselected by the path of the consent page.
    pub portal: Option<u64>,
    pub host: Option<String>,
    pub authorization: Option<String>,
    pub is_form: bool,
    pub form: Fields,
    pub body: Bytes,
    pub raw_query: String,
    pub query: Fields,
}

impl Incoming {
    pub(crate) fn read(request: &HttpRequest, body: &Bytes) -> Incoming {
        let header = |name| request.headers().get(name).and_then(|value| value.to_str().ok());
        let is_form = header(CONTENT_TYPE)
            .is_some_and(|it| it.trim_start().starts_with("application/x-www-form-urlencoded"));
        let form = if is_form { Fields::read(body) } else { Fields::default() };
        let sorted = sort(request.method().as_str(), request.path(), &form);
        Incoming {
            kind: sorted.kind,
            method: request.method().as_str().to_owned(),
            path: request.path().to_owned(),
            version: sorted.version,
            portal: sorted.portal,
            host: header(HOST).map(str::to_owned),
            authorization: header(AUTHORIZATION).map(str::to_owned),
            is_form,
            form,
            body: body.clone(),
            raw_query: request.query_string().to_owned(),
            query: Fields::read(request.query_string().as_bytes()),
        }
    }

    /// Creates a visit to the consent page without a browser.
    pub(crate) fn visit(path: &str, query: &str) -> Incoming {
        let sorted = sort("GET", path, &Fields::default());
        Incoming {
            kind: sorted.kind,
            method: "GET".to_owned(),
            path: path.to_owned(),
            version: None,
            portal: sorted.portal,
            host: None,
            authorization: None,
            is_form: false,
            form: Fields::default(),
            body: Bytes::new(),
            raw_query: query.to_owned(),
            query: Fields::read(query.as_bytes()),
        }
    }

    /// Returns the token in `Authorization: Bearer`.
    pub(crate) fn bearer(&self) -> Option<&str> {
        self.authorization.as_deref()?.strip_prefix("Bearer ")
    }

    pub(crate) fn entry(&self) -> Entry {
        Entry {
            seq: 0,
            at_ms: now_ms(),
            finished_at_ms: None,
            kind: self.kind,
            method: self.method.clone(),
            path: self.path.clone(),
            version: self.version.clone(),
            host: self.host.clone(),
            authorization: self.authorization.clone(),
            form: self.form.first.clone(),
            duplicate_form_keys: self.form.repeated,
            query: self.query.first.clone(),
            status: None,
            fault: None,
            hub_id: None,
            grant: None,
            presented: None,
            issued: None,
            overlapping: false,
            superseded: false,
        }
    }
}

struct Sorted {
    kind: Kind,
    version: Option<String>,
    portal: Option<u64>,
}

/// Classifies every path of HubSpot that the fake knows.
fn sort(method: &str, path: &str, form: &Fields) -> Sorted {
    let segments: Vec<&str> = path.split('/').skip(1).collect();
    let (kind, version) = match (method, segments.as_slice()) {
        ("GET", ["oauth", "authorize"]) => (Kind::Authorize, None),
        ("GET", ["oauth", portal, "authorize"]) => match portal.parse() {
            Ok(portal) => {
                return Sorted { kind: Kind::Authorize, version: None, portal: Some(portal) };
            }
            Err(_) => (Kind::Other, None),
        },
        ("POST", ["oauth", version, "token"]) => (grant_kind(form), Some(*version)),
        ("POST", ["oauth", version, "token", "introspect"]) => (Kind::Introspect, Some(*version)),
        ("POST", ["oauth", version, "token", "revoke"]) => (Kind::Revoke, Some(*version)),
        ("GET", ["account-info", version, "details"]) => (Kind::AccountInfo, Some(*version)),
        ("POST", ["crm", version, "objects", "contacts", "search"])
        | ("POST", ["crm", "objects", version, "contacts", "search"]) => (Kind::CrmSearch, Some(*version)),
        (_, ["crm", version, "objects", "contacts"] | ["crm", version, "objects", "contacts", _])
        | (_, ["crm", "objects", version, "contacts"] | ["crm", "objects", version, "contacts", _]) => {
            (Kind::Crm, Some(*version))
        }
        ("GET" | "POST", ["webhooks-journal", "subscriptions", version]) => {
            (Kind::Subscriptions, Some(*version))
        }
        ("GET", ["webhooks-journal", "journal", version, "earliest" | "latest"])
        | ("GET", ["webhooks-journal", "journal", version, "offset", _, "next"]) => {
            (Kind::WebhooksJournal, Some(*version))
        }
        ("GET", ["journal-files", _]) => (Kind::JournalFile, None),
        ("DELETE", ["appinstalls", version, "external-install"]) => (Kind::Uninstall, Some(*version)),
        _ => (Kind::Other, None),
    };
    let served = version.is_none_or(|version| VERSIONS.contains(&version));
    Sorted {
        kind: if served { kind } else { Kind::Other },
        version: version.map(str::to_owned),
        portal: None,
    }
}

fn grant_kind(form: &Fields) -> Kind {
    match form.get("grant_type") {
        Some("authorization_code") => Kind::Exchange,
        Some("refresh_token") => Kind::Refresh,
        Some("client_credentials") => Kind::ClientCredentials,
        _ => Kind::Other,
    }
}
