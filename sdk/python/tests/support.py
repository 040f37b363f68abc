"""Clients whose requests a function answers, blocking and asynchronous."""

from __future__ import annotations

import asyncio
from typing import Any, Callable, Iterator

import httpx

from hubspot_connect import AsyncHubSpotConnect, HubSpotConnect

SERVICE = "https://connect.example.com"
HUBSPOTS = {"hubspot-connect-origin": "hubspot"}

Answer = Callable[[httpx.Request], httpx.Response]


def client(answer: Answer, **options: Any) -> HubSpotConnect:
    return HubSpotConnect(SERVICE, "key", transport=httpx.MockTransport(answer), **options)


def async_client(answer: Answer, **options: Any) -> AsyncHubSpotConnect:
    return AsyncHubSpotConnect(SERVICE, "key", transport=httpx.MockTransport(answer), **options)


def both(answer: Answer, use: Callable[[Any], Any]) -> Iterator[tuple[str, Callable[[], Any]]]:
    """Yields how each client does the same call."""

    async def awaited() -> Any:
        async with async_client(answer) as hubspot:
            return await use(hubspot)

    yield "blocking", lambda: use(client(answer))
    yield "async", lambda: asyncio.run(awaited())
