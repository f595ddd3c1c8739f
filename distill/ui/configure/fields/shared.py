"""The dials that several methods have alike: which teachers they listen to, and how much to each."""

from __future__ import annotations

from distill.ui.configure.fields.field import Field, among


def teachers(kind: str, of: str, rare: bool = False) -> Field:
    """Which of the run's teachers a method listens to; `of`: the method in a few words, as its `short`."""
    return Field(
        f"objectives.{kind}.teachers",
        f"Teachers heard for {of}",
        "Empty: all of the run's teachers.",
        rare=rare,
        widget="teachers",
    )


def shares(kind: str, of: str, rare: bool = False) -> tuple[Field, ...]:
    """How much each of several teachers counts, by text: a gate that is not trained."""
    gate = f"objectives.{kind}.gate"
    return (
        Field(
            f"{gate}.kind",
            f"Whose word counts for {of} (gate)",
            "For every text each teacher gets a share. With one teacher it makes no difference.",
            {
                "uniform": "uniform: all teachers alike",
                "prior": "prior: whoever finds the text likely is believed",
            },
            rare=rare,
        ),
        Field(
            f"{gate}.tau",
            f"Sharpness of the gate for {of} (tau)",
            "In bits per byte. Small: only the surest teacher counts. Large: all count alike.",
            when=among(f"{gate}.kind", "prior"),
            rare=True,
        ),
        Field(
            f"{gate}.epsilon",
            f"Share always spread evenly for {of} (epsilon)",
            "So that no teacher is ever quite unheard.",
            when=among(f"{gate}.kind", "prior"),
            rare=True,
        ),
    )
