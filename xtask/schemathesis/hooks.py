"""Values that requests need and that a description cannot contain, and an additional check.

The allowed origins and addresses are configured, so no description of the API can list them: in positive cases, those of
prepare.py replace generated ones. Negative cases are not changed.
"""

import json
import os
from itertools import count, cycle
from pathlib import Path
from urllib.request import Request, urlopen

import schemathesis

SERVICE, FOLDER = os.environ["SERVICE"], Path(os.environ["FOLDER"])
MADE = json.loads((FOLDER / "made.json").read_text(encoding="utf-8"))
# In these, a header distinguishes HubSpot's own 4xx responses from those of the service.
HUBSPOT_S_OWN = {400, 405, 415, 422}


def entries(name):
    lines = (FOLDER / f"{name}.dict").read_text(encoding="utf-8").splitlines()
    return [line.strip('"') for line in lines]


ORIGIN = entries("origins")[0]
# Each is valid once.
REDEEMABLE, CONNECTED = iter(MADE["pairs"][:3]), iter(MADE["pairs"][3:])
ADDRESSES = cycle(entries("addresses"))
NUMBERS = count()


@schemathesis.hook
def before_call(context, case, kwargs):
    if case.meta is None or not case.meta.generation.mode.is_positive:
        return
    if "Idempotency-Key" in case.headers:
        # Two requests with one key are one request, or a mistake: idempotency.rs tests them.
        case.headers["Idempotency-Key"] = f"{case.headers['Idempotency-Key'][:200]}.{next(NUMBERS)}"
    # A cursor is opaque: only a page of the list itself has a valid one.
    if case.query and "cursor" in case.query:
        case.query = {name: value for name, value in case.query.items() if name != "cursor"}
    match case.operation.definition.raw["operationId"]:
        case "create_connect_session" if isinstance(case.body, dict):
            case.body = listed(case.body)
        case "redeem_pickup_code" if pair := next(REDEEMABLE, None):
            case.headers.update({"Hubspot-Connect-Verifier": pair["verifier"], "Origin": ORIGIN})
            case.body = {"flow": pair["flow"], "pickup_code": fresh_pickup_code(pair)}
        case "disconnect_connection" if pair := next(CONNECTED, None):
            case.headers["Hubspot-Connect-Verifier"] = pair["verifier"]
            case.body = {"connection_id": pair["connection"]}
        case "create_webhook" | "update_webhook" if isinstance(case.body, dict) and case.body.get("url"):
            case.body = {**case.body, "url": next(ADDRESSES)}


def fresh_pickup_code(pair):
    """Returns a new pickup code: it is valid for a minute, so it is requested when needed."""
    request = Request(f"{SERVICE}/api/hubspot/status", headers={"Hubspot-Connect-Verifier": pair["verifier"]})
    with urlopen(request, timeout=30) as answer:
        return json.loads(answer.read())["pickup_code"]


def listed(fields):
    """Returns the fields of a connect session with allowed origins and return URL."""
    fields = dict(fields)
    if isinstance(fields.get("return_url"), str):
        fields["return_url"] = f"{ORIGIN}/settings"
    if isinstance(fields.get("allowed_origins"), list):
        fields["allowed_origins"] = [ORIGIN]
    return fields


@schemathesis.check
def valid_calls_are_refused_by_hubspot_alone(ctx, response, case):
    """Checks that the statuses with which HubSpot may refuse valid data do not come from the service."""
    if "proxy" not in case.operation.definition.raw["tags"] or response.status_code not in HUBSPOT_S_OWN:
        return
    if case.meta is None or not case.meta.generation.mode.is_positive:
        return
    assert "hubspot-connect-origin" in response.headers, "valid data was refused, and not by HubSpot"
