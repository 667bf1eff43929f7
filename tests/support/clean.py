"""`make clean`: removes the data of `make up`, wherever PostgreSQL had to put its own."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from support.accounts import stand_in_directory
from support.postgres import installation

ROOT = Path(__file__).resolve().parents[2]

if __name__ == "__main__":
    run_directory = Path(os.environ.get("RUN_DIRECTORY") or ROOT / ".run").resolve()
    for directory in (
        stand_in_directory(run_directory / "postgres"),
        stand_in_directory(installation()),
        run_directory,
    ):
        shutil.rmtree(directory, ignore_errors=True)
