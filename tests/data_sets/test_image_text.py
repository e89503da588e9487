"""MM-IMDb and Hateful Memes, on folders written in exactly the published format."""

from __future__ import annotations

import json

import numpy as np
import pytest
from PIL import Image

from commlearn.datasets import READERS, check_reader
from commlearn.datasets.image_text import GENRES
from commlearn.errors import ConfigurationError, DataError
from commlearn.seeds import numpy_generator

SMALL = {"size": 32}
PLOTS = ["a quiet boat", "an angry oak tree falls", "bread in the oven"]


def films(folder, count=10):
    (folder / "dataset").mkdir(parents=True)
    draw = np.random.default_rng(0)
    for film in range(count):
        pixels = draw.integers(256, size=(40, 27, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / "dataset" / f"{film:07d}.jpeg")
        details = {"plot": PLOTS[: 1 + film % 3], "genres": ["Drama", "Sci-Fi", "Talk-Show"][film % 3 :]}
        (folder / "dataset" / f"{film:07d}.json").write_text(json.dumps(details))
    names = [f"{film:07d}" for film in range(count)]
    split = {"train": names[:6], "dev": names[6:8], "test": names[8:]}
    (folder / "split.json").write_text(json.dumps(split))
    return folder


def memes(folder, train=30, test=6):
    (folder / "img").mkdir(parents=True)
    for name, rows in (("train", range(train)), ("dev", range(train, train + test))):
        lines = []
        for row in rows:
            Image.fromarray(np.full((20, 20, 3), row, np.uint8)).save(folder / "img" / f"{row:05d}.png")
            lines.append({"id": row, "img": f"img/{row:05d}.png", "text": f"words {row}", "label": row % 2})
        (folder / f"{name}.jsonl").write_text("\n".join(map(json.dumps, lines)) + "\n")
    return folder


def read(name, path, **options):
    return READERS[name](path=str(path), image=SMALL, **options)


def words(modality, row=0):
    return modality.values[row][~modality.padding[row]].tolist()


def test_there_are_23_genres():
    assert len(set(GENRES)) == 23


def test_films_come_in_the_published_split_with_their_known_genres(tmp_path):
    data = check_reader(read("mm_imdb", films(tmp_path / "f")))
    assert [len(data.train), len(data.validation), len(data.test)] == [6, 2, 2]
    assert data.train.targets["genres"].tolist() == [("drama", "sci-fi"), ("sci-fi",), ()] * 2


def test_training_draws_a_plot_and_evaluation_takes_the_first(tmp_path):
    data = read("mm_imdb", films(tmp_path / "f")).read()
    row = np.array([2])  # a film with three plots
    first = words(data.train.view(row)["text"])
    assert first == words(data.train.view(np.array([0]))["text"])  # every film's first plot is PLOTS[0]
    generator = numpy_generator(0, "test")
    drawn = [tuple(words(data.train.view(row, generator=generator)["text"])) for _ in range(40)]
    assert len(set(drawn)) == 3
    assert min(drawn.count(plot) for plot in set(drawn)) >= 5
    one = np.array([0])
    assert all(words(data.train.view(one, generator=generator)["text"]) == first for _ in range(5))
    chosen = data.train.choose(np.array([2]))
    again = {tuple(words(chosen.view(np.array([0]), generator=generator)["text"])) for _ in range(40)}
    assert again == set(drawn)


def test_the_picture_stays_with_its_film_whatever_plot_is_drawn(tmp_path):
    data = read("mm_imdb", films(tmp_path / "f")).read()
    rows = np.arange(6)
    plain, drawn = data.train.view(rows), data.train.view(rows, generator=numpy_generator(1, "test"))
    assert plain["image"].values.equal(drawn["image"].values)
    assert len({image.numpy().tobytes() for image in plain["image"].values}) == 6


def test_words_are_learned_from_training_films_alone(tmp_path):
    one, other = films(tmp_path / "one"), films(tmp_path / "other")
    for film in range(6, 10):
        path = other / "dataset" / f"{film:07d}.json"
        path.write_text(json.dumps({"plot": ["zebra zebra zebra"], "genres": []}))
    assert read("mm_imdb", one).read().state == read("mm_imdb", other).read().state


def test_films_without_a_plot_are_left_out_and_counted(tmp_path):
    folder = films(tmp_path / "f")
    (folder / "dataset" / "0000001.json").write_text(json.dumps({"plot": [" "], "genres": ["Drama"]}))
    data = read("mm_imdb", folder).read()
    assert len(data.train) == 5
    assert data.notes == ("1 films have no plot and are left out",)


@pytest.mark.parametrize(("empty", "part"), [(range(10), "train"), (range(8, 10), "test")])
def test_a_part_without_any_film_that_has_a_plot_is_refused(tmp_path, empty, part):
    folder = films(tmp_path / "f")
    for film in empty:
        (folder / "dataset" / f"{film:07d}.json").write_text(json.dumps({"plot": [" "], "genres": []}))
    with pytest.raises(DataError, match=f"the {part} part is empty. {len(empty)} films have no plot"):
        read("mm_imdb", folder).read()


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("split.json", "{", r"split\.json is not JSON"),
        ("split.json", "[]", r"split\.json holds a list; expected {train, dev, test}"),
        ("split.json", '{"train": ["0000000"], "dev": []}', r"films under 'dev'.*\n.*under 'test'"),
        ("split.json", '{"train": ["../x"], "dev": ["0000001"], "test": ["0000002"]}', "leads out of"),
        ("split.json", '{"train": ["7"], "dev": ["0000001"], "test": ["0000002"]}', r"7\.json cannot"),
        ("dataset/0000003.json", "{}", r"dataset/0000003\.json: expected 'plot' and 'genres'"),
        ("dataset/0000003.json", '{"plot": [1], "genres": []}', "must be lists of text"),
        ("dataset/0000003.jpeg", None, r"dataset/0000003\.jpeg is missing"),
        ("dataset/0000003.jpeg", "x", r"0000003\.jpeg"),
    ],
)
def test_what_is_wrong_with_films_is_named(tmp_path, file, content, message):
    folder = films(tmp_path / "f")
    (folder / file).unlink() if content is None else (folder / file).write_text(content)
    with pytest.raises(DataError, match=message):
        read("mm_imdb", folder).read()


def test_memes_hold_validation_out_of_train_and_test_on_dev(tmp_path):
    folder = memes(tmp_path / "m")
    data = check_reader(read("hateful_memes", folder, validation=0.3))
    assert len(data.train) + len(data.validation) == 30
    assert 3 <= len(data.validation) <= 15
    assert len(data.test) == 6
    assert data.test.targets["hateful"].tolist() == [0, 1, 0, 1, 0, 1]
    assert len(read("hateful_memes", folder, validation=0.0).read().train) == 30


def test_lines_of_one_image_stay_together_wherever_they_stand(tmp_path):
    folder = memes(tmp_path / "m", train=200)

    def validates():
        data = read("hateful_memes", folder, validation=0.3).read()
        images = data.validation.columns["image"].take(np.arange(len(data.validation))).values
        assert 0.2 < len(data.validation) / (len(data.train) + len(data.validation)) < 0.4
        return sorted(int(image[0, 0, 0]) for image in images)

    before, lines = validates(), (folder / "train.jsonl").read_text().splitlines()
    (folder / "train.jsonl").write_text("\n".join(lines[::-1]))
    assert validates() == before
    (folder / "train.jsonl").write_text("\n".join([*lines, *lines]))
    assert validates() == sorted([*before, *before])


def test_a_meme_of_both_files_is_left_out_of_train(tmp_path):
    folder = memes(tmp_path / "m")
    with (folder / "train.jsonl").open("a") as file:
        file.write(json.dumps({"img": "img/00031.png", "text": "again", "label": 1}) + "\n")
    data = read("hateful_memes", folder, validation=0.0).read()
    assert len(data.train) == 30
    assert data.notes == ("train.jsonl: 1 lines show an image of dev.jsonl and are left out",)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{", r"train\.jsonl, line 31: "),
        ('{"img": "img/00001.png", "text": "x"}', r"train\.jsonl, line 31: no key 'label'"),
        ('{"img": "img/00001.png", "text": "x", "label": 3}', "label 0 or 1; got 3"),
        ('{"img": "img/none.png", "text": "x", "label": 1}', r"img/none\.png is missing"),
        ('{"img": "../secret.png", "text": "x", "label": 1}', "leads out of the data set's folder"),
        ("[]", r"train\.jsonl, line 31: .*expected {img, text, label}"),
    ],
)
def test_what_is_wrong_with_memes_is_named(tmp_path, line, message):
    folder = memes(tmp_path / "m")
    with (folder / "train.jsonl").open("a") as file:
        file.write(line + "\n")
    with pytest.raises(DataError, match=message):
        read("hateful_memes", folder).read()


def test_wrong_paths_and_shares_are_told(tmp_path):
    with pytest.raises(DataError, match="mm_imdb needs its data: set data.path"):
        read("mm_imdb", "").read()
    (tmp_path / "file").touch()
    with pytest.raises(DataError, match="is a file; hateful_memes needs the folder"):
        read("hateful_memes", tmp_path / "file").read()
    with pytest.raises(ConfigurationError, match=r"data\.validation is 1\.0"):
        read("hateful_memes", tmp_path, validation=1.0).read()
