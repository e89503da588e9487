"""The pictures of docs/report.md: the report of a table of five modalities, in light, in dark, on a phone.

python docs/report_pictures.py      # needs selenium, chromium and chromedriver
"""

from __future__ import annotations

import base64
import io
import shutil
import tempfile
from pathlib import Path
from typing import Any

from PIL import Image

import commlearn as cl
from commlearn.datasets.synthetic_tables import SyntheticTable

IMAGES = Path(__file__).resolve().parent / "images"
ROWS, COLOURS = 400, 255  # of the table; of a picture
SHOTS = {
    "report": (1280, 1500, "light"),
    "report-dark": (1280, 1500, "dark"),
    "report-phone": (375, 1100, "light"),
}


def page(folder: Path) -> Path:
    """The shop's table as the demo has it, smaller, and its report."""
    table = SyntheticTable(rows=ROWS, missing=0.1).write(folder / "shop")
    schema = cl.Schema.from_yaml(folder / "shop" / "schema.yaml")
    model = cl.Embedder(schema, epochs=4, features="learned").fit(table)
    return Path(cl.report(model, targets=["shared", "unique_text", "synergy"], out=folder / "report").out)


def picture(browser: Any, width: int, height: int, theme: str) -> bytes:
    """The top of the page, in few colours."""
    metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    scheme = [{"name": "prefers-color-scheme", "value": theme}]
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": scheme})
    browser.refresh()
    shot = browser.execute_cdp_cmd("Page.captureScreenshot", {"format": "png"})["data"]
    content = io.BytesIO()
    image = Image.open(io.BytesIO(base64.b64decode(shot))).convert("RGB")
    image.quantize(COLOURS, dither=Image.Dither.NONE).save(content, "PNG", optimize=True)
    return content.getvalue()


def main() -> None:
    from selenium import webdriver
    from selenium.webdriver.chrome.service import Service

    options = webdriver.ChromeOptions()
    options.binary_location = str(shutil.which("chromium"))
    for word in ("--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--hide-scrollbars"):
        options.add_argument(word)
    with tempfile.TemporaryDirectory() as folder:
        written = page(Path(folder))
        browser = webdriver.Chrome(options=options, service=Service(str(shutil.which("chromedriver"))))
        try:
            browser.get(written.resolve().as_uri())
            for name, (width, height, theme) in SHOTS.items():
                content = picture(browser, width, height, theme)
                (IMAGES / f"{name}.png").write_bytes(content)
                print(f"{name}.png: {len(content) / 1000:.0f} kB")
        finally:
            browser.quit()


if __name__ == "__main__":
    main()
