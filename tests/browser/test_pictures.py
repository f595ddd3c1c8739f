"""The pictures in a real browser: read-outs by pointer and keys, redraws that lose nothing, downloads, axe, 390 px."""

import csv
import io
from pathlib import Path

import pytest
from page_cases import close
from picture_page import EVIL, HEAT, TEACHERS, accuracy, cka, empty, families, gates, layers, page_of
from PIL import Image

from distill.ui.charts.heatmap import heatmap


@pytest.fixture
def show(browser):
    """`show(*pictures)`: a page with them. Errors in its console fail the test."""
    contexts, problems = [], []

    def open_page(*pictures, dark=False, width=900):
        contexts.append(browser.new_context(viewport={"width": width, "height": 800}, accept_downloads=True))
        page = contexts[-1].new_page()
        page.set_default_timeout(10_000)
        page.on("pageerror", lambda error: problems.append(str(error)))
        page.set_content(page_of(*pictures, dark=dark))
        return page

    yield open_page
    close(*contexts)
    assert problems == []


def readout(page):
    """The read-out's lines, heading first; [] where there is none."""
    return page.evaluate(
        "() => [...document.querySelectorAll('.picture-readout > *')].map(one => one.innerText.replace(/\\s+/g, ' '))"
    )


def hover(page, name, across, down=0.5):
    area = page.locator(f"figure[data-name={name}] svg.picture-svg").first.bounding_box()
    page.mouse.move(area["x"] + across * area["width"], area["y"] + down * area["height"])


def download(page, name, kind):
    with page.expect_download() as waiting:
        page.locator(f"figure[data-name={name}] button[data-kind={kind}]").click()
    return waiting.value.suggested_filename, Path(waiting.value.path()).read_bytes()


def rows_of(page, name):
    file, content = download(page, name, "csv")
    assert file == f"{name}.csv"
    return list(csv.reader(io.StringIO(content.decode("utf-8-sig"))))


# ---- read-outs


def test_the_pointer_reads_the_nearest_step_of_all_curves(show):
    page = show(cka())
    hover(page, "cka", 0.55)
    assert readout(page) == ["step 50", "qwen2-tiny 0.140", "gemma2-tiny 0.240"]
    area = page.locator("svg.picture-svg").bounding_box()
    rule = page.locator(".picture-rule").bounding_box()
    assert rule["x"] == pytest.approx(area["x"] + area["width"] / 2, abs=1.5)
    assert page.locator(".picture-point").count() == 2
    point = page.locator(".picture-point").first.bounding_box()
    assert point["y"] + point["height"] / 2 == pytest.approx(area["y"] + 0.86 * area["height"], abs=1.5)
    page.mouse.move(5, 5)
    assert readout(page) == []


def test_the_readout_stays_in_the_window(show):
    page = show(cka(), width=390)
    hover(page, "cka", 1.0)
    box = page.locator(".picture-readout").bounding_box()
    assert box["x"] >= 0
    assert box["x"] + box["width"] <= 390


def test_the_readout_leaves_out_what_is_missing_and_tells_intervals(show):
    page = show(accuracy())
    hover(page, "accuracy", 0.99)
    heading, first, _ = readout(page)
    assert (heading, first) == ("step 100", "right, of 50 80.0% (60.0% to 90.0%)")
    hover(page, "accuracy", 0.5)
    assert readout(page)[0] in ("step 0", "step 100")  # nothing was measured at step 50


def test_the_arrow_keys_walk_along_the_steps(show):
    page = show(cka())
    page.locator("svg.picture-svg").focus()
    page.keyboard.press("ArrowLeft")
    assert readout(page)[0] == "step 100"
    page.keyboard.press("ArrowLeft")
    assert readout(page) == ["step 75", "qwen2-tiny 0.160", "gemma2-tiny 0.260"]
    assert page.locator("[role=status]").inner_text() == "step 75, qwen2-tiny 0.160, gemma2-tiny 0.260"
    page.keyboard.press("Home")
    page.keyboard.press("ArrowLeft")
    assert readout(page)[0] == "step 0"
    page.keyboard.press("ArrowRight")
    assert readout(page)[0] == "step 25"
    page.keyboard.press("Escape")
    assert readout(page) == []


def test_a_cell_is_read_by_pointer_and_by_keys(show):
    page = show(gates())
    hover(page, "gates", 0.75, 0.25)
    assert readout(page) == ["saving, gemma2-tiny", ".7500"]
    page.mouse.move(5, 5)
    page.locator("svg.picture-svg").focus()
    page.keyboard.press("ArrowDown")
    assert readout(page) == ["saving, qwen2-tiny", ".2500"]
    page.keyboard.press("ArrowDown")
    assert readout(page) == ["speed, qwen2-tiny", "–"]


def test_a_pair_reads_both_maps_at_once(show):
    page = show(layers())
    hover(page, "layers", 0.0, 0.0)
    assert readout(page) == ["0, 0", "before .0000", "after .9000"]


def test_an_empty_picture_has_nothing_to_read(show):
    page = show(empty())
    page.mouse.move(300, 200)
    assert readout(page) == []
    assert page.get_by_text("The loss appears here.", exact=True).last.is_visible()


# ---- redraws


REPLACED = "html => { document.querySelector('main div').innerHTML = html; }"
# Gradio patches attributes and texts of what is there instead (gr.HTML): `open` goes, for the new HTML hasn't it.
PATCHED = """html => {
  const fresh = document.createElement('div');
  fresh.innerHTML = html;
  const patch = (old, now) => {
    for (const { name } of [...old.attributes]) if (!now.hasAttribute(name)) old.removeAttribute(name);
    for (const { name, value } of now.attributes) if (old.getAttribute(name) !== value) old.setAttribute(name, value);
    [...now.childNodes].forEach((child, k) => {
      if (child.nodeType === Node.TEXT_NODE) old.childNodes[k].textContent = child.textContent;
      else patch(old.childNodes[k], child);
    });
  };
  patch(document.querySelector('main figure'), fresh.firstChild);
}"""


@pytest.mark.parametrize("redraw", [REPLACED, PATCHED], ids=["replaced", "patched"])
def test_a_redraw_keeps_what_a_visitor_has_open_focused_and_under_the_pointer(show, redraw):
    page = show(cka())
    page.get_by_text("The numbers").click()
    page.locator("svg.picture-svg").focus()
    hover(page, "cka", 0.25)
    assert readout(page)[1] == "qwen2-tiny 0.120"
    page.evaluate(redraw, cka(shift=0.3))
    assert readout(page) == ["step 25", "qwen2-tiny 0.420", "gemma2-tiny 0.520"]
    assert page.locator("details").get_attribute("open") is not None
    assert page.evaluate("document.activeElement.matches('svg.picture-svg')")
    page.get_by_text("The numbers").click()
    page.evaluate(redraw, cka(shift=0.4))
    assert page.locator("details").get_attribute("open") is None


def test_a_redraw_takes_the_focus_from_nobody(show):
    page = show(cka())
    page.locator("svg.picture-svg").focus()
    page.evaluate("document.activeElement.blur()")
    page.wait_for_timeout(50)
    page.evaluate(REPLACED, cka(shift=0.3))
    assert page.evaluate("document.activeElement === document.body")


# ---- downloads


def test_the_csv_holds_every_point_with_its_value(show):
    page = show(cka())
    assert rows_of(page, "cka") == [
        ["step", *TEACHERS],
        ["0", "0.1", "0.2"],
        ["25", "0.12", "0.22"],
        ["50", "0.14", "0.24"],
        ["75", "0.16", "0.26"],
        ["100", "0.18", "0.28"],
    ]


def test_the_csv_has_intervals_and_gaps_and_no_formulas(show):
    page = show(accuracy())
    assert rows_of(page, "accuracy") == [
        ["step", "right, of 50", "right, of 50 low", "right, of 50 high", f"'{EVIL}"],
        ["0", "0.14", "0.05", "0.3", "0.5"],
        ["100", "0.8", "0.6", "0.9", "0.25"],
    ]
    assert page.title() == "t"


def test_the_csv_of_maps_and_bars_is_their_table(show):
    page = show(gates(), layers(), families())
    assert rows_of(page, "gates") == [["family / teacher", *TEACHERS], ["saving", "0.25", "0.75"], ["speed", "", "0.5"]]
    pair = rows_of(page, "layers")
    assert len(pair) == 41
    assert pair[0][:3] == ["", "family / teacher", "0"]
    assert (pair[1][:3], pair[21][:3]) == (["before", "0", "0"], ["after", "0", "0.9"])
    bars = rows_of(page, "by-family")
    assert bars[1][:3] == ["saving", "40", "0.1"]
    assert bars[2][:3] == ["a very long name of a family", "1240", "0.25"]


def colours(image, box):
    return {colour for _, colour in image.crop(box).convert("RGB").getcolors(1 << 24)}


@pytest.mark.parametrize(
    ("dark", "paper", "ink"), [(False, (251, 251, 252), (28, 33, 39)), (True, (17, 20, 24), (232, 234, 237))]
)
def test_the_png_is_the_picture_at_twice_the_size_on_the_pages_background(show, dark, paper, ink):
    page = show(cka(), dark=dark)
    file, content = download(page, "cka", "png")
    image = Image.open(io.BytesIO(content))
    figure = page.locator("figure").bounding_box()
    assert file == "cka.png"
    assert image.width == pytest.approx(2 * (figure["width"] + 32), abs=4)
    assert image.getpixel((1, 1))[:3] == paper
    high = image.height
    assert ink in colours(image, (0, 0, image.width // 2, 80))  # the heading's letters
    for colour in ((0x00, 0x72, 0xB2), (0xE6, 0x9F, 0x00)):
        assert colour in colours(image, (0, 80, image.width, high - 80)), "the curves"
        assert colour in colours(image, (0, high - 80, image.width, high)), "the legend"


def test_maps_and_bars_are_saved_with_all_their_colours(show):
    page = show(gates(), families())
    image = Image.open(io.BytesIO(download(page, "gates", "png")[1]))
    filled = page.evaluate(
        "() => [...document.querySelectorAll('.picture-cells path')].map(one => getComputedStyle(one).stroke)"
    )
    everything = colours(image, (0, 0, *image.size))
    assert len(filled) == 3
    for colour in filled:
        assert tuple(int(part) for part in colour[4:-1].split(",")) in everything
    bars = colours(Image.open(io.BytesIO(download(page, "by-family", "png")[1])), (0, 0, 600, 200))
    assert (0x00, 0x5F, 0x9E) in bars


def test_an_empty_picture_offers_no_downloads(show):
    page = show(empty())
    assert page.locator("button:disabled").count() == 2


# ---- for everybody


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("width", [1280, 390])
def test_axe_finds_nothing_and_nothing_sticks_out(show, dark, width):
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="axe-playwright-python is not installed")
    page = show(cka(), accuracy(), gates(), layers(), families(), empty(), dark=dark, width=width)
    for summary in page.locator("summary").all():
        summary.click()
    page.locator("svg.picture-svg").first.focus()
    page.keyboard.press("ArrowLeft")
    found = axe.Axe().run(page).response["violations"]
    assert [(one["id"], node["target"], node["failureSummary"]) for one in found for node in one["nodes"]] == []
    assert page.evaluate("document.documentElement.scrollWidth") <= width


def test_hostile_names_are_shown_and_do_nothing(show):
    page = show(accuracy(), heatmap([[0.5]], rows=[EVIL], columns=[EVIL], title=EVIL, **HEAT))
    hover(page, "accuracy", 0.0)
    assert any(EVIL.split(",")[0] in line for line in readout(page))
    assert page.locator("img").count() == 0
    assert page.title() == "t"
