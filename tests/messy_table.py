"""A realistic table of furniture with emoji, gaps, copies, unreadable pictures and mixed notations."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image as PIL

ROWS = 400
COPIES = 8  # rows that repeat earlier rows under another id
DEAD = (7, 60, 133, 201, 288, 350)  # rows whose picture is missing, cut off or not a picture
PRICES = {"chair": 40, "table": 120, "sofa": 300, "lamp": 25}
SIGNS = {"chair": "🪑", "table": "🍽️", "sofa": "🛋️", "lamp": "💡"}
COLOURS = ("red", "blue", "oak", "white", "black")
WORDS = ("solid", "light", "old", "from a flat without pets", "hardly used", "some scratches", "pick up only")


def messy_frame(rows: int = ROWS, seed: int = 0) -> pd.DataFrame:
    """Return the table, with 24 columns; its pictures are named but not written."""
    generator = np.random.default_rng(seed)
    frame = pd.DataFrame([_listing(row, generator) for row in range(rows - COPIES)])
    copied = frame.head(COPIES).assign(listing_id=[f"C{row}" for row in range(COPIES)])
    return pd.concat([frame, copied], ignore_index=True)


def _listing(row: int, generator: np.random.Generator) -> dict[str, object]:
    sort = str(generator.choice(list(PRICES)))
    price = PRICES[sort] * generator.lognormal(0, 0.3)
    width = round(float(PRICES[sort] / 2 + generator.normal(0, 4)), 1)
    day = pd.Timestamp("2024-01-01") + pd.Timedelta(days=int(generator.integers(700)))
    in_german = f"{price:,.2f}".translate(str.maketrans(",.", ".,"))
    clicks = int(generator.integers(20, 900))
    cells = {
        "listing_id": f"L{10_000 + row}",
        "title": f"{SIGNS[sort]} {generator.choice(WORDS)} {sort}",
        "description": f"A {sort}, {' '.join(generator.choice(WORDS, 4))}. №{row}",
        "photo": f"photos/{row}.png",
        "price": f"{in_german} €" if generator.random() < 0.7 else f"${price:,.2f}",
        "weight": f"{price / 8:.1f} kg" if price > 60 else f"{price * 120:.0f} g",
        "listed": f"{day:%d.%m.%Y}",
        "last_seen": f"{day + pd.Timedelta(hours=5 * row % 90):%Y-%m-%d %H:%M}",
        "condition": f"{generator.integers(1, 6)}/5",
        "smoke_free": str(generator.choice(["yes", "no", "Yes", "NO", "ja"])),
        "colours": ";".join(generator.choice(COLOURS, generator.integers(1, 4), replace=False)),
        "material": str(generator.choice(["wood", "metal", "wood", "n/a", "-", "glass"])),
        "measures": json.dumps(
            {"w": width, "legs": int(width) % 5, "top": "round" if width > 70 else "square"}
        ),
        "views": json.dumps(_views(generator)),
        "stock": -999 if generator.random() < 0.1 else int(generator.integers(1, 30)),
        "width_cm": width,
        "width_inch": round(width / 2.54, 3),
        "clicks": "unknown" if clicks % 9 == 0 else str(clicks),
        "postcode": f"0{4000 + int(generator.integers(40))}",
        "vector": json.dumps(generator.normal(size=6).round(3).tolist()),
        "link": f"https://example.org/listing/{row}",
        "country": "DE",
        "remark 📝": "call first",
        "sold": "yes" if generator.random() < 0.4 else "no",
    }
    gaps = {"description": 0.15, "weight": 0.1, "last_seen": 0.1, "condition": 0.1, "colours": 0.1}
    gaps |= {"measures": 0.1, "views": 0.2, "width_cm": 0.15, "remark 📝": 0.98}
    return {name: None if generator.random() < gaps.get(name, 0) else cell for name, cell in cells.items()}


def _views(generator: np.random.Generator) -> list[dict[str, int]]:
    """Return a listing's daily views, with the days in random order."""
    days = generator.permutation(int(generator.integers(4, 12)))
    return [{"t": int(day), "v": int(generator.poisson(5))} for day in days]


def write_messy_table(folder: Path, rows: int = ROWS, seed: int = 0) -> Path:
    """Write the table as a spreadsheet's CSV, with semicolons, and its pictures; return the CSV's path."""
    generator = np.random.default_rng(seed)
    (folder / "photos").mkdir(parents=True, exist_ok=True)
    for row in range(rows - COPIES):
        pixels = generator.integers(0, 255, (24, 24, 3), dtype=np.uint8)
        PIL.fromarray(pixels).save(folder / "photos" / f"{row}.png")
    for place, row in enumerate(row for row in DEAD if row < rows - COPIES):
        path = folder / "photos" / f"{row}.png"
        contents = (None, path.read_bytes()[:300], b"<html>404</html>")
        if (content := contents[place % 3]) is None:
            path.unlink()
        else:
            path.write_bytes(content)
    path = folder / "furniture.csv"
    messy_frame(rows, seed).to_csv(path, sep=";", index=False, encoding="utf-8-sig")
    return path
