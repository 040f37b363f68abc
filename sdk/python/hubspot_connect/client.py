"""The clients: one that blocks, and one for `await`."""

from __future__ import annotations

from types import TracebackType
from typing import TYPE_CHECKING, Any, Mapping

import httpx

from ._core import API, Core, Steps, part, problem_of, require_values
from ._operation import Awaiting, Blocking, Group, Runner, operation
from .types import (
    AccessToken,
    ApiKey,
    ClaimedInstall,
    Connection,
    ConnectSession,
    CreateConnectLink,
    CreateConnectSession,
    CreateReadToken,
    Delivery,
    DeliveryWithPayload,
    Disconnected,
    Event,
    ExplainedConnection,
    HistoryEvent,
    ImportConnection,
    Install,
    JsonObject,
    ListConnections,
    ListDeliveries,
    ListEvents,
    ListHistory,
    ListConnectSessions,
    ListInstalls,
    ListWebhooks,
    NewConnectLink,
    NewConnectSession,
    NewReadToken,
    NewWebhook,
    Page,
    RefreshedConnection,
    ReplayedDeliveries,
    ReplayFilter,
    Uninstalled,
    Webhook,
    WebhookChanges,
    WebhookWithSecret,
)

if TYPE_CHECKING:
    from typing_extensions import Self, Unpack


class ApiKeys(Group[Runner]):
    """The API key of this client."""

    @operation
    def get(self) -> Steps[ApiKey]:
        """Returns the key's name and scopes."""
        return self._core.json("GET", "/api-key")


class ConnectSessions(Group[Runner]):
    """The user who is connecting."""

    @operation
    def create(self, *, idempotency_key: str | None = None, **session: Unpack[CreateConnectSession]) -> Steps[NewConnectSession]:
        """Creates a session. Pass its `token` to your page."""
        return self._core.json("POST", "/connect-sessions", body=session, idempotency_key=idempotency_key)

    @operation
    def create_link(self, *, idempotency_key: str | None = None, **session: Unpack[CreateConnectLink]) -> Steps[NewConnectLink]:
        """Creates a session with a `link` for another user, such as an administrator. Nothing is connected until you complete it."""
        return self._core.json("POST", "/connect-sessions", body={**session, "hosted": True}, idempotency_key=idempotency_key)

    @operation
    def list(self, **query: Unpack[ListConnectSessions]) -> Steps[Page[ConnectSession]]:
        """Lists sessions, the newest first."""
        return self._core.page("/connect-sessions", query)

    @operation
    def get(self, id: str) -> Steps[ConnectSession]:
        return self._core.json("GET", f"/connect-sessions/{part(id)}")

    @operation
    def complete(self, id: str, external_user_id: str, *, idempotency_key: str | None = None) -> Steps[ConnectSession]:
        """Confirms that the user who is logged in to the current request is the one who authorized."""
        body = {"external_user_id": external_user_id}
        return self._core.json("POST", f"/connect-sessions/{part(id)}/complete", body=body, idempotency_key=idempotency_key)

    @operation
    def cancel(self, id: str) -> Steps[ConnectSession]:
        return self._core.json("DELETE", f"/connect-sessions/{part(id)}")


class ReadTokens(Group[Runner]):
    """Tokens with which a page reads what its user has connected, after a reload for example."""

    @operation
    def create(self, *, idempotency_key: str | None = None, **token: Unpack[CreateReadToken]) -> Steps[NewReadToken]:
        """Creates a token for the page of this user. It cannot be revoked before it expires."""
        return self._core.json("POST", "/read-tokens", body=token, idempotency_key=idempotency_key)


class Connections(Group[Runner]):
    """The HubSpot accounts that your users have connected."""

    @operation
    def list(self, **query: Unpack[ListConnections]) -> Steps[Page[Connection]]:
        return self._core.page("/connections", query)

    @operation
    def get(self, id: str) -> Steps[ExplainedConnection]:
        return self._core.json("GET", f"/connections/{part(id)}")

    @operation
    def import_token(self, *, idempotency_key: str | None = None, **connection: Unpack[ImportConnection]) -> Steps[Connection]:
        """Imports a refresh token that was obtained elsewhere for the same HubSpot app."""
        return self._core.json("POST", "/connections", body=connection, idempotency_key=idempotency_key)

    @operation
    def update(self, id: str, metadata: JsonObject) -> Steps[Connection]:
        """Replaces the metadata of a connection."""
        return self._core.json("PATCH", f"/connections/{part(id)}", body={"metadata": metadata})

    @operation
    def history(self, id: str, **query: Unpack[ListHistory]) -> Steps[Page[HistoryEvent]]:
        """Lists the events of a connection, oldest first."""
        return self._core.page(f"/connections/{part(id)}/history", query)

    @operation
    def token(self, id: str, *, min_ttl: int | None = None) -> Steps[AccessToken]:
        """Returns an access token that is valid for at least `min_ttl` seconds (60 if omitted), from memory for as long as
        the service allows."""
        return self._core.tokens.get(id, min_ttl)

    def forget_token(self, id: str) -> None:
        """Removes a token that HubSpot rejected from memory. The service may return the same one: if that is rejected too, call
        `refresh`."""
        self._core.tokens.forget(id)

    @operation
    def refresh(self, id: str, *, idempotency_key: str | None = None) -> Steps[RefreshedConnection]:
        """Refreshes the tokens now."""
        steps = self._core.json("POST", f"/connections/{part(id)}/refresh", idempotency_key=idempotency_key)
        return self._core.tokens.replace(id, steps)

    @operation
    def disconnect(self, id: str) -> Steps[Disconnected]:
        return self._core.tokens.replace(id, self._core.json("DELETE", f"/connections/{part(id)}"))

    @operation
    def uninstall(self, id: str, *, idempotency_key: str | None = None) -> Steps[Uninstalled]:
        """Uninstalls the app from the whole HubSpot account, and deletes the connection."""
        body = {"confirm": True}
        steps = self._core.json("POST", f"/connections/{part(id)}/uninstall", body=body, idempotency_key=idempotency_key)
        return self._core.tokens.replace(id, steps)


class Installs(Group[Runner]):
    """Installs from HubSpot's Marketplace that belong to no user yet."""

    @operation
    def list(self, **query: Unpack[ListInstalls]) -> Steps[Page[Install]]:
        return self._core.page("/installs", query)

    @operation
    def claim(
        self, id: str, external_user_id: str, *, metadata: JsonObject | None = None, idempotency_key: str | None = None
    ) -> Steps[ClaimedInstall]:
        body = {"external_user_id": external_user_id, "metadata": metadata}
        return self._core.json("POST", f"/installs/{part(id)}/claim", body=body, idempotency_key=idempotency_key)


class Webhooks(Group[Runner]):
    """The endpoints that are notified of events."""

    @operation
    def create(self, *, idempotency_key: str | None = None, **webhook: Unpack[NewWebhook]) -> Steps[WebhookWithSecret]:
        return self._core.json("POST", "/webhooks", body=webhook, idempotency_key=idempotency_key)

    @operation
    def list(self, **query: Unpack[ListWebhooks]) -> Steps[Page[Webhook]]:
        return self._core.page("/webhooks", query)

    @operation
    def get(self, id: str) -> Steps[Webhook]:
        return self._core.json("GET", f"/webhooks/{part(id)}")

    @operation
    def update(self, id: str, **changes: Unpack[WebhookChanges]) -> Steps[Webhook]:
        return self._core.json("PATCH", f"/webhooks/{part(id)}", body=changes)

    @operation
    def rotate_secret(
        self, id: str, overlap_seconds: int | None = None, *, idempotency_key: str | None = None
    ) -> Steps[WebhookWithSecret]:
        """Rotates the secret. The previous one also signs for `overlap_seconds` (a day if omitted)."""
        body = {"overlap_seconds": overlap_seconds}
        return self._core.json("POST", f"/webhooks/{part(id)}/rotate-secret", body=body, idempotency_key=idempotency_key)

    @operation
    def delete(self, id: str) -> Steps[Webhook]:
        """Deletes the endpoint and returns it as it was."""
        return self._core.json("DELETE", f"/webhooks/{part(id)}")

    @operation
    def test(self, id: str, *, idempotency_key: str | None = None) -> Steps[Delivery]:
        """Sends `webhook.test` to the endpoint."""
        return self._core.json("POST", f"/webhooks/{part(id)}/test", idempotency_key=idempotency_key)

    @operation
    def list_deliveries(self, id: str, **query: Unpack[ListDeliveries]) -> Steps[Page[Delivery]]:
        """Lists the deliveries to an endpoint, newest first."""
        return self._core.page(f"/webhooks/{part(id)}/deliveries", query)

    @operation
    def get_delivery(self, id: str, delivery_id: str) -> Steps[DeliveryWithPayload]:
        """Returns a delivery with its message."""
        return self._core.json("GET", f"/webhooks/{part(id)}/deliveries/{part(delivery_id)}")

    @operation
    def replay_failed(self, id: str, *, idempotency_key: str | None = None, **filter: Unpack[ReplayFilter]) -> Steps[ReplayedDeliveries]:
        """Queues up to 1000 failed deliveries again, the oldest first. Repeat it while `has_more` is true."""
        require_values(filter)
        path = f"/webhooks/{part(id)}/deliveries/replay"
        return self._core.json("POST", path, body=filter, idempotency_key=idempotency_key)

    @operation
    def replay_delivery(self, id: str, delivery_id: str, *, idempotency_key: str | None = None) -> Steps[Delivery]:
        """Sends a delivery again."""
        path = f"/webhooks/{part(id)}/deliveries/{part(delivery_id)}/replay"
        return self._core.json("POST", path, idempotency_key=idempotency_key)


class Events(Group[Runner]):
    """The events that webhooks report."""

    @operation
    def list(self, **query: Unpack[ListEvents]) -> Steps[Page[Event]]:
        """Lists the events of the project, oldest first. An event is listed a minute after it occurred."""
        return self._core.page("/events", query)


class _Client(Group[Runner]):
    """The operations of both clients."""

    def __init__(self, core: Core, runner: Runner) -> None:
        super().__init__(core, runner)
        self.api_key = ApiKeys(core, runner)
        self.connect_sessions = ConnectSessions(core, runner)
        self.read_tokens = ReadTokens(core, runner)
        self.connections = Connections(core, runner)
        self.installs = Installs(core, runner)
        self.webhooks = Webhooks(core, runner)
        self.events = Events(core, runner)

    @operation
    def proxy(
        self,
        connection_id: str,
        path: str,
        *,
        method: str = "GET",
        json: Any = None,
        content: bytes | str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Steps[httpx.Response]:
        """Calls HubSpot's API with the access token of a connection, which stays in the service. `path` is HubSpot's own, such
        as `/crm/v3/objects/contacts?limit=1`. The request is sent once.

        Returns HubSpot's response, whatever its status. Raises `HubSpotConnectError` if the service rejected the call or did
        not get a response.
        """
        prefix = f"{API}/connections/{part(connection_id)}/proxy/"
        response = yield from self._core.send(method, prefix, path.lstrip("/"), json=json, content=content, headers=headers or {})
        if response.headers.get("hubspot-connect-origin") != "hubspot":
            raise problem_of(response)
        return response


class HubSpotConnect(_Client[Blocking]):
    """A client of the service for the backend of an application. Threads may share it.

    `api_key` is the key from `hubspot-connect api-keys create`. `timeout` is that of httpx, in seconds, and
    `transport` an httpx transport: for a proxy, or a test. `close()`, or `with`, closes the connections.
    """

    def __init__(
        self,
        service: str,
        api_key: str,
        *,
        retries: int = 2,
        timeout: float = 30.0,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        core = Core(service, api_key, retries, timeout)
        super().__init__(core, Blocking(httpx.Client(transport=transport)))

    def close(self) -> None:
        self._runner.http.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()


class AsyncHubSpotConnect(_Client[Awaiting]):
    """The same client for `await`, with asyncio or trio. `aclose()`, or `async with`, closes the connections."""

    def __init__(
        self,
        service: str,
        api_key: str,
        *,
        retries: int = 2,
        timeout: float = 30.0,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        core = Core(service, api_key, retries, timeout)
        super().__init__(core, Awaiting(httpx.AsyncClient(transport=transport)))

    async def aclose(self) -> None:
        await self._runner.http.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        await self.aclose()
