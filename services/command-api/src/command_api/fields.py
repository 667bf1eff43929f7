"""Column types that Django lacks, shared by the apps."""

from __future__ import annotations

from decimal import Decimal, InvalidOperation
from typing import TYPE_CHECKING, Any

from django.core.exceptions import ValidationError
from django.db import models

if TYPE_CHECKING:
    from django.db.backends.base.base import BaseDatabaseWrapper

    # Generic for the type checker only.
    _DecimalBase = models.Field[Decimal | str | int | None, Decimal | None]
else:
    _DecimalBase = models.Field


class ExactDecimalField(_DecimalBase):
    """An unconstrained `numeric`: any finite decimal number, kept digit for digit.

    Django's own `DecimalField` needs a precision and quantizes to it, and `Decimal` arithmetic rounds at 28 digits; a
    uint256 in wei has 78. Nothing here computes: a value is constructed, sent, and read back as it was.
    """

    description = "Exact decimal number"

    def get_internal_type(self) -> str:
        """Not one of Django's types, so that no backend converter of theirs applies."""
        return "ExactDecimalField"

    def db_type(self, connection: BaseDatabaseWrapper) -> str:  # noqa: ARG002  (one database kind)
        """See the base class."""
        return "numeric"

    def to_python(self, value: Any) -> Decimal | None:
        """Make a `Decimal` of an `int`, a `Decimal` or a string; the constructor never rounds.

        Raises:
            ValidationError: not a finite number.
        """
        if value is None:
            return None
        try:
            number = Decimal(value if isinstance(value, (Decimal, int)) else str(value))
        except (InvalidOperation, ValueError):
            raise ValidationError(f"{value!r} is not a decimal number", code="invalid") from None
        if not number.is_finite():
            raise ValidationError(f"{value!r} is not a finite number", code="invalid")
        return number

    def get_prep_value(self, value: Any) -> Any:
        """See the base class; expressions pass through."""
        value = super().get_prep_value(value)
        if value is None or hasattr(value, "resolve_expression"):
            return value
        return self.to_python(value)


def exact_text(value: Decimal | None) -> str | None:
    """Write a number in plain digits, without exponent and without rounding: how every amount leaves the API."""
    return None if value is None else format(value, "f")


def key_text() -> models.TextField[str, str]:
    """A text column that is part of a key: compared bytewise, as the worker sorts it."""
    return models.TextField(db_collation="C")


def text() -> models.TextField[str, str]:
    """A text column that is empty when nothing was said."""
    return models.TextField(blank=True, default="", db_default="")


def order() -> models.BinaryField[bytes | None, bytes | None]:
    """The order of the value beside it (docs/architecture.md): bytes, compared bytewise; NULL = never given."""
    return models.BinaryField(null=True, editable=False)
