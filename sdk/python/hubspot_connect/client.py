"""The service, as a host's backend sees it."""

from __future__ import annotations

import json
import random
import re
import threading
import time
import uuid
from dataclasses import dataclass
from email.message import Message
from http.client import HTTPException
from typing import Any, Mapping
from urllib.error import HTTPError
from urllib.parse import quote, urlencode, urlsplit
from urllib.request import HTTPRedirectHandler, Request, build_opener

from .errors import HubSpotConnectError

API = "/api/hubspot"
#: Longer than this is not waited for: the caller is told instead.
LONGEST_WAIT = 30
Json = dict[str, Any]


@dataclass(frozen=True)
class AccessToken:
    """An access token of HubSpot's, for `Authorization: Bearer`."""

    access_token: str
    expires_at: str
    generation: int
    #: The granted scopes; None as long as HubSpot has not named them.
    scopes: tuple[str, ...] | None
    warnings: tuple[Json, ...]

    def __repr__(self) -> str:
        return f"AccessToken(generation={self.generation}, expires_at={self.expires_at!r})"


@dataclass(frozen=True)
class ProxyAnswer:
    """HubSpot's answer, or a problem of the service's if `is_hubspots` is false."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def is_hubspots(self) -> bool:
        return self.headers.get("hubspot-connect-origin") == "hubspot"

    def json(self) -> Any:
        return json.loads(self.body)


@dataclass(frozen=True)
class _Kept:
    token: AccessToken
    etag: str | None
    fresh_until: float


class _NoRedirects(HTTPRedirectHandler):
    """A redirect would carry the key elsewhere."""

    def redirect_request(self, req: Request, fp: Any, code: int, msg: str, headers: Message[str, str], newurl: str) -> None:
        return None


class HubSpotConnect:
    """`api_key` is what `hubspot-connect api-keys create` has printed. Instances may be shared by threads."""

    def __init__(self, service: str, api_key: str, *, retries: int = 2, timeout: float = 30.0) -> None:
        url = urlsplit(service)
        if url.scheme != "https" and url.hostname not in ("localhost", "127.0.0.1", "::1"):
            raise ValueError("The service must be https.")
        if not api_key:
            raise ValueError("An API key is needed.")
        self._origin = f"{url.scheme}://{url.netloc}"
        self._api_key = api_key
        self._retries = retries
        self._timeout = timeout
        self._opener = build_opener(_NoRedirects)
        self._kept: dict[tuple[str, int | None], _Kept] = {}
        self._lock = threading.Lock()

    # Which of your users is connecting

    def create_connect_session(self, *, idempotency_key: str | None = None, **session: Any) -> Json:
        """Give its `token` to your page, or its `link` to whoever is to approve."""
        return self._ask("POST", "/connect-sessions", session, idempotency_key=idempotency_key)

    def get_connect_session(self, session_id: str) -> Json:
        return self._ask("GET", f"/connect-sessions/{_part(session_id)}")

    def complete_connect_session(self, session_id: str, external_user_id: str) -> Json:
        """Confirms that this user is in front of your page now, by your own session with the browser."""
        body = {"external_user_id": external_user_id}
        return self._ask("POST", f"/connect-sessions/{_part(session_id)}/complete", body)

    def cancel_connect_session(self, session_id: str) -> Json:
        return self._ask("DELETE", f"/connect-sessions/{_part(session_id)}")

    # What your users have connected

    def list_connections(self, **query: str | int) -> Json:
        """One page: `data`, and `next_cursor` for the next page as `cursor`; None on the last one."""
        return self._list("/connections", query)

    def get_connection(self, connection_id: str) -> Json:
        return self._ask("GET", f"/connections/{_part(connection_id)}")

    def token(self, connection_id: str, min_ttl: int | None = None) -> AccessToken:
        """A token that lives for `min_ttl` seconds at least (60 if left out), kept for as long as the service allows."""
        with self._lock:
            kept = self._kept.get((connection_id, min_ttl))
        begun = time.monotonic()
        if kept and begun < kept.fresh_until:
            return kept.token
        path = f"/connections/{_part(connection_id)}/token" + (f"?min_ttl={min_ttl}" if min_ttl is not None else "")
        headers = {"If-None-Match": kept.etag} if kept and kept.etag else {}
        status, answered, body = self._send("GET", API + path, None, headers)
        if status == 304 and kept:
            token = kept.token
        else:
            told = json.loads(body)
            named = {name: told[name] for name in ("access_token", "expires_at", "generation")}
            scopes = None if told["scopes"] is None else tuple(told["scopes"])
            token = AccessToken(scopes=scopes, warnings=tuple(told["warnings"]), **named)
        age = re.search(r"max-age=(\d+)", answered.get("cache-control", ""))
        fresh_until = begun + (int(age[1]) if age else 0)
        with self._lock:
            self._kept[(connection_id, min_ttl)] = _Kept(token, answered.get("etag"), fresh_until)
        return token

    def forget_token(self, connection_id: str) -> None:
        """To be called when HubSpot has refused a token: the next one is asked for anew."""
        with self._lock:
            self._kept = {name: kept for name, kept in self._kept.items() if name[0] != connection_id}

    def list_history(self, connection_id: str, **query: str | int) -> Json:
        """A page of the events of a connection, the oldest first."""
        return self._list(f"/connections/{_part(connection_id)}/history", query)

    def refresh(self, connection_id: str) -> Json:
        self.forget_token(connection_id)
        return self._ask("POST", f"/connections/{_part(connection_id)}/refresh")

    def disconnect(self, connection_id: str) -> Json:
        self.forget_token(connection_id)
        return self._ask("DELETE", f"/connections/{_part(connection_id)}")

    # Who is told what happens

    def create_webhook(self, url: str, events: list[str] | None = None) -> Json:
        """`secret` is told this once: keep it for `verify_webhook`."""
        return self._ask("POST", "/webhooks", {"url": url} | ({} if events is None else {"events": events}))

    def list_webhooks(self, **query: str | int) -> Json:
        return self._list("/webhooks", query)

    def delete_webhook(self, webhook_id: str) -> Json:
        """The webhook as it was."""
        return self._ask("DELETE", f"/webhooks/{_part(webhook_id)}")

    # HubSpot's API, through the service

    def proxy(
        self,
        connection_id: str,
        method: str,
        path: str,
        *,
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> ProxyAnswer:
        """`path` is HubSpot's own, such as `/crm/v3/objects/contacts?limit=1`. It is sent once."""
        named = {**(headers or {}), "Hubspot-Connect-Connection": connection_id}
        if body is not None and "content-type" not in (name.lower() for name in named):
            # What `urllib` would say of it is never true.
            named["Content-Type"] = "application/json"
        status, answered, text = self._once(method, f"{API}/proxy/{path.lstrip('/')}", body, named)
        return ProxyAnswer(status, answered, text)

    def _list(self, path: str, query: Mapping[str, str | int]) -> Json:
        return self._ask("GET", path + (f"?{urlencode(query)}" if query else ""))

    def _ask(self, method: str, path: str, body: Json | None = None, *, idempotency_key: str | None = None) -> Json:
        headers = {}
        if method == "POST":
            # One name for all attempts: the service does the first and tells its answer again.
            headers["Idempotency-Key"] = idempotency_key or str(uuid.uuid4())
        if body is not None:
            headers["Content-Type"] = "application/json"
        data = None if body is None else json.dumps(body).encode()
        _, _, text = self._send(method, API + path, data, headers)
        answer: Json = json.loads(text) if text else {}
        return answer

    def _send(self, method: str, path: str, body: bytes | None, headers: Mapping[str, str]) -> tuple[int, Mapping[str, str], bytes]:
        attempt = 0
        while True:
            try:
                status, answered, text = self._once(method, path, body, headers)
                if status < 300 or status == 304:
                    return status, answered, text
                error = _error(status, answered, text)
            except (OSError, HTTPException) as why:
                error = HubSpotConnectError(0, {"title": "The service cannot be reached"})
                error.__cause__ = why
            wait = _pause(error, attempt)
            if attempt >= self._retries or wait is None:
                raise error
            time.sleep(wait)
            attempt += 1

    def _once(self, method: str, path: str, body: bytes | None, headers: Mapping[str, str]) -> tuple[int, Mapping[str, str], bytes]:
        request = Request(self._origin + path, data=body, method=method, headers=dict(headers))
        request.add_unredirected_header("Authorization", f"Bearer {self._api_key}")
        try:
            with self._opener.open(request, timeout=self._timeout) as answer:
                return answer.status, _lower(answer.headers), answer.read()
        except HTTPError as answer:
            with answer:
                return answer.code, _lower(answer.headers), answer.read()


def _part(text: str) -> str:
    return quote(text, safe="")


def _lower(headers: Message[str, str]) -> Mapping[str, str]:
    return {name.lower(): value for name, value in headers.items()}


def _error(status: int, headers: Mapping[str, str], body: bytes) -> HubSpotConnectError:
    problem: Json = {}
    if headers.get("content-type", "").startswith("application/problem+json"):
        problem = json.loads(body)
    seconds = headers.get("retry-after", "")
    return HubSpotConnectError(status, problem, int(seconds) if seconds.isdigit() else None)


def _pause(error: HubSpotConnectError, attempt: int) -> float | None:
    """How long to wait before the same request is sent again; not at all if that does not help."""
    again = error.status in (0, 429) or error.status >= 502 or error.code == "idempotency_in_progress"
    if not again:
        return None
    wait = error.retry_after if error.retry_after is not None else 0.25 * 2**attempt * random.uniform(0.5, 1.5)
    return wait if wait <= LONGEST_WAIT else None
