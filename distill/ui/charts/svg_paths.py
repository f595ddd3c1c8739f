"""Points as SVG path data, in as few characters as possible."""

from __future__ import annotations

from collections.abc import Sequence

Point = tuple[int, int]  # from the upper left, in the units of the drawing's viewBox
Points = Sequence[Point | None]  # None breaks the line


def numbers(*values: int) -> str:
    """Numbers as a path has them: a minus separates two as well as a space does."""
    return "".join(f" {value}" if k and value >= 0 else str(value) for k, value in enumerate(values))


def line(points: Points) -> str:
    """A line through the points, each relative to the one before; a new stroke after each gap."""
    path, here, joined = "", (0, 0), False
    for point in points:
        if point is not None:
            move = numbers(point[0] - here[0], point[1] - here[1])
            # What follows the pair after an m is a line by itself, with no letter of its own.
            path += ("" if move[0] == "-" else " ") + move if joined else "m" + move
            here = point
        joined = point is not None
    return path


def dots(points: Points) -> str:
    """A stroke of no length at each point: round ends make it a dot, however the picture is stretched."""
    path, here = "", (0, 0)
    for point in points:
        if point is not None:
            path += f"m{numbers(point[0] - here[0], point[1] - here[1])}h0"
            here = point
    return path


def lonely(points: Points) -> Points:
    """The points between two gaps, which no line goes through; None elsewhere."""
    around = [None, *points, None]
    return [point if around[k] is None and around[k + 2] is None else None for k, point in enumerate(points)]


def area(lower: Points, upper: Points) -> str:
    """What lies between two lines, a closed shape for every stretch in which neither has a gap."""
    path, stretch = "", []
    for low, high in zip([*lower, None], [*upper, None], strict=True):
        if low is not None and high is not None:
            stretch.append((low, high))
        elif stretch:
            corners = [high for _, high in stretch] + [low for low, _ in reversed(stretch)]
            path += "M" + " ".join(numbers(*corner) for corner in corners) + "z"
            stretch = []
    return path


def cells(places: Sequence[Point]) -> str:
    """Strokes along rows over cells at (column, row), sorted by row; one wide, they fill them. Neighbours join."""
    path, start, length = "", (0, 0), 0
    for column, row in [*places, (-1, -1)]:
        if length and (column, row) == (start[0] + length, start[1]):
            length += 1
            continue
        if length:
            path += f"M{start[0]} {start[1]}h{length}"
        start, length = (column, row), 1
    return path


def mesh(columns: int, rows: int) -> str:
    """The lines between cells."""
    across = "".join(f"M0 {row}h{columns}" for row in range(1, rows))
    return across + "".join(f"M{column} 0v{rows}" for column in range(1, columns))
