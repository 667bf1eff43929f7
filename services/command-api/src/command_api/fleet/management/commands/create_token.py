from __future__ import annotations

from typing import Any

from django.contrib.auth import get_user_model
from django.core.management.base import BaseCommand, CommandParser
from rest_framework.authtoken.models import Token


class Command(BaseCommand):
    """Makes a token for the API, and its user if need be."""

    help = "Prints a token for the API (`Authorization: Token ...`), making it and its user if there are none yet."

    def add_arguments(self, parser: CommandParser) -> None:
        """See the base class."""
        parser.add_argument("username")
        parser.add_argument("--renew", action="store_true", help="a new token; the old one is void from now on")

    def handle(self, *args: Any, **options: Any) -> None:  # noqa: ARG002  (Django's signature)
        """See the base class."""
        model = get_user_model()
        user, made = model.objects.get_or_create(username=options["username"])
        if made:
            user.set_unusable_password()
            user.save()
        if options["renew"]:
            Token.objects.filter(user=user).delete()
        token, _ = Token.objects.get_or_create(user=user)
        self.stdout.write(token.key)
