"""A browser for the tests that look at pages as a reader does."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator

import pytest
from browser import Browser

_NAMES = ("chromium", "chromium-browser", "google-chrome")


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """Debian's Chromium, driven by Playwright. Without it: a skip, but a failure where ARCHSCOUT_BROWSER says `required`."""
    path = next(filter(None, map(shutil.which, _NAMES)), None)
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        path = None
    if path is None:
        refuse = pytest.fail if os.environ.get("ARCHSCOUT_BROWSER") == "required" else pytest.skip
        refuse("there is no Chromium, or no playwright to drive it with")
    with sync_playwright() as playwright:
        engine = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])  # in a container one is root
        yield Browser(engine)
        engine.close()
