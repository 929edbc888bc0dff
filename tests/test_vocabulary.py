"""Prose and names use the field's terms: none of the words of vocabulary.txt occurs outside the tests."""

from __future__ import annotations

import vocabulary

SOURCE = '''"""The first line.

Whoever reads this
"""
# This is told
# to the letter.
class BookShelf:
    name = f"{1} mended"
'''


def test_no_document_message_comment_or_name_uses_a_word_of_the_list():
    pending = vocabulary.pending()
    checked = [name for name in vocabulary.files() if not vocabulary.is_below(name, ["tests", *pending])]
    found = [str(occurrence) for name in checked for occurrence in vocabulary.occurrences(name)]
    assert not found, "\n".join(found)


def test_paths_that_are_pending_exist():
    assert [path for path in vocabulary.pending() if not (vocabulary.CHECKOUT / path).exists()] == []


def test_docstrings_comments_strings_and_names_are_searched(tmp_path, monkeypatch):
    monkeypatch.setattr(vocabulary, "CHECKOUT", tmp_path)
    (tmp_path / "module.py").write_text(SOURCE)
    found = [(occurrence.line, occurrence.word) for occurrence in vocabulary.occurrences("module.py")]
    assert found == [(3, "Whoever"), (5, "told"), (6, "to the letter"), (7, "Shelf"), (8, "mended")]


def test_documents_are_searched_across_line_ends(tmp_path, monkeypatch):
    monkeypatch.setattr(vocabulary, "CHECKOUT", tmp_path)
    (tmp_path / "page.md").write_text(
        "# Page\n\nThere is no socket; what\nbecomes of it? This is no file; it is no longer."
    )
    found = [(occurrence.line, occurrence.word) for occurrence in vocabulary.occurrences("page.md")]
    assert found == [(3, "what becomes of"), (4, "is no ")]
