"""Structured logs: one JSON object a line on standard output."""

from __future__ import annotations

import logging
import sys

from pythonjsonlogger.json import JsonFormatter


def configure_logging(service: str, level: str) -> None:
    """Send every log record of the process to standard output as JSON.

    Args:
        service: value of the field `service` of each line.
        level: the least severe level that is written: debug, info, warning or error.
    """
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(
        JsonFormatter(
            "%(asctime)s %(levelname)s %(name)s %(message)s",
            rename_fields={"asctime": "ts", "levelname": "level", "name": "logger"},
            static_fields={"service": service},
            datefmt="%Y-%m-%dT%H:%M:%S%z",
        )
    )
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
    # nats-py reports each reconnect attempt as an error; the bus's own callbacks say it once and structured.
    logging.getLogger("nats").setLevel(logging.CRITICAL)
