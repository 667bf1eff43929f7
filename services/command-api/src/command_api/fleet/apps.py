from __future__ import annotations

from django.apps import AppConfig


class FleetConfig(AppConfig):
    """The app of the clients."""

    name = "command_api.fleet"
    label = "fleet"
    verbose_name = "Fleet"
    default_auto_field = "django.db.models.BigAutoField"
