"""The page in a real browser: it fits narrow and wide, in light and dark, and asks for nothing."""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest

from tasks.report.page import run_picture, write_report
from tasks.report.run_view import view_run
from tests.browser.chromium import NAMES, Browser, Page, find_browser
from tests.tasks.report.class_rows import night

BROWSER = find_browser()
pytestmark = pytest.mark.skipif(
    BROWSER is None, reason=f"no browser on PATH (one of {', '.join(NAMES)})"
)
SCREENS = [(width, dark) for width in (375, 1280) for dark in (False, True)]

# Contrast as in WCAG 2.2, section 1.4.3, of every element that holds text of its own, on the page's
# background or on its own. Answers the worst ratio and the text that has it.
CONTRAST = """(() => {
  const parse = c => c.match(/[\\d.]+/g).map(Number);
  const light = c => {
    const [r, g, b] = c.slice(0, 3).map(v => v / 255)
      .map(v => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const behind = e => {
    for (; e; e = e.parentElement) {
      const c = parse(getComputedStyle(e).backgroundColor);
      if (c.length === 3 || c[3] > 0) return c;
    }
    return parse(getComputedStyle(document.body).backgroundColor);
  };
  let worst = [99, ''];
  for (const e of document.querySelectorAll('body *')) {
    const own = [...e.childNodes].some(n => n.nodeType === 3 && n.textContent.trim());
    if (!own || !e.checkVisibility() || ['title', 'desc'].includes(e.tagName)) continue;
    const style = getComputedStyle(e);
    const ink = parse(e.tagName === 'text' ? style.fill : style.color);
    const [a, b] = [light(ink), light(behind(e))].sort((x, y) => y - x);
    const ratio = (a + 0.05) / (b + 0.05);
    if (ratio < worst[0]) worst = [ratio, e.textContent.trim().slice(0, 40)];
  }
  return worst;
})()"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with a page and a picture, one instrument with a name that is markup."""
    path = tmp_path_factory.mktemp("browser") / "store"
    store = night(path, rename={"GOOG": "<script>alert(1)</script>"})
    view = view_run(store)
    write_report(store, view)
    store.write_file("latest/picture.svg", run_picture(view))
    return path / "latest"


@pytest.fixture(scope="module")
def page() -> Iterator[Page]:
    assert BROWSER is not None
    with Browser(BROWSER) as browser:
        yield browser.new_page()


@pytest.fixture(scope="module")
def report(folder: Path) -> str:
    return (folder / "report.html").as_uri()


@pytest.mark.parametrize(("width", "dark"), SCREENS)
def test_the_page_fits_its_screen_and_stays_silent(
    page: Page, report: str, width: int, dark: bool
) -> None:
    page.requests.clear()
    page.complaints.clear()
    page.show(width, dark=dark)
    page.open(report)
    assert page.ask("window.innerWidth") == width
    assert page.ask("document.documentElement.scrollWidth") <= width
    # What is wider than the screen lies in a container that scrolls by itself.
    outside = page.ask(
        """[...document.querySelectorAll('body *')].filter(e => e.checkVisibility()
             && !e.closest('.scroll, svg') && e.getBoundingClientRect().right > innerWidth + 0.5
           ).map(e => e.outerHTML.slice(0, 80))"""
    )
    assert outside == []
    assert page.ask("matchMedia('(prefers-color-scheme: dark)').matches") == dark
    assert [url for url in page.requests if not url.startswith("data:")] == [report]
    assert page.complaints == []


@pytest.mark.parametrize(("width", "dark"), SCREENS)
def test_text_stands_out_from_its_background(
    page: Page, report: str, width: int, dark: bool
) -> None:
    page.show(width, dark=dark)
    page.open(report)
    ratio, text = page.ask(CONTRAST)
    assert ratio >= 4.5, text


@pytest.mark.parametrize("width", [375, 1280])
def test_words_are_large_enough_everywhere(page: Page, report: str, width: int) -> None:
    page.show(width)
    page.open(report)
    sizes = page.ask(
        """[...document.querySelectorAll('svg[role=img]')].flatMap(s => {
             const scale = s.getBoundingClientRect().width / s.viewBox.baseVal.width;
             return [...s.querySelectorAll('text')].filter(t => t.checkVisibility())
               .map(t => parseFloat(getComputedStyle(t).fontSize) * scale)})"""
    )
    assert min(sizes) >= 10
    body = page.ask(
        """[...document.querySelectorAll('td, th, p, dd, dt, figcaption')]
           .map(e => parseFloat(getComputedStyle(e).fontSize))"""
    )
    assert min(body) >= 12


@pytest.mark.parametrize("width", [375, 1280])
def test_words_of_a_chart_do_not_touch(page: Page, report: str, width: int) -> None:
    page.show(width)
    page.open(report)
    touching = page.ask(
        """[...document.querySelectorAll('svg[role=img]')].flatMap(s => {
             const found = [...s.querySelectorAll('text')].filter(t => t.checkVisibility());
             const boxes = found.map(t => t.getBoundingClientRect());
             return found.flatMap((t, i) => found.slice(i + 1).filter((_, j) => {
               const a = boxes[i], b = boxes[i + 1 + j];
               return a.left - 5 < b.right && b.left - 5 < a.right
                 && a.top + 3 < b.bottom - 3 && b.top + 3 < a.bottom - 3;
             }).map(o => t.textContent + ' | ' + o.textContent))})"""
    )
    assert touching == []


def test_every_chart_is_drawn(page: Page, report: str) -> None:
    page.show(1280)
    page.open(report)
    charts = page.ask(
        """[...document.querySelectorAll('svg.fan')].map(s => [
             s.querySelectorAll('path.past').length, s.querySelectorAll('path.band').length,
             s.querySelectorAll('path.mean').length, s.querySelectorAll('circle.lead').length,
             Math.min(...['past', 'band', 'mean']
               .map(c => s.querySelector('.' + c).getTotalLength()))])"""
    )
    assert len(charts) == 10
    for past, band, mean, leads, shortest in charts:
        assert (past, band, mean, leads) == (1, 1, 1, 5)
        assert shortest > 100


def test_every_class_is_drawn(page: Page, report: str) -> None:
    page.show(1280)
    page.open(report)
    charts = page.ask(
        """[...document.querySelectorAll('svg.classes')].map(s =>
             [...s.querySelectorAll('rect.column')].map(r => r.getBoundingClientRect())
               .map(b => [b.left, b.right, b.height]))"""
    )
    assert sorted({len(columns) for columns in charts}) == [1, 10]
    assert len(charts) == 10
    for columns in charts:
        assert all(height > 5 for *_, height in columns)
        for (_, right, _), (left, _, _) in pairwise(columns):
            assert right < left


@pytest.mark.parametrize(("width", "dark"), SCREENS)
def test_a_table_that_goes_on_beyond_its_edge_has_a_shade_there(
    page: Page, report: str, width: int, dark: bool
) -> None:
    page.show(width, dark=dark)
    page.open(report)
    # Two covers that scroll with the table, above two shades that stay at the edges.
    found = page.ask(
        """[...document.querySelectorAll('.scroll')].map(e => [
             e.scrollWidth > e.clientWidth + 1,
             getComputedStyle(e).backgroundImage.split('linear-gradient').length - 1,
             getComputedStyle(e).backgroundAttachment])"""
    )
    assert all(layers == 4 for _, layers, _ in found)
    assert {how for *_, how in found} == {"local, local, scroll, scroll"}
    wider = sum(wide for wide, *_ in found)
    assert wider == 0 if width == 1280 else wider >= 6


def test_a_night_of_one_kind_fits_too(page: Page, tmp_path: Path) -> None:
    for kind in ("direction", "quantile_class"):
        store = night(tmp_path / kind, [kind])
        address = Path(write_report(store, view_run(store))).as_uri()
        for width in (375, 1280):
            page.show(width)
            page.open(address)
            assert page.ask("document.documentElement.scrollWidth") <= width
            # What is alone has its tables beside it where there is room.
            tops = page.ask(
                """[...document.querySelectorAll('.panel')].map(p => ['figure', '.tables']
                     .map(c => p.querySelector(c)?.getBoundingClientRect().left))"""
            )
            beside = [left is not None and left > chart for chart, left in tops]
            assert any(beside) == (width == 1280)


def test_a_hostile_name_is_shown_and_not_run(page: Page, report: str) -> None:
    page.show(1280)
    page.open(report)
    assert page.ask("document.querySelectorAll('script').length") == 0
    assert "<script>alert(1)</script>" in page.ask("document.body.innerText")


def test_paper_is_white_in_a_dark_room(page: Page, report: str) -> None:
    page.show(800, dark=True, media="print")
    page.open(report)
    assert page.ask("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    ratio, text = page.ask(CONTRAST)
    assert ratio >= 4.5, text
    assert page.ask("document.documentElement.scrollWidth") <= 830


def test_the_picture_loads_as_an_image(page: Page, folder: Path, tmp_path: Path) -> None:
    around = tmp_path / "around.html"
    around.write_text(f'<img src="{(folder / "picture.svg").as_uri()}">')
    page.show(1280)
    page.open(around.as_uri())
    width, height = page.ask("(i => [i.naturalWidth, i.naturalHeight])(document.images[0])")
    assert width > 500
    assert height > 3000


def test_a_photograph_is_taken(page: Page, report: str, tmp_path: Path) -> None:
    page.show(375)
    page.open(report)
    page.screenshot(tmp_path / "page.png", height=600)
    data = (tmp_path / "page.png").read_bytes()
    assert data.startswith(b"\x89PNG")
    width, height = (int.from_bytes(data[i : i + 4]) for i in (16, 20))
    assert (width, height) == (375, 600)
    assert re.search(rb"IDAT", data)
