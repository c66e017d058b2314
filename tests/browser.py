"""Pages in a real browser, for the tests that look at them as a reader does."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


@dataclass
class Visit:
    """A page that is open, and what went wrong while it was."""

    page: Any
    complaints: list[str] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)

    def of(self, script: str) -> Any:
        """What an expression comes to in the page."""
        return self.page.evaluate(script)


@dataclass
class Browser:
    """Chromium."""

    engine: Any

    def visit(self, path: Path, width: int = 1280, **settings: Any) -> Visit:
        """Open a file in a window of its own. settings: as of Playwright's contexts."""
        context = self.engine.new_context(viewport={"width": width, "height": 900}, **settings)
        visit = Visit(context.new_page())
        visit.page.on("console", lambda message: visit.complaints.append(f"{message.type}: {message.text}"))
        visit.page.on("pageerror", lambda error: visit.complaints.append(str(error)))
        visit.page.on("request", lambda request: visit.requests.append(request.url))
        visit.page.goto(path.as_uri())
        return visit
