"""Tables, and what a button sends when it is clicked."""

from types import SimpleNamespace

from picture_cases import Parsed

from distill.ui.html import clicked, table, table_row


def test_a_table_has_headings_cells_and_a_name():
    html = table(
        ["Run", "<span>State</span>"], [table_row("a", "done"), table_row("b", "failed")], label="All", scroll="wide"
    )
    parsed = Parsed(html)
    assert parsed.rows == [["Run", "State"], ["a", "done"], ["b", "failed"]]
    assert [one["scope"] for one in parsed.all("th")] == ["col", "col", "row", "row"]
    assert parsed.all("div", "wide")[0]["aria-label"] == parsed.all("table")[0]["aria-label"] == "All"


def test_a_table_alone_has_no_region():
    assert table(["x"], [table_row("1")], caption="Note.") == (
        "<table><caption>Note.</caption><thead><tr><th scope=col>x<tbody><tr><th scope=row>1</table>"
    )


def test_what_a_click_sends_becomes_short_text():
    event = SimpleNamespace(_data={"name": 7, "step": "x" * 999})
    assert (clicked(event, "name"), len(clicked(event, "step")), clicked(event, "act")) == ("7", 200, "")
    assert clicked(SimpleNamespace(_data="junk"), "name") == ""
