from __future__ import annotations

from django.apps import AppConfig


class PortfolioConfig(AppConfig):
    """The app of the wallets and transactions."""

    name = "command_api.portfolio"
    label = "portfolio"
    verbose_name = "Portfolio"
    default_auto_field = "django.db.models.BigAutoField"
