"""The text of flowcharts. That Mermaid itself reads it so was tried with its own parser and renderer (version 11.17)."""

from __future__ import annotations

import html
import re

import pytest

from bifrost.authoring.mermaid import SHAPES, Edge, Flowchart, escape


def read(text: str) -> str:
    """What Mermaid shows of a quoted text: it decodes entities of its own kind."""
    return re.sub(r"#(\d+);", lambda found: chr(int(found[1])), re.sub(r"#([a-z]+);", lambda found: html.unescape(f"&{found[1]};"), text))


@pytest.mark.parametrize("text", [
    'say "hi"', "it's", "a[0] (b) {c} |d|", "a < b && c > d", "end", "# &amp; #35; #quot;", "`code`", r"a\nb\\c", "x % 2 %% y",
    "%%{init: {}}%%", "$$x$$", "a --> b; c", "direction TD", "style x:#red;", "classDef a:#b;", "fa:fa-car", "<br/>",
    "Büro, 場所 😀", "x" * 500])
def test_a_text_means_nothing_but_itself(text):
    """Mermaid shows exactly what was given, and nothing of it ends the quotes or begins anything."""
    written = escape(text)
    assert read(written) == text
    assert not re.search(r'["<>`\\]|%%|\$\$|:fa-|direction |\n', written)
    assert "&" not in written


@pytest.mark.parametrize(("text", "shown"), [
    ("two\n  lines\t", "two lines"), ("bell\x07", "bell\ufffd"), ("\ud800", "\ufffd"), ("\u202egnol", "\ufffdgnol"), ("", "\u00a0"),
    (" \n", "\u00a0")])
def test_what_cannot_be_shown_is_replaced(text, shown):
    """A chart is lines of visible UTF-8, and no text is empty: Mermaid would not take it."""
    assert read(escape(text)) == shown


def test_a_line_with_style_keeps_its_last_semicolon():
    """Mermaid takes it away from a line that has `style`, a colon and an entity: so the colon is written as one, too."""
    assert escape('style a:"b"') == "style a#58;#quot;b#quot;"
    assert escape("a:b") == "a:b"


def test_nodes_have_their_shapes_and_numbers():
    """They are called n1, n2, … as they come, and stand before the edges."""
    chart = Flowchart()
    names = [chart.node(shape, shape, "x") for shape in SHAPES]
    assert names == [f"n{number}" for number in range(1, len(SHAPES) + 1)]
    assert chart.next == f"n{len(SHAPES) + 1}"
    assert chart.text().splitlines() == [
        "flowchart TD", '    n1(["end<br/>x"])', '    n2[["call<br/>x"]]', '    n3("checkpoint<br/>x")', '    n4[/"wait<br/>x"/]',
        '    n5{"branch<br/>x"}', '    n6{{"loop<br/>x"}}', '    n7[/"fork<br/>x"\\]', '    n8[\\"join<br/>x"/]', '    n9["plain<br/>x"]']


def test_edges_have_labels_and_are_merged():
    """Two edges between the same nodes are one with both labels; a dotted one is another."""
    chart = Flowchart()
    first = chart.node("end", "a")
    chart.node("end", "b", after=[Edge(first), Edge(first, "x"), Edge(first, 'y "z"'), Edge(first, "x"), Edge(first, "w", dotted=True)])
    assert chart.text().splitlines()[-2:] == ['    n1 -->|"x, y #quot;z#quot;"| n2', '    n1 -.->|"w"| n2']
    assert chart.text().endswith("n2\n")
