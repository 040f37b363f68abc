"""Errors of the service."""

from __future__ import annotations

from typing import Any, Mapping


class HubSpotConnectError(Exception):
    """A request that the service rejected, or that got no response (`code` is then `network_error`)."""

    def __init__(self, status: int, problem: Mapping[str, Any], retry_after: int | None = None) -> None:
        words = [problem.get("title", "Unexpected response from the service"), problem.get("hint") or problem.get("detail")]
        super().__init__(": ".join(str(word) for word in words if word))
        #: The HTTP status; 0 if there was no response.
        self.status = status
        #: The stable code of the error, for programs.
        self.code: str = problem.get("code", "unexpected_answer" if status else "network_error")
        #: The id of the request in the service's log.
        self.request_id: str | None = problem.get("request_id")
        #: Whether the same request may succeed later.
        self.retryable: bool = problem.get("retryable", status == 0)
        #: Details about this request.
        self.hint: str | None = problem.get("hint")
        #: The invalid part of the body, as a JSON pointer (RFC 6901).
        self.pointer: str | None = problem.get("pointer")
        #: The number of seconds after which to retry, if the service named one.
        self.retry_after = retry_after
