"""What the admin pages of both apps share: the worker owns these tables, the console only looks."""

from __future__ import annotations

from typing import TYPE_CHECKING

from django.contrib import admin
from django.db.models import BinaryField, Model
from django.http import HttpRequest

if TYPE_CHECKING:
    # Generic for the type checker only.
    _AdminBase = admin.ModelAdmin[Model]
else:
    _AdminBase = admin.ModelAdmin


class ReadOnlyAdmin(_AdminBase):
    """Shows rows of a table that another service writes."""

    list_per_page = 50
    # Counting a history of millions of rows takes longer than showing a page of it.
    show_full_result_count = False

    def shown_columns(self) -> tuple[str, ...]:
        """All columns but the raw bytes that order and fold reports."""
        return tuple(field.name for field in self.opts.concrete_fields if not isinstance(field, BinaryField))

    def get_readonly_fields(self, request: HttpRequest, obj: Model | None = None) -> tuple[str, ...]:  # noqa: ARG002
        """What is shown; the form has no other fields."""
        return self.shown_columns()

    def has_add_permission(self, request: HttpRequest) -> bool:  # noqa: ARG002  (its signature)
        """Nobody adds."""
        return False

    def has_change_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:  # noqa: ARG002
        """Nobody changes."""
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:  # noqa: ARG002
        """Nobody deletes."""
        return False
