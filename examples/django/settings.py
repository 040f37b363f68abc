import os
from pathlib import Path

from django.core.management.utils import get_random_secret_key

DEBUG = True
SECRET_KEY = os.environ.get("SECRET_KEY") or get_random_secret_key()
ROOT_URLCONF = "urls"
MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
]
TEMPLATES = [{
    "BACKEND": "django.template.backends.django.DjangoTemplates",
    "DIRS": [Path(__file__).parent / "templates"],
}]
# No database: the cookie has the session.
SESSION_ENGINE = "django.contrib.sessions.backends.signed_cookies"

HUBSPOT_CONNECT_SERVICE = "https://connect.example.com"
HUBSPOT_CONNECT_API_KEY = os.environ["HUBSPOT_CONNECT_API_KEY"]
HUBSPOT_CONNECT_WEBHOOK_SECRET = os.environ.get("HUBSPOT_CONNECT_WEBHOOK_SECRET", "")
