"""The README's tables: made from the committed results, and nothing else."""

from __future__ import annotations

from pathlib import Path

import pytest
from secateur_studies.readme import PAGES, TABLES, markdown, rendered

from secateur.core.errors import BenchError

ROOT = Path(__file__).parents[3]


def test_the_pages_say_what_the_result_files_say() -> None:
    pages = [(ROOT / page).read_text() for page in PAGES]
    for page in pages:
        assert rendered(page, ROOT / "benchmarks/results") == page, "run python -m secateur_studies.readme"
    assert all(f"<!-- table {name} -->" in "".join(pages) for name in TABLES)


def test_another_number_is_noticed_and_rewritten() -> None:
    readme = (ROOT / "README.md").read_text()
    assert "98.33" in readme
    assert rendered(readme.replace("98.33", "99.99"), ROOT / "benchmarks/results") == readme


def test_a_table_that_is_not_known_is_refused() -> None:
    with pytest.raises(BenchError, match="'speed', but there are only demo"):
        rendered("<!-- table speed -->\n<!-- end -->", ROOT)


def test_markdown_aligns_numbers_to_the_right() -> None:
    assert markdown(("", "ms"), [("a", "1")]) == "|  | ms |\n| --- | ---: |\n| a | 1 |\n"
