# SPDX-License-Identifier: Apache-2.0
"""Cells of wide tables say their columns; narrow tables, and texts that look like markup, stay as they are."""

from medix_verl.report.tables import stackable

HEAD = '<thead><tr><th>Task</th><th class="number">score, % [95 %]</th><th></th><th>a <b>b</b></th></tr></thead>'


def page(rows: str, kind: str = "wide", head: str = HEAD) -> str:
    return f'<p>x</p><div class="{kind}"><table>\n{head}\n<tbody>\n{rows}\n</tbody></table></div>'


def test_each_cell_says_its_column() -> None:
    made = stackable(page('<tr><td>t</td><td class="number">1</td><td></td><td>2</td></tr>'))
    assert '<table class="stack">' in made
    row = (
        '<tr><td>t</td><td class="number" data-label="score, % [95 %]">1</td><td></td><td data-label="a b">2</td></tr>'
    )
    assert row in made


def test_a_cell_over_several_columns_moves_the_others() -> None:
    made = stackable(page('<tr><td>t</td><td colspan="2">none</td><td>2</td></tr><tr><th colspan="4">Text</th></tr>'))
    assert '<td colspan="2" data-label="score, % [95 %]">none</td><td data-label="a b">2</td>' in made
    assert '<th colspan="4">Text</th>' in made


def test_what_is_left_as_it_is() -> None:
    two = page("<tr><td>t</td><td>1</td></tr>", head="<thead><tr><th>a</th><th>b</th></tr></thead>")
    fits = page("<tr><td>t</td><td>1</td><td></td><td>2</td></tr>", kind="wide fits")
    escaped = '<div class="wide"><p>&lt;td&gt; of an answer</p></div>'
    assert [stackable(text) for text in (two, fits, escaped)] == [two, fits, escaped]


def test_a_columns_name_is_escaped_again() -> None:
    head = "<thead><tr><th></th><th>&quot;&lt;b&gt;</th><th>c</th></tr></thead>"
    made = stackable(page("<tr><td>t</td><td>1</td><td>2</td></tr>", head=head))
    assert '<td data-label="&quot;&lt;b&gt;">1</td>' in made
