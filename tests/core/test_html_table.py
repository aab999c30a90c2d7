"""Tables as notebooks show them."""

from __future__ import annotations

from xml.etree import ElementTree

from secateur.core.html_table import html_table


def test_a_table_has_its_caption_its_columns_and_its_rows() -> None:
    found = ElementTree.fromstring(html_table("two", ["name", "count"], [("a", 12345), ("b", "<i>")]))
    assert found.findtext("caption") == "two"
    assert [cell.text for cell in found.findall("thead/tr/th")] == ["name", "count"]
    assert [[cell.text for cell in row] for row in found.findall("tbody/tr")] == [["a", "12,345"], ["b", "<i>"]]
    aligned = [cell.attrib["style"] for cell in found.findall("tbody/tr/td")]
    assert aligned == [f"text-align: {side}" for side in ("left", "right", "left", "left")]


def test_no_word_is_taken_for_html() -> None:
    assert "<script>" not in html_table("<script>", ["<script>"], [["<script>"]])
