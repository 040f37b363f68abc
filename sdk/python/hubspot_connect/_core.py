"""Requests, retries and errors, without input or output: a client runs the steps, with or without `await`."""

from __future__ import annotations

import random
import re
import threading
import time
import uuid
from dataclasses import dataclass, fields
from typing import Any, Generator, Mapping, TypeVar, Union
from urllib.parse import quote

import httpx

from .errors import HubSpotConnectError
from .types import AccessToken, Page

T = TypeVar("T")
#: A step is a request to send, or a number of seconds to wait. Its result is the response, or the error.
Steps = Generator[Union[httpx.Request, float], Union[httpx.Response, httpx.RequestError, None], T]

API = "/api/hubspot"
#: A longer wait is left to the caller, in seconds.
LONGEST_WAIT = 30
#: The parameters of a list that are left out if they have no value.
OPTIONAL = ("cursor", "limit", "order")


def require_values(filters: Mapping[str, Any]) -> None:
    """Rejects a filter without a value. Without the filter, a call would concern every user's connections."""
    for name, value in filters.items():
        if value is None and name not in OPTIONAL:
            raise ValueError(f"The filter `{name}` has no value.")


class Core:
    """The common part of the synchronous and the asynchronous client."""

    def __init__(self, service: str, api_key: str, retries: int, timeout: float) -> None:
        url = httpx.URL(service)
        # The key would be readable in transit.
        if url.scheme != "https" and url.host not in ("localhost", "127.0.0.1", "::1"):
            raise ValueError("The service must be https.")
        if not api_key:
            raise ValueError("The API key is missing: pass `api_key`.")
        self._origin = f"{url.scheme}://{url.netloc.decode()}"
        self._authorization = f"Bearer {api_key}"
        self._retries = retries
        self._extensions = {"timeout": httpx.Timeout(timeout).as_dict()}
        self.tokens = Tokens(self)

    def ask(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, Any] | None = None,
        body: Any = None,
        headers: Mapping[str, str] | None = None,
        idempotency_key: str | None = None,
    ) -> Steps[httpx.Response]:
        """Sends a request, and retries it if that may help. Returns a success or 304."""
        named = dict(headers or {})
        if method == "POST":
            # The same key for all attempts: the service executes the first one and repeats its response.
            named["Idempotency-Key"] = idempotency_key or str(uuid.uuid4())
        attempt = 0
        while True:
            try:
                response = yield from self.send(method, API, path, params=query or None, json=body, headers=named)
                if response.is_success or response.status_code == 304:
                    return response
                raise problem_of(response)
            except HubSpotConnectError as error:
                wait = _pause(error, attempt)
                if attempt >= self._retries or wait is None:
                    raise
            yield wait
            attempt += 1

    def json(self, method: str, path: str, **rest: Any) -> Steps[Any]:
        """Sends a request and returns the JSON of its response."""
        response = yield from self.ask(method, path, **rest)
        try:
            return response.json()
        except ValueError as why:
            raise HubSpotConnectError(response.status_code, {}) from why

    def page(self, path: str, query: Mapping[str, Any]) -> Steps[Page[Any]]:
        """Returns a page of a list."""
        require_values(query)
        given = {name: value for name, value in query.items() if value is not None}
        body = yield from self.json("GET", path, query=given)
        return Page(body["data"], body["next_cursor"])

    def send(self, method: str, prefix: str, path: str, *, headers: Mapping[str, str], **rest: Any) -> Steps[httpx.Response]:
        """Sends one request with the key to a path below `prefix`."""
        named = httpx.Headers(headers)
        named["Authorization"] = self._authorization
        request = httpx.Request(method, self._origin + prefix + path, headers=named, extensions=self._extensions, **rest)
        # `..` would lead to another operation of the service.
        if not request.url.raw_path.startswith(prefix.encode()):
            raise ValueError("The path must not contain the segments `.` and `..`.")
        outcome = yield request
        if isinstance(outcome, httpx.Response):
            return outcome
        raise HubSpotConnectError(0, {"title": "The service cannot be reached"}) from outcome


class Tokens:
    """A cache of access tokens, each kept for as long as the service allows (`Cache-Control: max-age`)."""

    def __init__(self, core: Core) -> None:
        self._core = core
        self._kept: dict[tuple[str, int | None], _Kept] = {}
        #: The number of times the tokens of a connection were removed.
        self._epochs: dict[str, int] = {}
        self._lock = threading.Lock()

    def get(self, connection_id: str, min_ttl: int | None) -> Steps[AccessToken]:
        with self._lock:
            kept = self._kept.get((connection_id, min_ttl))
            epoch = self._epochs.get(connection_id)
        begun = time.monotonic()
        if kept and begun < kept.fresh_until:
            return kept.token
        query = {} if min_ttl is None else {"min_ttl": min_ttl}
        headers = {"If-None-Match": kept.etag} if kept and kept.etag else {}
        path = f"/connections/{part(connection_id)}/token"
        response = yield from self._core.ask("GET", path, query=query, headers=headers)
        token = kept.token if response.status_code == 304 and kept else _token(response.json())
        age = re.search(r"max-age=(\d+)", response.headers.get("cache-control", ""))
        fresh_until = begun + (int(age[1]) if age else 0)
        with self._lock:
            if epoch == self._epochs.get(connection_id):
                self._kept[(connection_id, min_ttl)] = _Kept(token, response.headers.get("etag"), fresh_until)
        return token

    def forget(self, connection_id: str) -> None:
        """Removes the tokens of a connection. A pending request still returns to its caller, but its token is not kept."""
        with self._lock:
            self._epochs[connection_id] = self._epochs.get(connection_id, 0) + 1
            self._kept = {name: kept for name, kept in self._kept.items() if name[0] != connection_id}

    def replace(self, connection_id: str, steps: Steps[T]) -> Steps[T]:
        """Runs a call that replaces or revokes the tokens of a connection. A token requested during the call may be the old one."""
        self.forget(connection_id)
        try:
            return (yield from steps)
        finally:
            self.forget(connection_id)


@dataclass(frozen=True)
class _Kept:
    token: AccessToken
    etag: str | None
    fresh_until: float


def _token(body: Mapping[str, Any]) -> AccessToken:
    # A later release may send more.
    return AccessToken(**{one.name: body[one.name] for one in fields(AccessToken)})


def part(text: str) -> str:
    """Encodes an id as one segment of a path."""
    return quote(text, safe="")


def problem_of(response: httpx.Response) -> HubSpotConnectError:
    """Returns the error of a response."""
    problem: dict[str, Any] = {}
    if response.headers.get("content-type", "").startswith("application/problem+json"):
        try:
            problem = response.json()
        except ValueError:
            # A HEAD has no body.
            pass
    if "x-request-id" in response.headers:
        problem["request_id"] = response.headers["x-request-id"]
    seconds = response.headers.get("retry-after", "")
    return HubSpotConnectError(response.status_code, problem, int(seconds) if seconds.isdigit() else None)


def _pause(error: HubSpotConnectError, attempt: int) -> float | None:
    """Returns the number of seconds after which to retry; None if that does not help."""
    again = error.status in (0, 429) or error.status >= 502 or error.code == "idempotency_in_progress"
    if not again:
        return None
    wait = error.retry_after if error.retry_after is not None else 0.25 * 2**attempt * random.uniform(0.5, 1.5)
    return float(wait) if wait <= LONGEST_WAIT else None
