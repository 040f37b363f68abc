"""Creates resources in the service, and writes their ids into the dictionaries of schemathesis.toml.

A random id is a 404, and the code behind it is never reached. Every connection belongs to a separate
account, so that a disconnect or an uninstall ends no other.
"""

import hashlib
import json
import os
import re
import sys
from base64 import urlsafe_b64encode
from pathlib import Path
from urllib.error import HTTPError
from urllib.parse import urlencode
from urllib.request import HTTPRedirectHandler, Request, build_opener

SERVICE, HUBSPOT, ORIGIN, KEY = (os.environ[name] for name in ("SERVICE", "HUBSPOT", "ORIGIN", "API_KEY"))
FOLDER = Path(sys.argv[1])
NAVIGATION = {
    "Sec-Fetch-Mode": "navigate",
    "Sec-Fetch-Dest": "document",
    "Sec-Fetch-Site": "cross-site",
    "Sec-Fetch-User": "?1",
}


# The secret of the page that starts all of these flows.
VERIFIER = "the-verifier-of-the-page-that-is-asked-about"


class Stay(HTTPRedirectHandler):
    """Reads redirects without following them."""

    def redirect_request(self, *_):
        return None


browser = build_opener(Stay)


def ask(method, url, body=None, **headers):
    """Sends a request and returns the response of any status."""
    request = Request(url, data=body, method=method, headers=headers)
    try:
        return browser.open(request, timeout=30)
    except HTTPError as answer:
        return answer


def api(method, path, body=None):
    """Calls the API as the host's backend."""
    content = None if body is None else json.dumps(body).encode()
    headers = {"Authorization": f"Bearer {KEY}", "Content-Type": "application/json"}
    answer = ask(method, SERVICE + path, content, **headers)
    text = answer.read().decode()
    if answer.status >= 400:
        raise SystemExit(f"{method} {path}: {answer.status} {text}")
    return json.loads(text) if text else None


def approve_for(account):
    """Lets HubSpot consent to everything for this account from now on."""
    choice = {"auto_consent": {"approve": {"hub_id": account, "scopes": None}}}
    answer = ask("POST", f"{HUBSPOT}/__options", json.dumps(choice).encode())
    if answer.status != 204:
        raise SystemExit(f"options: {answer.status} {answer.read().decode()}")


def digest(secret):
    return urlsafe_b64encode(hashlib.sha256(secret.encode()).digest()).rstrip(b"=").decode()


def begin(**fields):
    """Submits the host page's form; returns the flow, HubSpot's consent page and the browser's cookies."""
    form = urlencode({"origin": ORIGIN, **fields}).encode()
    launch = ask("POST", f"{SERVICE}/auth/hubspot/start", form, Origin=ORIGIN, **NAVIGATION)
    page = launch.read().decode()
    address, flow = (re.search(rf'data-{name}="([^"]+)"', page) for name in ("authorize-url", "flow"))
    if not address or not flow:
        raise SystemExit(f"start: {launch.status} {page}")
    cookies = [line.split(";")[0] for line in launch.headers.get_all("Set-Cookie") or []]
    return flow[1], address[1].replace("&amp;", "&").replace("&#x2F;", "/"), cookies


def approve(**fields):
    """Connects as a user does: the host page's form, HubSpot's consent, the callback."""
    flow, address, cookies = begin(**fields)
    back = ask("GET", address, **NAVIGATION).headers["Location"]
    done = ask("GET", back, Cookie="; ".join(cookies), **NAVIGATION)
    if done.status != 303 or "problem=" in done.headers["Location"]:
        raise SystemExit(f"callback: {done.status} {done.headers['Location']}")
    return flow, cookies


def session(**fields):
    return api("POST", "/api/hubspot/connect-sessions", {"external_user_id": "user_42", **fields})


def sessions(count, first_account, **fields):
    """Creates connect sessions to which a user has consented."""
    ids = []
    for account in range(first_account, first_account + count):
        approve_for(account)
        made = session(**fields)
        approve(connect_session=made["token"])
        ids.append(made["id"])
    return ids


def connections(count, first_account):
    made = sessions(count, first_account)
    return [api("GET", f"/api/hubspot/connect-sessions/{one}")["connection_id"] for one in made]


def installs(count, first_account):
    """Creates installs that started at HubSpot's Marketplace and wait for a claim."""
    for account in range(first_account, first_account + count):
        there = urlencode({"install_url": f"{SERVICE}/install/hubspot", "shape": "legacy", "hub_id": account})
        code = ask("GET", f"{HUBSPOT}/marketplace/install?{there}", **NAVIGATION)
        ask("GET", code.headers["Location"], **NAVIGATION)
    return [one["id"] for one in api("GET", "/api/hubspot/installs?limit=100")["data"]]


def webhooks(count):
    url = f"{HUBSPOT}/hook"
    return [api("POST", "/api/hubspot/webhooks", {"url": url})["id"] for _ in range(count)]


def write(name, values):
    text = "".join(f'"{value}"\n' for value in values)
    (FOLDER / f"{name}.dict").write_text(text, encoding="utf-8")


def connected(count, first_account, **fields):
    """Creates flows to which a user has consented, each for another account."""
    made = []
    for account in range(first_account, first_account + count):
        approve_for(account)
        made.append(approve(**fields))
    return made


def with_verifier(number, account):
    """Creates a connected flow with its own verifier, which can end it."""
    verifier = f"{VERIFIER}-{number}"
    [(flow, _)] = connected(1, account, challenge=digest(verifier))
    answer = ask("GET", f"{SERVICE}/api/hubspot/status", **{"Hubspot-Connect-Verifier": verifier})
    return {"flow": flow, "verifier": verifier, "connection": json.loads(answer.read())["connection"]["id"]}


used = webhooks(1)
write("connections", connections(4, 2_000_000))
write("expendable-connections", connections(12, 3_000_000))
write("webhooks", webhooks(2))
write("expendable-webhooks", webhooks(3))
write("used-webhooks", used)
write("deliveries", [api("POST", f"/api/hubspot/webhooks/{used[0]}/test")["id"] for _ in range(3)])
write("sessions", [session()["id"] for _ in range(3)])
write("expendable-sessions", [session(hosted=True)["id"] for _ in range(6)])
write("approved-sessions", sessions(6, 4_000_000, confirm="backend"))
write("users", ["user_42"])
write("addresses", [f"{HUBSPOT}/hook", "https://app.example.com/hooks/hubspot"])
write("installs", installs(8, 5_000_000))
write("origins", [ORIGIN])
# A challenge belongs to one flow, so a verifier fits one flow.
write("flows", [flow for flow, _ in connected(1, 6_000_000, challenge=digest(VERIFIER))])
write("verifiers", [VERIFIER])
# Values that belong together, for hooks.py.
pairs = [with_verifier(number, 6_200_000 + number) for number in range(6)]
(FOLDER / "made.json").write_text(json.dumps({"pairs": pairs}), encoding="utf-8")
