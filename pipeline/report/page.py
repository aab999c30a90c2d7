"""Pages from templates: self-contained HTML that needs no script and no network, and Markdown."""

from __future__ import annotations

import base64
import shlex
from collections.abc import Mapping
from io import BytesIO
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from PIL import Image

from secateur.pipeline.report.safe_text import for_html, for_markdown

TEMPLATES = Path(__file__).parent / "templates"


def html(template: str, content: Mapping[str, Any], **more: Any) -> str:
    """A page; everything in `content` is escaped."""
    pages = _environment(autoescape=True, finalize=for_html)
    pages.filters |= {"n": short, "uri": png_uri, "jpeg": jpeg_uri, "command": shlex.join}
    return pages.get_template(template).render(content, **more)


def markdown(template: str, content: Mapping[str, Any], **more: Any) -> str:
    """A summary in Markdown; everything in `content` is shown as it is."""
    return _environment(autoescape=False, finalize=for_markdown).get_template(template).render(content, **more)


def short(number: float) -> str:
    """A place in a drawing, to a hundredth.

    >>> short(33.3333), short(50.0)
    ('33.33', '50')
    """
    return f"{number:.2f}".rstrip("0").rstrip(".")


def png_uri(data: bytes) -> str:
    """A PNG file inside a page."""
    return f"data:image/png;base64,{base64.b64encode(data).decode()}"


def jpeg_uri(picture: Image.Image) -> str:
    """A picture inside a page, as JPEG."""
    file = BytesIO()
    picture.save(file, format="JPEG", quality=85)
    return f"data:image/jpeg;base64,{base64.b64encode(file.getvalue()).decode()}"


def _environment(**options: Any) -> Environment:
    return Environment(
        loader=FileSystemLoader(TEMPLATES), undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True, **options
    )
