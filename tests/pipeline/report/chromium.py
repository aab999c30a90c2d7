"""What Chromium sees of pages: their widths, colours and names, what it complains of, and what it asks for."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from html import unescape
from pathlib import Path
from typing import Any

import pytest

NAMES = ("chromium", "chromium-browser", "google-chrome")
OPTIONS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking"),
    *("--allow-file-access-from-files", "--enable-logging=stderr", "--disable-dev-shm-usage", "--dump-dom"),
)
LOOKER = Path(__file__).with_name("looker.js")


@dataclass(frozen=True)
class Seen:
    """What was found of each page and width, and what Chromium said on its console."""

    pages: Sequence[dict[str, Any]]
    console: Sequence[str]


def look(folder: Path, pages: Sequence[str]) -> Seen:
    """Opens pages, by their names in the folder, 390 and 1280 pixels wide; skips where there is no Chromium."""
    program = next((found for name in NAMES if (found := shutil.which(name))), None)
    if program is None:
        pytest.skip(f"none of {', '.join(NAMES)} is installed")
    looker = folder / "looker.html"
    script = f"const PAGES = {json.dumps(list(pages))};\n{LOOKER.read_text()}"
    looker.write_text(f'<!doctype html><meta charset="utf-8"><body><script>{script}</script>')
    words = [program, *OPTIONS, f"--user-data-dir={folder / 'profile'}", "--virtual-time-budget=20000", looker.as_uri()]
    done = subprocess.run(words, capture_output=True, text=True, timeout=120, check=False)
    found = re.search(r'<pre id="found">(.*?)</pre>', done.stdout, re.DOTALL)
    assert found is not None, done.stderr[-2000:]
    return Seen(json.loads(unescape(found[1])), [line for line in done.stderr.splitlines() if "CONSOLE" in line])
