"""Path data: walked as a browser walks it, it goes through the points."""

import re

from distill.ui.charts import svg_paths


def walked(text):
    """The strokes of a path of m, M, h, v and z: lists of points."""
    strokes, here = [], (0, 0)
    for command, numbers in re.findall(r"([a-zA-Z])([^a-zA-Z]*)", text):
        values = [int(number) for number in re.findall(r"-?\d+", numbers)]
        if command in "mM":
            start = (values[0], values[1])
            here = start if command == "M" else (here[0] + start[0], here[1] + start[1])
            strokes.append([here])
            for x, y in zip(values[2::2], values[3::2], strict=True):
                here = (x, y) if command == "M" else (here[0] + x, here[1] + y)
                strokes[-1].append(here)
        elif command in "hv":
            here = (here[0] + values[0], here[1]) if command == "h" else (here[0], here[1] + values[0])
            strokes[-1].append(here)
        else:
            here = strokes[-1][0]
    return strokes


def test_numbers_take_few_characters():
    assert svg_paths.numbers(47, -12, 0) == "47-12 0"


def test_a_line_goes_through_its_points_and_breaks_at_gaps():
    points = [(0, 1000), (50, 995), (101, 1010), None, None, (203, 4), (250, 4), None, (400, 7)]
    assert walked(svg_paths.line(points)) == [points[:3], points[5:7], points[8:]]
    assert svg_paths.line([None, None]) == ""


def test_dots_are_strokes_of_no_length():
    assert walked(svg_paths.dots([(10, 20), None, (35, 5)])) == [[(10, 20)] * 2, [(35, 5)] * 2]


def test_lonely_points_have_gaps_on_both_sides():
    points = [(1, 1), None, (2, 2), (3, 3), None, (4, 4)]
    assert svg_paths.lonely(points) == [(1, 1), None, None, None, None, (4, 4)]


def test_an_area_goes_along_the_upper_line_and_back_along_the_lower():
    lower = [(0, 90), (10, 80), None, (30, 70), (40, 75)]
    upper = [(0, 50), (10, 40), (20, 35), (30, 30), (40, 33)]
    shapes = walked(svg_paths.area(lower, upper))
    assert shapes == [[(0, 50), (10, 40), (10, 80), (0, 90)], [(30, 30), (40, 33), (40, 75), (30, 70)]]


def test_cells_join_with_neighbours_in_their_row_alone():
    places = [(0, 0), (1, 0), (3, 0), (0, 1), (1, 1)]
    assert walked(svg_paths.cells(places)) == [[(0, 0), (2, 0)], [(3, 0), (4, 0)], [(0, 1), (2, 1)]]
    assert svg_paths.cells([]) == ""


def test_a_mesh_lies_between_cells_and_not_around_them():
    assert walked(svg_paths.mesh(3, 2)) == [[(0, 1), (3, 1)], [(1, 0), (1, 2)], [(2, 0), (2, 2)]]
