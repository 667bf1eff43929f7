"""`make clean`: removes the data of `make up`, wherever PostgreSQL had to put its own."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from support.accounts import ROOT, stand_in_directory

if __name__ == "__main__":
    run_directory = Path(os.environ.get("RUN_DIRECTORY") or ROOT / ".run").resolve()
    for directory in (
        stand_in_directory(run_directory / "postgres"),
        stand_in_directory(ROOT),
        run_directory,
    ):
        shutil.rmtree(directory, ignore_errors=True)
