"""What goes wrong, for programs."""

from __future__ import annotations

from typing import Any, Mapping


class HubSpotConnectError(Exception):
    """The service has refused a request, or could not be reached (`code` is `network_error` then)."""

    def __init__(self, status: int, problem: Mapping[str, Any], retry_after: int | None = None) -> None:
        words = [problem.get("title", "The service's answer makes no sense"), problem.get("hint") or problem.get("detail")]
        super().__init__(": ".join(str(word) for word in words if word))
        #: The HTTP status; 0 if there was no answer.
        self.status = status
        #: What programs go by.
        self.code: str = problem.get("code", "unexpected_answer" if status else "network_error")
        #: What the operator finds in the log.
        self.request_id: str | None = problem.get("request_id")
        #: Whether the same request may succeed later.
        self.retryable: bool = problem.get("retryable", status == 0)
        #: The part of the body that is wrong, as a JSON pointer (RFC 6901).
        self.pointer: str | None = problem.get("pointer")
        #: After how many seconds to try again, where the service has said so.
        self.retry_after = retry_after
