import json
from collections.abc import Callable
from functools import wraps

from django.conf import settings
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseForbidden, JsonResponse
from django.shortcuts import redirect, render
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_POST
from hubspot_connect import HubSpotConnect, WebhookVerificationError, verify_webhook
from hubspot_connect.types import Connection

hubspot = HubSpotConnect(settings.HUBSPOT_CONNECT_SERVICE, settings.HUBSPOT_CONNECT_API_KEY)

CONTACTS = "/crm/v3/objects/contacts"
SCOPES = ["oauth", "crm.objects.contacts.read", "crm.objects.contacts.write"]

#: The last event of each user.
events: dict[str, str] = {}


def connection_of(user: str) -> Connection | None:
    """Returns the newest connection of a user."""
    newest = hubspot.connections.list(external_user_id=user, order="desc", limit=1).data
    return newest[0] if newest else None


def contacts_of(user: str) -> list[str] | None:
    """Returns the addresses of a user's contacts; None without a connection that works."""
    connection = connection_of(user)
    if connection is None or connection["status"] not in ("active", "degraded"):
        return None
    response = hubspot.proxy(connection["id"], f"{CONTACTS}?limit=10&properties=email")
    if response.is_error:
        return None
    return [contact["properties"]["email"] for contact in response.json()["results"]]


def home(request: HttpRequest) -> HttpResponse:
    user = request.session.get("user")
    if user is None:
        return render(request, "home.html", {"user": None})
    return render(request, "home.html", {
        "user": user,
        "service": settings.HUBSPOT_CONNECT_SERVICE,
        "read_token": hubspot.read_tokens.create(external_user_id=user)["token"],
        "contacts": contacts_of(user),
        "event": events.get(user, "none"),
    })


@require_POST
def log_in(request: HttpRequest) -> HttpResponse:
    # Your application has its own login.
    request.session["user"] = request.POST["name"]
    return redirect("home")


def require_login(view: Callable[[HttpRequest, str], HttpResponse]) -> Callable[[HttpRequest], HttpResponse]:
    @wraps(view)
    def wrapper(request: HttpRequest) -> HttpResponse:
        user = request.session.get("user")
        return HttpResponse(status=401) if user is None else view(request, user)

    return wrapper


def require_own_page(view: Callable[[HttpRequest], HttpResponse]) -> Callable[[HttpRequest], HttpResponse]:
    """Refuses requests of other sites' pages (CSRF), as the element sends no token."""

    @csrf_exempt
    @wraps(view)
    def wrapper(request: HttpRequest) -> HttpResponse:
        site = request.headers.get("Sec-Fetch-Site")
        own = f"{request.scheme}://{request.get_host()}"
        if site != "same-origin" if site else request.headers.get("Origin") != own:
            return HttpResponseForbidden()
        if request.content_type != "application/json":
            return HttpResponse(status=415)
        return view(request)

    return wrapper


@require_POST
@require_own_page
@require_login
def create_session(request: HttpRequest, user: str) -> HttpResponse:
    return JsonResponse(hubspot.connect_sessions.create(external_user_id=user, scopes=SCOPES, confirm="backend"))


@require_POST
@require_own_page
@require_login
def confirm_session(request: HttpRequest, user: str) -> HttpResponse:
    session = hubspot.connect_sessions.get(json.loads(request.body)["connect_session_id"])
    # Another user's session must not be completed: that would end it.
    if session["external_user_id"] != user:
        return HttpResponseForbidden()
    hubspot.connect_sessions.complete(session["id"], user)
    return HttpResponse(status=204)


@require_POST
@require_login
def add_contact(request: HttpRequest, user: str) -> HttpResponse:
    connection = connection_of(user)
    if connection is None:
        raise Http404
    properties = {"email": request.POST["email"]}
    response = hubspot.proxy(connection["id"], CONTACTS, method="POST", json={"properties": properties})
    return HttpResponse(status=502) if response.is_error else redirect("home")


@csrf_exempt
@require_POST
def receive_webhook(request: HttpRequest) -> HttpResponse:
    try:
        event = verify_webhook(request.body, request.headers, settings.HUBSPOT_CONNECT_WEBHOOK_SECRET)
    except WebhookVerificationError:
        return HttpResponse(status=401)
    if user := event["data"].get("external_user_id"):
        events[str(user)] = event["type"]
    return HttpResponse(status=204)
