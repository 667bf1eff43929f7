from __future__ import annotations

from typing import TYPE_CHECKING

from rest_framework.permissions import IsAuthenticated
from rest_framework.request import Request

from command_api.django_settings import API

if TYPE_CHECKING:
    # Importing it makes DRF import its default permissions: this module.
    from rest_framework.views import APIView


class MayUseApi(IsAuthenticated):
    """Holders of a token or a session; on an open loopback port, whoever reaches it."""

    def has_permission(self, request: Request, view: APIView) -> bool:
        """See the base class."""
        return API.open_on_loopback or super().has_permission(request, view)
