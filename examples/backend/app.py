"""The backend in FastAPI: a login, connect sessions, contacts through the proxy, webhooks."""

import os
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Annotated, Any

from fastapi import Body, Cookie, Depends, FastAPI, Form, HTTPException, Request
from fastapi.responses import FileResponse, JSONResponse, RedirectResponse
from hubspot_connect import AsyncHubSpotConnect, HubSpotConnectError, WebhookVerificationError, verify_webhook
from hubspot_connect.types import Connection, NewConnectSession

hubspot = AsyncHubSpotConnect("https://connect.example.com", os.environ["HUBSPOT_CONNECT_API_KEY"])
webhook_secret = os.environ.get("HUBSPOT_CONNECT_WEBHOOK_SECRET", "")

CONTACTS = "/crm/v3/objects/contacts"
SCOPES = ["oauth", "crm.objects.contacts.read", "crm.objects.contacts.write"]

#: The user of each login, by its cookie. Your application has its own login.
logins: dict[str, str] = {}
#: The last event of each user.
events: dict[str, str] = {}


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    async with hubspot:
        yield


app = FastAPI(lifespan=lifespan)


def current_user(login: Annotated[str, Cookie()] = "") -> str | None:
    return logins.get(login)


def logged_in_user(user: Annotated[str | None, Depends(current_user)]) -> str:
    if user is None:
        raise HTTPException(401)
    return user


def require_same_origin(request: Request) -> None:
    """Refuses requests of other sites' pages, which have the cookies of this one (CSRF)."""
    site = request.headers.get("sec-fetch-site")
    own = f"{request.url.scheme}://{request.url.netloc}"
    if site != "same-origin" if site else request.headers.get("origin") != own:
        raise HTTPException(403)


def require_json(request: Request) -> None:
    if request.headers.get("content-type", "").partition(";")[0] != "application/json":
        raise HTTPException(415)


#: The dependencies of each route by which the page acts for the user who is logged in.
action = [Depends(logged_in_user), Depends(require_same_origin), Depends(require_json)]


@app.exception_handler(HubSpotConnectError)
async def refuse(request: Request, error: HubSpotConnectError) -> JSONResponse:
    return JSONResponse({"code": error.code}, error.status if error.status >= 400 else 502)


async def connections_of(user: str) -> list[Connection]:
    return (await hubspot.connections.list(external_user_id=user, order="desc")).data


@app.get("/")
async def page() -> FileResponse:
    return FileResponse(Path(__file__).with_name("index.html"))


@app.post("/login", dependencies=[Depends(require_same_origin)])
async def log_in(name: Annotated[str, Form()]) -> RedirectResponse:
    login = secrets.token_urlsafe()
    logins[login] = name
    response = RedirectResponse("/", status_code=303)
    response.set_cookie("login", login, httponly=True, samesite="lax")
    return response


@app.get("/me")
async def me(user: Annotated[str | None, Depends(current_user)]) -> dict[str, Any]:
    if user is None:
        return {"user": None, "connections": [], "event": None}
    return {"user": user, "connections": await connections_of(user), "event": events.get(user)}


@app.post("/hubspot/session", dependencies=action, response_model=None)
async def create_session(user: Annotated[str, Depends(logged_in_user)]) -> NewConnectSession:
    return await hubspot.connect_sessions.create(external_user_id=user, scopes=SCOPES)


async def call_hubspot(user: str, path: str, **request: Any) -> Any:
    """Calls HubSpot with the newest connection of a user."""
    connections = await connections_of(user)
    if not connections:
        raise HTTPException(404)
    response = await hubspot.proxy(connections[0]["id"], path, **request)
    if response.is_error:
        raise HTTPException(502)
    return response.json()


@app.get("/contacts")
async def list_contacts(user: Annotated[str, Depends(logged_in_user)]) -> list[str]:
    page = await call_hubspot(user, f"{CONTACTS}?limit=10&properties=email")
    return [contact["properties"]["email"] for contact in page["results"]]


@app.post("/contacts", dependencies=action)
async def add_contact(user: Annotated[str, Depends(logged_in_user)], email: Annotated[str, Body(embed=True)]) -> str:
    contact = await call_hubspot(user, CONTACTS, method="POST", json={"properties": {"email": email}})
    return str(contact["id"])


if webhook_secret:

    @app.post("/hooks/hubspot", status_code=204)
    async def receive(request: Request) -> None:
        try:
            # The raw body: a parsed one cannot be verified.
            event = verify_webhook(await request.body(), request.headers, webhook_secret)
        except WebhookVerificationError:
            raise HTTPException(401) from None
        if user := event["data"].get("external_user_id"):
            events[str(user)] = event["type"]
