//! The HTML pages.

use std::fmt::Write as _;

use crate::authorize::AuthorizeRequest;
use crate::options::{Account, Options};

/// Renders the consent page: the accounts, the scopes, and the ways to end the visit.
pub(crate) fn consent(request: &AuthorizeRequest, options: &Options, query: &str) -> String {
    let app = request.redirect_uri.host_str().unwrap_or("the app");
    let mut body = format!(
        "<h1>Connect an account to <strong>{app}</strong></h1>\n\
         <form method=\"post\" action=\"/oauth/decide\">\n\
         <input type=\"hidden\" name=\"query\" value=\"{query}\">\n",
        app = escape(app),
        query = escape(query),
    );
    if let Some(portal) = request.portal {
        let _ = writeln!(body, "<input type=\"hidden\" name=\"portal\" value=\"{portal}\">");
    }
    body.push_str(&accounts(request.portal, options));
    body.push_str(&scopes(request));
    body.push_str(
        "<div class=\"buttons\">\n\
         <button id=\"approve\" class=\"main\" name=\"decision\" value=\"approve\">Connect app</button>\n\
         <button id=\"deny\" name=\"decision\" value=\"deny\">Deny</button>\n\
         <button id=\"never\" name=\"decision\" value=\"never\">Never return</button>\n\
         </div>\n</form>\n",
    );
    document("Connect an account", &body)
}

/// Renders the page that HubSpot shows instead of redirecting to an app it does not trust.
pub(crate) fn refused(sentence: &str) -> String {
    let body = format!(
        "<h1>Authorization failed</h1>\n<p id=\"reason\" role=\"alert\">{}</p>\n\
         <p>The app is not notified. Close this window and go back to it.</p>\n",
        escape(sentence)
    );
    document("Authorization failed", &body)
}

/// Renders the page of a user who left the consent page.
pub(crate) fn abandoned() -> String {
    let body = "<h1>Nothing more happens here</h1>\n\
                <p id=\"abandoned\">The app is not notified. Close this window when you are done.</p>\n";
    document("Nothing more happens here", body)
}

fn accounts(portal: Option<u64>, options: &Options) -> String {
    let mut listed = options.accounts.clone();
    if let Some(portal) = portal
        && !listed.iter().any(|account| account.hub_id == portal)
    {
        listed.push(options.account(portal));
    }
    let chosen = portal.or_else(|| listed.first().map(|account| account.hub_id));
    let mut html = "<fieldset>\n<legend>Account</legend>\n".to_owned();
    for account in &listed {
        html.push_str(&radio(account, Some(account.hub_id) == chosen));
    }
    html.push_str("</fieldset>\n");
    html
}

fn radio(account: &Account, chosen: bool) -> String {
    format!(
        "<label><input type=\"radio\" name=\"hub_id\" value=\"{id}\" required{checked}>\
         <span>{domain}<small>{id} · {user}</small></span></label>\n",
        id = account.hub_id,
        checked = if chosen { " checked" } else { "" },
        domain = escape(&account.hub_domain),
        user = escape(&account.user),
    )
}

fn scopes(request: &AuthorizeRequest) -> String {
    let mut html = "<fieldset>\n<legend>The app asks for</legend>\n<ul>\n".to_owned();
    for scope in &request.required {
        let _ = writeln!(html, "<li><code>{}</code></li>", escape(scope));
    }
    html.push_str("</ul>\n");
    for scope in &request.optional {
        let scope = escape(scope);
        let _ = writeln!(
            html,
            "<label><input type=\"checkbox\" name=\"optional\" value=\"{scope}\" checked>\
             <span><code>{scope}</code><small>optional</small></span></label>"
        );
    }
    html.push_str(
        "<label><input type=\"checkbox\" id=\"fewer\" name=\"fewer\" value=\"1\">\
         <span>Grant fewer scopes<small>only oauth, whatever the app asks for</small></span></label>\n\
         </fieldset>\n",
    );
    html
}

/// Renders a whole page.
pub(crate) fn document(title: &str, body: &str) -> String {
    format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <meta name=\"color-scheme\" content=\"light dark\">\n\
         <title>{title} · Simulated HubSpot</title>\n\
         <link rel=\"icon\" href=\"data:,\">\n\
         <link rel=\"stylesheet\" href=\"/__style.css\">\n</head>\n<body>\n\
         <p class=\"banner\">This is a <strong>simulated HubSpot</strong>. No real account is touched.</p>\n\
         <main>\n{body}</main>\n</body>\n</html>\n"
    )
}

/// Escapes text for HTML, also inside quoted attributes.
pub(crate) fn escape(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '"' => safe.push_str("&quot;"),
            '\'' => safe.push_str("&#39;"),
            other => safe.push(other),
        }
    }
    safe
}
