"""The report in a real browser: no console errors, hovering and switching work, it fits on a phone."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

import commlearn as cl

CHROMIUM, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")
SELENIUM = pytest.importorskip("selenium", reason="SKIPPED LOUDLY: pip install selenium")
pytestmark = pytest.mark.skipif(
    not (CHROMIUM and DRIVER), reason="SKIPPED LOUDLY: no browser; apt-get install chromium chromium-driver"
)


@pytest.fixture(scope="module")
def page(trained_report):
    return Path(trained_report.out).resolve().as_uri()


@pytest.fixture(scope="module")
def browser():
    from selenium import webdriver
    from selenium.webdriver.chrome.service import Service

    options = webdriver.ChromeOptions()
    options.binary_location = str(CHROMIUM)
    for word in ("--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--hide-scrollbars"):
        options.add_argument(word)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options=options, service=Service(str(DRIVER)))
    driver.set_window_size(1200, 900)
    yield driver
    driver.quit()


def wide(browser, width, height=900):
    browser.execute_cdp_cmd(
        "Emulation.setDeviceMetricsOverride",
        {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600},
    )


def picture(browser, name):
    folder = os.environ.get("COMMLEARN_SCREENSHOTS")
    if folder:
        import base64

        taken = browser.execute_cdp_cmd(
            "Page.captureScreenshot", {"captureBeyondViewport": True, "format": "png"}
        )
        (Path(folder) / name).write_bytes(base64.b64decode(taken["data"]))


def test_it_loads_without_a_word_on_the_console(browser, page):
    wide(browser, 1200)
    browser.get(page)
    picture(browser, "desktop.png")
    assert [entry for entry in browser.get_log("browser") if entry["level"] != "INFO"] == []
    assert browser.title.startswith("<script>")  # the data set's name, shown as text


def test_nothing_of_the_data_became_an_element(browser, page):
    browser.get(page)
    assert browser.execute_script("return window.harmed") is None
    assert len(browser.find_elements("css selector", "script:not([type])")) == 1


def test_hover_tells_the_record(browser, page):
    from selenium.webdriver import ActionChains

    browser.get(page)
    dots = [dot for dot in browser.find_elements("css selector", "#map path") if dot.is_displayed()]
    panel = browser.find_element("id", "panel")
    browser.execute_script(
        "arguments[0].scrollIntoView({block: 'center'})", browser.find_element("id", "map")
    )
    before = panel.text
    ActionChains(browser).move_to_element(dots[3]).perform()
    assert panel.text != before
    assert "label" in panel.text
    assert "on" in browser.find_element("css selector", "#map path.on").get_attribute("class")
    assert panel.find_elements("css selector", ".pic")


def test_subsets_and_colours_switch(browser, page):
    browser.get(page)
    where = "return [...document.querySelectorAll('#map path')].map(dot => dot.style.transform).join()"
    looks = "return [...document.querySelectorAll('#map path')].map(dot => dot.getAttribute('class')).join()"
    before = browser.execute_script(where), browser.execute_script(looks)
    browser.find_element("css selector", "input[name=by][value=picture]").click()
    assert browser.execute_script(where) != before[0]
    from selenium.webdriver.support.ui import Select

    Select(browser.find_element("id", "colour")).select_by_index(1)
    assert browser.execute_script(looks) != before[1]
    assert len(browser.find_elements("css selector", "#legend li")) > 1


def test_the_keyboard_walks_over_the_map(browser, page):
    from selenium.webdriver.common.keys import Keys

    browser.get(page)
    chart, panel = browser.find_element("id", "map"), browser.find_element("id", "panel")
    chart.send_keys(Keys.ARROW_LEFT)
    first = panel.text
    chart.send_keys(Keys.ARROW_LEFT)
    assert panel.text not in ("", first)


def test_zoom_search_and_neighbours_of_the_map(browser, page):
    from selenium.webdriver import ActionChains

    browser.get(page)
    chart, panel = browser.find_element("id", "map"), browser.find_element("id", "panel")
    browser.find_element("css selector", "[data-zoom='1.6']").click()
    assert float(chart.get_dom_attribute("viewBox").split()[2]) == pytest.approx(480 / 1.6)
    browser.find_element("css selector", "[data-zoom='0']").click()
    search = browser.find_element("id", "search")
    search.send_keys("storm")
    faded = len(browser.find_elements("css selector", "#map path.off"))
    every = len(browser.find_elements("css selector", "#map path"))
    assert 0 < faded < every
    assert browser.find_element("id", "hits").text == f"{every - faded} of {every} records"
    search.clear()
    search.send_keys(" ")
    dot = next(dot for dot in browser.find_elements("css selector", "#map path") if dot.is_displayed())
    browser.execute_script("arguments[0].scrollIntoView({block: 'center'})", chart)
    ActionChains(browser).move_to_element(dot).click().perform()
    buttons = panel.find_elements("css selector", ".near button")
    assert len(buttons) == 5
    title, name = panel.find_element("tag name", "h3").text, buttons[0].find_element("tag name", "b").text
    browser.execute_script("arguments[0].click()", buttons[0])
    assert panel.find_element("tag name", "h3").text == name != title


AXE = next(
    (place for place in map(Path, os.environ.get("COMMLEARN_AXE", "").split(os.pathsep)) if place.is_file()),
    None,
)


def axe_violations(browser):
    browser.execute_script("document.querySelectorAll('details').forEach(part => { part.open = true; })")
    browser.execute_script(AXE.read_text(encoding="utf-8"))
    run = "const tell = arguments[0]; axe.run().then(results => tell(results.violations.map(one => one.id)))"
    browser.set_script_timeout(120)
    return browser.execute_async_script(run)


@pytest.mark.skipif(AXE is None, reason="SKIPPED LOUDLY: COMMLEARN_AXE is not the path of an axe.min.js")
@pytest.mark.parametrize("width", [1280, 800, 390])
@pytest.mark.parametrize("theme", ["light", "dark"])
def test_axe_finds_nothing_that_keeps_people_out(browser, page, width, theme):
    wide(browser, width)
    scheme = [{"name": "prefers-color-scheme", "value": theme}]
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": scheme})
    browser.get(page)
    assert axe_violations(browser) == []
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": []})
    wide(browser, 1200)


WATCH = (
    "window.moved = 0;"
    "new PerformanceObserver(list => list.getEntries().forEach(one => { moved += one.value; }))"
    ".observe({type: 'layout-shift', buffered: true})"
)


def check_budget(browser, page, width):
    """Check that a page is ready in 1.5 s, shifts nothing while loading, logs nothing and fits its window."""
    added = browser.execute_cdp_cmd("Page.addScriptToEvaluateOnNewDocument", {"source": WATCH})
    wide(browser, width)
    browser.get(page)
    browser.execute_async_script("setTimeout(arguments[0], 300)")
    assert browser.execute_script("return moved") == 0
    ready = browser.execute_script("return performance.getEntriesByType('navigation')[0].loadEventEnd")
    assert 0 < ready <= 1500
    assert browser.get_log("browser") == []
    assert browser.execute_script("return document.documentElement.scrollWidth") <= width
    browser.execute_cdp_cmd("Page.removeScriptToEvaluateOnNewDocument", added)
    wide(browser, 1200)


@pytest.mark.parametrize("width", [375, 1280, 1920])
def test_it_is_ready_soon_and_nothing_moves_while_it_loads(browser, page, width):
    check_budget(browser, page, width)


def test_every_state_keeps_the_budget_and_is_for_everybody(browser, state_report):
    page = Path(state_report.out).resolve().as_uri()
    for width in (375, 1280, 1920):
        check_budget(browser, page, width)
        wide(browser, width)
        picture(browser, f"{Path(state_report.out).parents[1].name}-{width}.png")
        if AXE is not None:
            assert axe_violations(browser) == []
    wide(browser, 1200)


def test_a_phone_needs_no_sideways_scrolling(browser, page):
    wide(browser, 390, 844)
    browser.get(page)
    picture(browser, "phone.png")
    assert browser.execute_script("return document.documentElement.scrollWidth") <= 390
    wide(browser, 1200)


def test_dark_has_other_colours(browser, page):
    browser.get(page)
    colour = "return getComputedStyle(document.body).backgroundColor"
    light = browser.execute_script(colour)
    features = [{"name": "prefers-color-scheme", "value": "dark"}]
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})
    picture(browser, "dark.png")
    assert browser.execute_script(colour) != light
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": []})
    assert cl.__version__ in browser.page_source


CUT = """
return [...document.querySelectorAll('main *')]
  .filter(part => part.scrollWidth > part.clientWidth + 1 && part.clientWidth && part.tagName !== 'SPAN'
    && ['auto', 'hidden', 'scroll'].includes(getComputedStyle(part).overflowX))
  .map(part => `${part.tagName} ${part.className}`)
"""


def test_paper_shows_all_of_it_in_light(browser, page):
    """Folded parts are unfolded only for printing, nothing is cut off, and the background is white."""
    features = [{"name": "prefers-color-scheme", "value": "dark"}]
    wide(browser, 690)  # width of an A4 page between its margins
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features, "media": "print"})
    browser.get(page)
    folded = "return [...document.querySelectorAll('details')].map(part => part.open)"
    before = browser.execute_script(folded)
    assert not all(before)
    browser.execute_script("dispatchEvent(new Event('beforeprint'))")
    assert all(browser.execute_script(folded))
    picture(browser, "print.png")
    assert browser.execute_script(CUT) == []
    assert browser.execute_script("return document.documentElement.scrollWidth") <= 690
    ground = "return getComputedStyle(document.body).backgroundColor"
    assert browser.execute_script(ground) == "rgb(255, 255, 255)"
    for hidden in ("nav", ".controls", ".zoom", "#panel"):
        assert not browser.find_element("css selector", hidden).is_displayed()
    browser.execute_script("dispatchEvent(new Event('afterprint'))")
    assert browser.execute_script(folded) == before
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [], "media": ""})
    wide(browser, 1200)


def test_a_phone_has_no_empty_box_below_the_map_and_the_records_side_by_side(browser, page):
    wide(browser, 390, 844)
    browser.get(page)
    assert browser.find_element("id", "panel").size["height"] < 150
    examples = browser.find_elements("css selector", ".example")
    assert len({one.location["y"] for one in examples}) == 1
    assert browser.find_element("css selector", ".examples").get_attribute("tabindex") == "0"
    wide(browser, 1200)
