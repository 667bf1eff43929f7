from __future__ import annotations

import json
import subprocess
import sys

PROGRAM = """
import logging
from service_kit.logs import configure_logging
configure_logging("example", "info")
log = logging.getLogger("a.b")
log.debug("unseen")
log.info("seen", extra={"client_id": "c-1"})
try:
    1 / 0
except ZeroDivisionError:
    log.exception("failed")
"""


def test_each_line_is_one_json_object() -> None:
    output = subprocess.run([sys.executable, "-c", PROGRAM], check=True, capture_output=True, text=True).stdout
    seen, failed = [json.loads(line) for line in output.splitlines()]
    assert (seen["service"], seen["level"], seen["logger"], seen["message"]) == ("example", "INFO", "a.b", "seen")
    assert seen["client_id"] == "c-1"
    assert "ZeroDivisionError" in failed["exc_info"]
