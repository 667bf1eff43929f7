"""Django's settings, derived from `ApiSettings`; the only module that knows both."""

from __future__ import annotations

import secrets
from typing import Any

from psycopg import conninfo

from command_api.settings import ApiSettings
from service_kit.settings import load_settings

API = load_settings(ApiSettings)
"""The process's settings, for the modules that need one of them."""


def database_settings(url: str) -> dict[str, Any]:
    """Turn a libpq URL or connection string into an entry of `DATABASES`."""
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
    "drf_spectacular",
    "drf_spectacular_sidecar",
]

MIDDLEWARE = [
    "command_api.request_log.RequestLogMiddleware",
    "command_api.body.BodyLimitMiddleware",
    "command_api.same_site.SameSiteMiddleware",
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

DATABASES = {"default": database_settings(API.database_url.get_secret_value())}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
USE_TZ = True
TIME_ZONE = "UTC"
USE_I18N = False

ROOT_URLCONF = "command_api.urls"
# A redirect would turn a POST into a GET; the 404 says what is missing instead.
APPEND_SLASH = False
CSRF_TRUSTED_ORIGINS = [origin.strip() for origin in API.csrf_trusted_origins.split(",") if origin.strip()]
SESSION_COOKIE_SAMESITE = "Lax"

# Static files of the admin, the browsable API and the docs come from the packages themselves: nothing is collected.
STATIC_URL = "/static/"
WHITENOISE_USE_FINDERS = True
WHITENOISE_AUTOREFRESH = False

# service_kit configures the root logger; Django adds nothing of its own.
LOGGING_CONFIG = None

REST_FRAMEWORK = {
    "DEFAULT_AUTHENTICATION_CLASSES": [
        # First, since it decides that a refusal is 401 with a `WWW-Authenticate` header.
        "rest_framework.authentication.TokenAuthentication",
        "rest_framework.authentication.SessionAuthentication",
    ],
    "DEFAULT_PERMISSION_CLASSES": ["command_api.access.MayUseApi"],
    # JSON alone: a form can be posted by a page of any site, JSON can not.
    "DEFAULT_PARSER_CLASSES": ["command_api.parsers.SafeJSONParser"],
    "DEFAULT_RENDERER_CLASSES": [
        "rest_framework.renderers.JSONRenderer",
        "rest_framework.renderers.BrowsableAPIRenderer",
    ],
    "DEFAULT_SCHEMA_CLASS": "drf_spectacular.openapi.AutoSchema",
    "EXCEPTION_HANDLER": "command_api.errors.exception_handler",
}

SPECTACULAR_SETTINGS = {
    "TITLE": "Crypto streaming",
    "DESCRIPTION": "Commands to a fleet of crypto clients, and what the clients reported.",
    "VERSION": "1",
    "SERVE_INCLUDE_SCHEMA": False,
    "SERVE_PERMISSIONS": ["command_api.access.MayUseApi"],
    "SCHEMA_PATH_PREFIX": "/api/crypto",
    "SWAGGER_UI_DIST": "SIDECAR",
    "SWAGGER_UI_FAVICON_HREF": "SIDECAR",
    "REDOC_DIST": "SIDECAR",
}
