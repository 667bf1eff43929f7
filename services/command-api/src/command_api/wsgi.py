"""The WSGI application: Django, behind a reader of bodies."""

from __future__ import annotations

from typing import TYPE_CHECKING

from django.core.wsgi import get_wsgi_application

from command_api.body import WholeBody

if TYPE_CHECKING:
    from wsgiref.types import WSGIApplication


def load_application() -> WSGIApplication:
    """Set Django up and make the application."""
    return WholeBody(get_wsgi_application())
