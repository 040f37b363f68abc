"""The types of requests and responses, as in openapi.json."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Generic, List, Literal, Mapping, Optional, Sequence, TypedDict, TypeVar, Union

JsonValue = Union[None, bool, int, float, str, Sequence["JsonValue"], Mapping[str, "JsonValue"]]
#: A JSON object of your own.
JsonObject = Mapping[str, JsonValue]

ApiScope = Literal["tokens:read", "connections:read", "connections:write", "sessions:write", "proxy", "webhooks"]
ConnectionStatus = Literal["active", "degraded", "needs_reauth", "integrity_error"]
ConnectSessionStatus = Literal["open", "awaiting_confirmation", "connected", "cancelled", "expired"]
DeliveryStatus = Literal["pending", "delivered", "failed"]
Revocation = Literal["done", "queued", "skipped"]
WarningCode = Literal["expires_soon", "scopes_missing", "refresh_failing", "portal_unknown"]
Confirm = Literal["none", "backend"]
ConnectionEventType = Literal[
    "connection.created",
    "connection.reconnected",
    "connection.refreshed",
    "connection.recovered",
    "connection.degraded",
    "connection.scopes_changed",
    "connection.needs_reauth",
    "connection.revoked_at_provider",
    "connection.disconnected",
]
ConnectSessionEventType = Literal[
    "connect_session.awaiting_confirmation",
    "connect_session.connected",
    "connect_session.expired",
    "connect_session.failed",
]
#: The events that an endpoint can subscribe to.
SubscribableEvent = Union[ConnectionEventType, ConnectSessionEventType, Literal["app.credentials_invalid", "install.unclaimed"]]
EventType = Union[SubscribableEvent, Literal["webhook.test"]]

T = TypeVar("T")


@dataclass(frozen=True)
class Page(Generic[T]):
    """A page of a list."""

    data: List[T]
    #: The `cursor` of the next page; None on the last one.
    next_cursor: Optional[str]


class ApiKey(TypedDict):
    """The API key of the client, without its secret."""

    id: str
    name: str
    #: The first characters of the key.
    prefix: str
    #: The project whose connections, connect sessions and webhook endpoints the key can access.
    project: str
    scopes: List[ApiScope]
    created_at: str


class AwaitingGrant(TypedDict):
    """The grant that awaits your confirmation."""

    flow: str
    portal_id: int
    hub_domain: Optional[str]
    scopes: Optional[List[str]]
    expires_at: str


class ConnectSession(TypedDict):
    """A connect session."""

    id: str
    external_user_id: str
    status: ConnectSessionStatus
    confirm: Confirm
    hosted: bool
    portal_id: Optional[int]
    #: The connection that was created, or that is to be reconnected.
    connection_id: Optional[str]
    awaiting: Optional[AwaitingGrant]
    #: The error code of the last failed authorization request.
    error_code: Optional[str]
    created_at: str
    expires_at: str


class NewConnectSession(ConnectSession):
    """A connect session with its token, which is shown once."""

    #: The token that your page passes to the browser SDK. Keep it out of URLs and logs.
    token: str


class NewConnectLink(ConnectSession):
    """A connect session with its link, which is shown once."""

    #: The link for the user who authorizes. The part after the `#` is a secret.
    link: str


class CreateConnectLink(TypedDict, total=False):
    """A new connect session that another user opens by a link. It names a user, a connection, or both."""

    #: Your id of the user who will own the connection.
    external_user_id: Optional[str]
    #: Reconnects this connection, with the same account and no other.
    connection_id: Optional[str]
    #: The origins of the pages that may use the session, out of HOST_ORIGINS; all of them if omitted.
    allowed_origins: Optional[Sequence[str]]
    #: The only HubSpot account that may be connected.
    portal_id: Optional[int]
    #: Required scopes, instead of HUBSPOT_SCOPES.
    scopes: Optional[Sequence[str]]
    #: Scopes that the account may lack, instead of HUBSPOT_OPTIONAL_SCOPES.
    optional_scopes: Optional[Sequence[str]]
    #: Whether connecting fails without all required scopes; as configured if omitted.
    require_scopes: Optional[bool]
    #: The URL to which the browser returns if no popup is open. With a link, the last page has a button that leads
    #: there.
    return_url: Optional[str]
    #: A JSON object of up to 4 kB, stored with the connection.
    metadata: Optional[JsonObject]
    #: The name of the requester, shown to the user who opens the link.
    requested_by: Optional[str]
    #: The lifetime in seconds: half an hour if omitted, a week for a link.
    expires_in: Optional[int]


class CreateConnectSession(CreateConnectLink, total=False):
    """A new connect session. It names a user, a connection, or both."""

    #: `backend`: nothing is connected until you complete the session.
    confirm: Optional[Confirm]


class _CreateReadToken(TypedDict, total=False):
    #: Seconds, 60 to 86400; an hour if omitted.
    expires_in: Optional[int]


class CreateReadToken(_CreateReadToken):
    """A new read token."""

    #: Your id of the user, who may not have connected yet.
    external_user_id: str


class NewReadToken(TypedDict):
    """A token with which a page reads what its user has connected."""

    #: The token that the user's page passes to the browser SDK.
    token: str
    external_user_id: str
    expires_at: str


class Connection(TypedDict):
    """A connection, without its tokens."""

    id: str
    #: Your id of the user; None if a browser session owns the connection.
    external_user_id: Optional[str]
    #: None until HubSpot has named the account.
    portal_id: Optional[int]
    hub_domain: Optional[str]
    #: The e-mail address of the HubSpot user who connected.
    hub_user: Optional[str]
    time_zone: Optional[str]
    status: ConnectionStatus
    #: The status as a sentence for users.
    status_text: str
    #: The granted scopes; None until HubSpot has named them.
    scopes: Optional[List[str]]
    missing_scopes: List[str]
    metadata: JsonObject
    created_at: str
    connected_at: str
    #: The expiry time of the access token.
    expires_at: str
    #: Increases with every refresh.
    generation: int
    next_refresh_at: Optional[str]
    last_error: Optional[str]
    error_since: Optional[str]


class _ImportConnection(TypedDict):
    external_user_id: str
    #: The refresh token. HubSpot may replace it: stop using it elsewhere.
    refresh_token: str


class ImportConnection(_ImportConnection, total=False):
    """A refresh token that was obtained elsewhere."""

    portal_id: Optional[int]
    metadata: Optional[JsonObject]
    scopes: Optional[List[str]]


class ExplainedConnection(Connection):
    """A connection with an explanation of its status."""

    #: Sentences for troubleshooting: what happened and what will happen next.
    explanation: List[str]


class HistoryEvent(TypedDict):
    """An event of a connection."""

    id: str
    type: EventType
    sequence: Optional[int]
    created_at: str


class RefreshedConnection(TypedDict):
    """The result of a refresh."""

    connection_id: str
    #: Whether the tokens were refreshed; if not, they are less than five seconds old.
    refreshed: bool
    expires_at: str
    generation: int


class Disconnected(TypedDict):
    """A deleted connection."""

    connection_id: str
    revocation: Revocation


class Uninstalled(Disconnected):
    """The result of uninstalling the app."""

    #: Whether HubSpot uninstalled the app. The connection is deleted in any case.
    uninstalled: bool
    failed_with: Optional[str]
    #: The number of other connections to the account that lost their grant.
    also_affected: int


class Warning(TypedDict):
    """A reason not to rely on a token."""

    code: WarningCode
    message: str


@dataclass(frozen=True)
class AccessToken:
    """An access token of HubSpot, for `Authorization: Bearer`."""

    connection_id: str
    access_token: str = field(repr=False)
    token_type: Literal["bearer"]
    expires_at: str
    #: Seconds until then, when the service sent the token.
    expires_in: int
    #: Increases with every refresh.
    generation: int
    #: The granted scopes; None until HubSpot has named them.
    scopes: Optional[List[str]]
    #: Usually empty.
    warnings: List[Warning]


class Install(TypedDict):
    """An unclaimed install from HubSpot's Marketplace."""

    id: str
    portal_id: int
    hub_domain: Optional[str]
    #: The e-mail address of the HubSpot user who installed the app. It is not proof of identity.
    installed_by: Optional[str]
    scopes: List[str]
    installed_at: str
    expires_at: str


class ClaimedInstall(TypedDict):
    """A claimed install."""

    install_id: str
    connection_id: str
    portal_id: int
    external_user_id: str


class Webhook(TypedDict):
    """A webhook endpoint."""

    id: str
    url: str
    #: The subscribed events; None for all but `connection.refreshed`.
    events: Optional[List[SubscribableEvent]]
    header_names: List[str]
    enabled: bool
    disabled_reason: Optional[Literal["gone", "by_request", "key_lost"]]
    #: The time until which the previous secret also signs.
    secret_overlap_until: Optional[str]
    created_at: str


class WebhookWithSecret(Webhook):
    """A webhook endpoint with its new secret, which is shown once."""

    #: The signing secret, for `verify_webhook`.
    secret: str


class _NewWebhook(TypedDict, total=False):
    #: All but `connection.refreshed` if omitted.
    events: Optional[Sequence[SubscribableEvent]]
    #: Header fields that are sent with each message, such as `authorization`. They are never returned.
    headers: Mapping[str, str]


class NewWebhook(_NewWebhook):
    """A new endpoint."""

    url: str


class WebhookChanges(TypedDict, total=False):
    """Changes to an endpoint. Omitted fields stay unchanged."""

    url: Optional[str]
    enabled: Optional[bool]
    events: Optional[Sequence[SubscribableEvent]]
    #: Header fields that are sent with each message. They replace all previous ones.
    headers: Optional[Mapping[str, str]]


class Delivery(TypedDict):
    """The delivery of an event to an endpoint."""

    #: The id of the event, and of the message (`webhook-id`).
    id: str
    type: EventType
    status: DeliveryStatus
    attempts: int
    queued_at: str
    last_attempt_at: Optional[str]
    next_attempt_at: Optional[str]
    delivered_at: Optional[str]
    #: The HTTP status of the last response.
    last_status: Optional[int]
    last_error: Optional[str]


class DeliveryWithPayload(Delivery):
    """A delivery with its message."""

    #: The message, as sent to the receiver.
    payload: JsonObject


class Event(TypedDict):
    """An event of the project of the API key."""

    #: The id of the event, which is also that of the webhook message.
    id: str
    type: EventType
    connection_id: Optional[str]
    created_at: str
    #: The message, as sent by webhooks.
    payload: JsonObject


class ReplayFilter(TypedDict, total=False):
    """A filter for the failed deliveries to replay."""

    #: Only those queued at this time or later.
    queued_after: Optional[str]
    #: Only those queued before this time.
    queued_before: Optional[str]


class ReplayedDeliveries(TypedDict):
    """The result of a replay."""

    replayed: int
    has_more: bool


class ListWebhooks(TypedDict, total=False):
    """The page of a list."""

    #: The `next_cursor` of the previous page.
    cursor: str
    #: The maximum number of entries; 50 if omitted.
    limit: int


class ListConnections(ListWebhooks, total=False):
    """A filter for connections."""

    external_user_id: str
    portal_id: int
    status: ConnectionStatus
    #: Only those whose metadata has this text under this key, as `key:value`.
    metadata: str
    #: Only those created at this time or later.
    created_after: str
    #: Only those created before this time.
    created_before: str
    #: The oldest or the newest first; the oldest if omitted.
    order: Literal["asc", "desc"]


class ListConnectSessions(ListWebhooks, total=False):
    """A filter for connect sessions."""

    external_user_id: str
    status: ConnectSessionStatus


class ListHistory(ListWebhooks, total=False):
    """A filter for the events of a connection."""

    #: Only the events after the one with this `sequence`.
    after_sequence: int


class ListInstalls(ListWebhooks, total=False):
    """A filter for installs."""

    portal_id: int


class ListEvents(ListWebhooks, total=False):
    """A filter for events."""

    type: EventType
    #: Only those created at this time or later.
    created_after: str
    #: Only those created before this time.
    created_before: str


class ListDeliveries(ListWebhooks, total=False):
    """A filter for deliveries."""

    status: DeliveryStatus
    #: Only those queued at this time or later.
    queued_after: str
    #: Only those queued before this time.
    queued_before: str
