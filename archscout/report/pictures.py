"""Pictures inside the page."""

from __future__ import annotations

import base64
import io
from typing import Any

from numpy.typing import NDArray


def png(pixels: NDArray[Any]) -> str:
    """A PNG file in base64 of pixels (H, W) grey, (H, W, 3) or, with transparency, (H, W, 4), uint8."""
    from PIL import Image

    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return base64.b64encode(file.getvalue()).decode()
