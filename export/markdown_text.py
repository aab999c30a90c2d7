"""Text of strangers, such as names of classes and of files, as Markdown that shows it and does nothing else."""

from __future__ import annotations

import re

from secateur.export.runner.text import shown

NOTHING = "<!-- -->"
"""A comment between two characters that GitHub would read together, even where each is escaped."""
ENTITIES = {"&": "&amp;", "<": "&lt;", ">": "&gt;"}
INLINE = re.compile(r"[\\`*~|]|(?<![^\W_])_|_(?![^\W_])|(?<=[\]!])[\[(:]")
"""What marks code, emphasis, a table's border, a picture, or the target of a link or a note."""
BEGINS = re.compile(r"[\[=]|[-+](?=\s|$|[-+\s]+$)|#(?=#*(\s|$))")
"""What makes something else than text of a line that begins so: a reference, a heading, a list, a rule."""
NUMBERED = re.compile(r"(\d+)(?=[.)](\s|$))")
LINKED = re.compile(r"(?<!\w)@|@(?=[\w-]+\.)|:(?=//)|(?<=\bwww)(?=\.)|#(?=\d)|(?<=\bGH)-(?=\d)", re.IGNORECASE)
"""Where GitHub makes a mention, an address or a reference out of plain text."""
DOLLAR = "<span>$</span>"
"""A dollar sign that begins no formula (GitHub's documentation of mathematical expressions)."""


def markdown_line(text: str) -> str:
    r"""The text as one line of GitHub's Markdown that reads like it: no markup, formula, address or mention in it.

    >>> print(markdown_line("a|b <i> *x*"))
    a\|b &lt;i&gt; \*x\*
    """
    line = " ".join(shown(text, lines=False).split())
    starts = next((found for pattern in (BEGINS, NUMBERED) if (found := pattern.match(line))), None)
    head, rest = (line[: starts.end()], line[starts.end() :]) if starts else ("", line)
    head = f"{head}\\" if head.isdigit() else f"\\{head}" if head else ""
    inline = INLINE.sub(r"\\\g<0>", rest)
    linked = LINKED.sub(lambda found: f"{found[0]}\0", inline)
    plain = "".join(ENTITIES.get(one, one) for one in linked)
    return head + plain.replace("\0", NOTHING).replace("$", DOLLAR)
