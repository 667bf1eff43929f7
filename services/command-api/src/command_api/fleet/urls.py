from __future__ import annotations

from django.urls import path

from command_api.fleet.views import ClientDetail, ClientList, bulk_command_view, command_view
from crypto_streaming.commands import COMMANDS

BULK_COMMANDS = {"pause_all": "pause", "resume_all": "resume", "sync_all": "sync_wallets"}
"""Path -> command. No client can have one of these names (`crypto_streaming.client_ids.RESERVED`)."""

urlpatterns = [
    path("", ClientList.as_view(), name="client-list"),
    *(path(f"{bulk}/", bulk_command_view(bulk, name).as_view(), name=bulk) for bulk, name in BULK_COMMANDS.items()),
    path("<str:client_id>/", ClientDetail.as_view(), name="client-detail"),
    *(path(f"<str:client_id>/{name}/", command_view(name).as_view(), name=name) for name in COMMANDS),
]
