"""Django's settings, derived from `ApiSettings`; the only module that knows both."""

from __future__ import annotations

import secrets
from typing import Any

from psycopg import conninfo

from command_api.settings import ApiSettings
from service_kit.settings import load_settings

API = load_settings(ApiSettings)
"""The process's settings, for the modules that need one of them."""


def _database(url: str) -> dict[str, Any]:
    parameters = {name: value for name, value in conninfo.conninfo_to_dict(url).items() if value is not None}
    return {
        "ENGINE": "django.db.backends.postgresql",
        "NAME": parameters.pop("dbname"),
        "USER": parameters.pop("user", ""),
        "PASSWORD": parameters.pop("password", ""),
        "HOST": parameters.pop("host", ""),
        "PORT": str(parameters.pop("port", "")),
        # A connection belongs to a request only while it is needed; between, it rests in psycopg's pool.
        "CONN_MAX_AGE": 0,
        "CONN_HEALTH_CHECKS": True,
        "OPTIONS": {
            **parameters,
            "pool": {"min_size": 0, "max_size": API.database_connections, "timeout": API.database_timeout},
        },
    }


SECRET_KEY = API.secret_key.get_secret_value() or secrets.token_urlsafe(48)
DEBUG = False
ALLOWED_HOSTS = [name.strip() for name in API.allowed_hosts.split(",") if name.strip()] or [
    "localhost",
    "127.0.0.1",
    "[::1]",
]

INSTALLED_APPS = [
    "command_api.fleet.apps.FleetConfig",
    "command_api.portfolio.apps.PortfolioConfig",
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.messages",
    "django.contrib.sessions",
    "django.contrib.staticfiles",
    "rest_framework",
    "rest_framework.authtoken",
]

MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
]
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ]
        },
    }
]

DATABASES = {"default": _database(API.database_url.get_secret_value())}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
USE_TZ = True
TIME_ZONE = "UTC"
USE_I18N = False
