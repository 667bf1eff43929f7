"""How request bodies are read."""

from __future__ import annotations

import io
import re
from collections.abc import Mapping
from typing import IO, Any

from rest_framework.exceptions import ParseError
from rest_framework.parsers import JSONParser

# The deepest body of this API is an object that holds an array.
DEEPEST = 32
_OPENING_OR_CLOSING = re.compile(rb'"(?:[^"\\]|\\.)*+"|[\[{]|[\]}]')


class SafeJSONParser(JSONParser):
    """DRF's JSON parser, to which a bottomless body is a parse error too.

    Counted before it is parsed: the parser of the standard library recurses in C, bounded by the interpreter's
    recursion limit, and a library that raises that limit turns such a body into a crash of the process.
    """

    def parse(
        self, stream: IO[Any], media_type: str | None = None, parser_context: Mapping[str, Any] | None = None
    ) -> Any:
        """See the base class."""
        body = stream.read()
        if _is_too_deep(body):
            raise ParseError("JSON parse error - nested too deeply")
        return super().parse(io.BytesIO(body), media_type, parser_context)


def _is_too_deep(body: bytes) -> bool:
    if body.count(b"[") + body.count(b"{") <= DEEPEST:
        return False
    depth = 0
    for token in _OPENING_OR_CLOSING.finditer(body):
        if token[0] in b"[{":
            depth += 1
            if depth > DEEPEST:
                return True
        elif token[0] in b"]}":
            depth -= 1
    return False
