"""ARCHITECTURE.md shows every stage as it is today."""

from __future__ import annotations

from tests.architecture import PAGE, page


def test_the_page_is_up_to_date() -> None:
    text = PAGE.read_text(encoding="utf-8")
    assert page(text) == text, "run: python -m tests.architecture"
