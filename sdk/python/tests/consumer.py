"""A strictly typed application's backend: what passes mypy, and what must not (an unused `type: ignore` is an error)."""

from __future__ import annotations

from typing import List, Literal, Optional

import httpx
from hubspot_connect import AsyncHubSpotConnect, HubSpotConnect, verify_webhook
from hubspot_connect.types import AccessToken, ApiScope, Connection, Delivery, JsonObject, NewConnectSession, Page, SubscribableEvent
from typing_extensions import assert_type


def blocking(hubspot: HubSpotConnect) -> None:
    session = hubspot.connect_sessions.create(external_user_id="user_42", metadata={"plan": {"seats": [1, 2]}})
    assert_type(session, NewConnectSession)
    assert_type(session["token"], str)
    assert_type(session["status"], Literal["open", "awaiting_confirmation", "connected", "cancelled", "expired"])
    hubspot.connect_sessions.create(external_user="user_42")  # type: ignore[call-arg]
    hubspot.connect_sessions.create(external_user_id="user_42", metadata=["plan"])  # type: ignore[arg-type]
    hubspot.connect_sessions.create(external_user_id="user_42", metadata={"at": object()})  # type: ignore[dict-item]
    assert_type(hubspot.connect_sessions.create_link(connection_id="id", requested_by="Anna Smith")["link"], str)
    hubspot.connect_sessions.create_link(connection_id="id", return_url="https://app.example.com/")
    hubspot.connect_sessions.create_link(connection_id="id", confirm="none")  # type: ignore[call-arg]

    assert_type(hubspot.connections.list(status="needs_reauth", limit=10), Page[Connection])
    hubspot.connections.list(status="gone")  # type: ignore[arg-type]
    connection = hubspot.connections.get("id")
    assert_type(connection["status"], Literal["active", "degraded", "needs_reauth", "integrity_error"])
    assert_type(connection["metadata"], JsonObject)
    assert_type(hubspot.api_key.get()["scopes"], List[ApiScope])
    assert_type(hubspot.connections.token("id", min_ttl=300), AccessToken)

    webhook = hubspot.webhooks.create(url="https://app.example.com/hooks", events=["connection.created"])
    assert_type(webhook["secret"], str)
    assert_type(webhook["events"], Optional[List[SubscribableEvent]])
    hubspot.webhooks.create(url="https://app.example.com/hooks", events=["connection.gone"])  # type: ignore[list-item]
    hubspot.webhooks.create(events=["connection.created"])  # type: ignore[call-arg]
    assert_type(hubspot.proxy("id", "/crm/v3/objects/contacts", method="POST", json={"properties": {}}), httpx.Response)


async def awaiting(hubspot: AsyncHubSpotConnect) -> None:
    async with hubspot as entered:
        assert_type(entered, AsyncHubSpotConnect)
    assert_type(await hubspot.webhooks.list_deliveries("id", status="failed"), Page[Delivery])
    assert_type(await hubspot.proxy("id", "/crm/v3/objects/contacts"), httpx.Response)


def receive(body: bytes, request: httpx.Request) -> str:
    event = verify_webhook(body, request.headers, "whsec_AAAA")
    if event["type"] == "install.unclaimed":
        return event["data"]["install_id"]
    if event["type"] == "app.credentials_invalid":
        return event["data"]["client_id"]
    if event["type"] == "webhook.test":
        return event["data"]["webhook_id"]
    if event["type"] == "connect_session.awaiting_confirmation":
        return event["data"]["connect_session_id"]
    if event["type"] == "connection.created":
        return event["data"]["connection_id"]
    return event["type"]
