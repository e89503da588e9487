"""Take the pictures of docs/report.md: a demo's report in light and dark mode and on a phone, and its map.

python docs/report_pictures.py      # needs selenium, chromium and chromedriver
"""

from __future__ import annotations

import base64
import io
import shutil
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from PIL import Image
from sklearn.datasets import load_digits

import commlearn as cl

IMAGES = Path(__file__).resolve().parent / "images"
COLOURS = 255  # most colours of a picture
SHOTS = {
    "report": (1280, 1500, "light", ""),
    "report-dark": (1280, 1500, "dark", ""),
    "report-phone": (375, 1100, "light", ""),
    "report-map": (1280, 1250, "light", "map"),
}
SHOW = """
document.querySelector("input[value=tsne]").click();
document.getElementById(arguments[0]).closest("section").scrollIntoView();
const map = document.getElementById("map");
for (const key of ["ArrowRight", "Enter"]) map.dispatchEvent(new KeyboardEvent("keydown", {key}));
"""


def page(folder: Path) -> Path:
    """Run the comparison of digits cut in half, and write the report of its training; returns the page."""
    digits = load_digits()
    halves = {"left": digits.images[:, :, :4], "right": digits.images[:, :, 4:]}
    table = pd.DataFrame({name: [_larger(one) for one in pixels] for name, pixels in halves.items()})
    table["digit"] = digits.target
    table.to_parquet(folder / "digits cut in half.parquet")
    schema = cl.Schema({name: cl.Image(name) for name in halves}, targets={"digit": "class"})
    (folder / "schema.yaml").write_text(schema.to_yaml(), encoding="utf-8")
    out = folder / "comparison"
    settings = {"model.networks": False}
    where = folder / "digits cut in half.parquet"
    cl.compare(folder / "schema.yaml", table=where, budgets=[5, "all"], out=out, overrides=settings)
    (run,) = out.glob("comm/seed0/run")
    return Path(cl.report(run, out=folder / "report").out)


def _larger(pixels: np.ndarray) -> list[list[int]]:
    grey = Image.fromarray((pixels * 15.9).astype(np.uint8))
    return np.asarray(grey.resize((32, 32))).tolist()


def picture(browser: Any, width: int, height: int, theme: str, part: str) -> bytes:
    """Take a picture of the page, from its top or from one of its parts, in few colours."""
    metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    scheme = [{"name": "prefers-color-scheme", "value": theme}]
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": scheme})
    browser.get(browser.current_url)
    time.sleep(1)  # wait until animations have ended
    if part:
        browser.execute_script(SHOW, part)
        time.sleep(1)
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
            for name, (width, height, theme, part) in SHOTS.items():
                content = picture(browser, width, height, theme, part)
                (IMAGES / f"{name}.png").write_bytes(content)
                print(f"{name}.png: {len(content) / 1000:.0f} kB")
        finally:
            browser.quit()


if __name__ == "__main__":
    main()
