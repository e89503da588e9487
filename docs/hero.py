"""Draw the picture of README and of the documentation's first page: search for emoji across modalities.

python docs/hero.py     # two and a half minutes of one core; needs commlearn[encoders]
"""

from __future__ import annotations

import io
from pathlib import Path

import matplotlib

matplotlib.use("agg")
import matplotlib.pyplot as plt
import pandas as pd
from PIL import Image

import commlearn as cl
from commlearn.search import Searcher

HERE = Path(__file__).parent
DATA = HERE.parent / "examples" / "data"
SIDE, ACROSS = 32, 40  # pixels per side of a picture, pictures in a row of the sheet
# Chosen because their search succeeds; `main` prints the share of all that do.
NAMES = ["green apple", "purple heart", "mountain", "mans shoe", "wine glass"]
PICTURES = ["umbrella with rain drops", "snowman", "trolleybus", "third place medal", "speedboat"]
INK = {"light": ("#1f2328", "#59636e"), "dark": ("#f0f6fc", "#9198a1")}  # main text, secondary text
FRAME = "#d97706"
HITS = 10  # an answer counts as found if it is among this many first hits


def emoji() -> pd.DataFrame:
    """Read names, categories and pictures, each of which is the bytes of a PNG file."""
    table = pd.read_csv(DATA / "emoji.csv", keep_default_na=False)
    sheet = Image.open(DATA / "emoji.png").convert("RGB")
    table["picture"] = [_cut(sheet, number) for number in range(len(table))]
    return table


def _cut(sheet: Image.Image, number: int) -> bytes:
    left, top = number % ACROSS * SIDE, number // ACROSS * SIDE
    content = io.BytesIO()
    sheet.crop((left, top, left + SIDE, top + SIDE)).save(content, format="PNG")
    return content.getvalue()


def share_of_hits(searcher: Searcher, table: pd.DataFrame, by: str) -> float:
    """Return the share of records that are among the first hits of a search by their own cell of `by`."""
    hits = [list(searcher.similar({by: cell}, k=HITS)["row"]) for cell in table[by]]
    return sum(row in some for row, some in enumerate(hits)) / len(table)


def draw(
    table: pd.DataFrame, pictures: dict[int, list[int]], names: dict[int, list[int]], ink: tuple[str, str]
):
    """Draw names with the pictures that they find, and pictures with names; the right answer is marked."""
    figure = plt.figure(figsize=(8.4, 3.5), dpi=200)
    figure.text(0.005, 0.94, "search by name", color=ink[1], fontsize=10)
    figure.text(0.645, 0.94, "search by picture", color=ink[1], fontsize=10)
    for line, (row, hits) in enumerate(pictures.items()):
        figure.text(0.005, 0.81 - 0.18 * line, table["name"][row], color=ink[0], fontsize=12, va="center")
        for place, hit in enumerate(hits):
            _tile(figure, table["picture"][hit], (0.155 + 0.074 * place, 0.735 - 0.18 * line), hit == row)
    for line, (row, hits) in enumerate(names.items()):
        _tile(figure, table["picture"][row], (0.645, 0.735 - 0.18 * line), False)
        for place, hit in enumerate(hits):
            colour, weight = (FRAME, "bold") if hit == row else (ink[1], "normal")
            where = 0.73, 0.865 - 0.18 * line - 0.052 * place
            figure.text(*where, table["name"][hit], color=colour, weight=weight, fontsize=9.5, va="center")
    return figure


def _tile(figure, content: bytes, corner: tuple[float, float], framed: bool) -> None:
    axes = figure.add_axes((*corner, 0.0625, 0.15), facecolor="white")
    axes.imshow(Image.open(io.BytesIO(content)), interpolation="lanczos")
    axes.set(xticks=[], yticks=[])
    for spine in axes.spines.values():
        spine.set(color=FRAME if framed else "white", linewidth=2.5 if framed else 1)


def main() -> None:
    """Train on every other emoji, search among the rest, draw, and print how often the search succeeds."""
    table = emoji()
    seen, unseen = table.iloc[::2], table.iloc[1::2].reset_index(drop=True)
    schema = cl.Schema({"picture": cl.Image("picture"), "name": cl.Text("name")})
    model = cl.Embedder(schema).fit(seen)
    by_name = Searcher(model, unseen, by="name", modalities="picture")
    by_picture = Searcher(model, unseen, by="picture", modalities="name")
    for searcher, by in ((by_name, "name"), (by_picture, "picture")):
        share = share_of_hits(searcher, unseen, by)
        print(f"by {by}: {100 * share:.0f} % of {len(unseen)} among the first {HITS}")
    print(f"chance: {100 * HITS / len(unseen):.1f} %")
    row_of = {name: row for row, name in enumerate(unseen["name"])}
    pictures = {row_of[name]: list(by_name.similar({"name": name}, k=6)["row"]) for name in NAMES}
    cells = {row_of[name]: unseen["picture"][row_of[name]] for name in PICTURES}
    names = {row: list(by_picture.similar({"picture": cell}, k=3)["row"]) for row, cell in cells.items()}
    for theme, ink in INK.items():
        content = io.BytesIO()
        draw(unseen, pictures, names, ink).savefig(content, transparent=True)
        small = Image.open(content).quantize(256, method=Image.Quantize.FASTOCTREE)
        small.save(HERE / "images" / f"hero-{theme}.png", optimize=True)


if __name__ == "__main__":
    main()
