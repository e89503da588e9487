"""Fixed features: finite for any input, the same after loading, and equal to slow implementations."""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Hashable
from dataclasses import dataclass
from itertools import combinations, pairwise

import numpy as np
import pandas as pd
import pytest
import torch
import torch.nn.functional as F
from sklearn.linear_model import LogisticRegression
from torch import Tensor

from commlearn.batch import Modality, Spec
from commlearn.kinds.base import Cells
from commlearn.kinds.text import Sentences, Text, Tokenizer
from commlearn.models.features import DIMENSIONS, FixedFeatures, MiniRocket
from commlearn.models.features.networks import MINILM
from commlearn.models.features.pictures import (
    LEAST_LIKENESS,
    PATCH_SIDE,
    STRIDE,
    shown_patches,
    typical_patches,
)
from commlearn.models.features.raw import Sample, Table, Words
from commlearn.records import Chosen, Drawn, Sequences, VectorColumn

LENGTH = 12


@dataclass(frozen=True)
class Given:
    """A column that holds a modality of all records in memory."""

    spec: Spec
    modality: Modality

    def __len__(self) -> int:
        return len(self.modality)

    def take(self, rows: np.ndarray) -> Modality:
        return self.modality.apply(lambda values: values[torch.from_numpy(rows)])


def drawn(kind: str, rows: int, seed: int = 0) -> Given:
    """Return random records of a kind; every fifth is absent, and texts and series differ in length."""
    generator = torch.Generator().manual_seed(seed)
    present = torch.arange(rows) % 5 != 4
    padding = torch.arange(LENGTH) >= torch.randint(1, LENGTH + 1, (rows, 1), generator=generator)
    if kind == "image":
        values = torch.randint(0, 256, (rows, 3, 10, 7), generator=generator).byte()
        return Given(Spec(kind, (3, 10, 7)), Modality(values, None, present))
    if kind == "text":
        values = torch.randint(2, 300, (rows, LENGTH), generator=generator)
        return Given(Spec(kind, (300,)), Modality(values, padding, present))
    if kind == "tabular":
        numbers = torch.randn(rows, 3, generator=generator)
        numbers[numbers > 1] = torch.nan
        codes = torch.randint(0, 4, (rows, 1), generator=generator)
        return Given(Spec(kind, (3, 4)), Modality(torch.cat([numbers, codes], dim=1), None, present))
    if kind == "vector":
        values = torch.randn(rows, 300, generator=generator)
        return Given(Spec(kind, (300,)), Modality(values, None, present))
    values = torch.randn(rows, LENGTH, 2, generator=generator)
    values[values > 1.5] = torch.nan
    return Given(Spec(kind, (2,)), Modality(values, padding, present))


KINDS = ("image", "text", "tabular", "vector", "series", "audio")


@pytest.mark.parametrize("kind", KINDS)
def test_a_fresh_module_that_loads_the_state_computes_the_same(kind: str) -> None:
    column = drawn(kind, 60)
    learned = FixedFeatures(column.spec).learn(column, 0)
    fresh = torch.nn.ModuleDict({"inside": FixedFeatures(column.spec)})
    state = torch.nn.ModuleDict({"inside": learned}).state_dict()
    assert torch.equal(state["inside.kept"], learned.varying)  # its name in files of features
    fresh.load_state_dict(state)
    assert fresh["inside"].dim == learned.dim
    assert torch.equal(fresh["inside"](column.modality), learned(column.modality))


@pytest.mark.parametrize("kind", KINDS)
def test_same_rows_and_seed_give_the_same_features_and_absent_rows_are_zero(kind: str) -> None:
    column = drawn(kind, 60)
    first, second = (FixedFeatures(column.spec).learn(column, 3)(column.modality) for _ in range(2))
    assert torch.equal(first, second)
    assert first.dtype == torch.float32
    assert not first[4::5].any()
    assert first[:4].abs().sum(dim=1).min() > 0
    there = first[column.modality.present]
    assert there.var(dim=0, correction=0).sum().item() == pytest.approx(first.shape[1], rel=0.1)


@pytest.mark.parametrize("kind", ["text", "series", "audio"])
def test_what_lies_under_padding_and_beyond_it_changes_nothing(kind: str) -> None:
    column = drawn(kind, 40)
    modality, padding = column.modality, column.modality.padding
    learned = FixedFeatures(column.spec).learn(column, 0)
    values = modality.values.clone()
    values[padding] = 7
    longer = torch.cat([values, values], dim=1)
    more = torch.cat([padding, torch.ones_like(padding)], dim=1)
    same = learned(Modality(longer, more, modality.present))
    torch.testing.assert_close(same, learned(modality), atol=1e-4, rtol=1e-4)
    changed = Given(column.spec, Modality(values, padding, modality.present))
    torch.testing.assert_close(FixedFeatures(column.spec).learn(changed, 0)(modality), learned(modality))


@pytest.mark.parametrize("kind", KINDS)
def test_features_do_not_depend_on_the_rest_of_a_batch(kind: str) -> None:
    column = drawn(kind, 40)
    learned = FixedFeatures(column.spec).learn(column, 0)
    alone = torch.cat([learned(column.take(np.array([row]))) for row in range(len(column))])
    torch.testing.assert_close(alone, learned(column.modality), atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("rows", [1, 30])
@pytest.mark.parametrize("kind", KINDS)
def test_few_rows_suffice(kind: str, rows: int) -> None:
    column, others = drawn(kind, rows), drawn(kind, 20, seed=1)
    features = FixedFeatures(column.spec).learn(column, 0)(others.modality)
    assert features.isfinite().all()
    assert 1 <= features.shape[1] <= DIMENSIONS


@pytest.mark.parametrize("kind", KINDS)
def test_a_modality_that_no_training_row_has(kind: str) -> None:
    column = drawn(kind, 20)
    modality = column.modality
    none = Given(column.spec, Modality(modality.values, modality.padding, torch.zeros(20, dtype=torch.bool)))
    assert FixedFeatures(column.spec).learn(none, 0)(modality).isfinite().all()


BAD = {
    "constant vector": (Spec("vector", (3,)), torch.ones(30, 3)),
    "one huge number": (
        Spec("vector", (2,)),
        torch.randn(30, 2).index_put((torch.tensor(3),), torch.tensor(3e38)),
    ),
    "infinite": (Spec("vector", (2,)), torch.full((30, 2), torch.inf)),
    "cells that are all missing": (Spec("tabular", (2,)), torch.full((30, 2), torch.nan)),
    "gaps alone": (Spec("series", (2,)), torch.full((30, 5, 2), torch.nan)),
    "one step": (Spec("series", (2,)), torch.randn(30, 1, 2)),
    "one huge step": (
        Spec("series", (1,)),
        torch.randn(30, 9, 1).index_put((torch.tensor(3),), torch.tensor(3e38)),
    ),
    "constant series": (Spec("audio", (2,)), torch.ones(30, 20, 2)),
    "images of one pixel": (Spec("image", (3, 1, 1)), torch.randint(0, 256, (30, 3, 1, 1)).byte()),
    "images all alike": (Spec("image", (1, 5, 90)), torch.full((30, 1, 5, 90), 9).byte()),
    "one word": (Spec("text", (9,)), torch.full((30, 4), 5)),
    "many columns": (Spec("vector", (20_000,)), torch.randn(40, 20_000)),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_gives_finite_features(case: str) -> None:
    spec, values = BAD[case]
    column = Given(spec, Modality(values))
    assert FixedFeatures(spec).learn(column, 0)(column.modality).isfinite().all()


@pytest.mark.parametrize("words", ["same", "the cat sat on the mat"])
def test_texts_that_are_all_alike_have_features_of_zero_in_any_batch(words: str) -> None:
    cells = Cells(pd.DataFrame({"x": [words] * 30}))
    column = Text("x").read(cells, Text("x").learn(cells))
    learned = FixedFeatures(column.spec, networks=False).learn(column, 0)
    for rows in (np.arange(30), np.arange(7), np.arange(1)):  # products of other sizes are rounded otherwise
        assert not learned(column.take(rows)).any()


def test_a_huge_number_does_not_drown_the_others() -> None:
    values = torch.randn(100, 2, generator=torch.Generator().manual_seed(0))
    spoilt = values.clone()
    spoilt[0, 0] = 1e30
    column = Given(Spec("vector", (2,)), Modality(spoilt))
    features = FixedFeatures(column.spec).learn(column, 0)(column.modality)
    assert features[1:, 0].std() > 0.2


def test_a_column_that_varies_in_few_rows_is_not_blown_up() -> None:
    values = torch.randn(2000, 3, generator=torch.Generator().manual_seed(0))
    values[:, 2] = 0
    values[0, 2] = 1e-3
    column = Given(Spec("vector", (3,)), Modality(values))
    assert FixedFeatures(column.spec).learn(column, 0)(column.modality)[:, 2].abs().max() < 0.1


def test_gaps_that_the_kind_marks_are_filled_with_what_was_observed_last() -> None:
    generator = torch.Generator().manual_seed(0)
    values = torch.randn(50, 20, 2, generator=generator)
    seen = torch.rand(50, 20, 2, generator=generator) < 0.5
    marked = Given(Spec("series", (4,)), Modality(torch.cat([values * seen, seen.float()], dim=2)))
    gaps = Given(Spec("series", (2,)), Modality(values.masked_fill(~seen, torch.nan)))
    one, other = (FixedFeatures(column.spec).learn(column, 0)(column.modality) for column in (marked, gaps))
    torch.testing.assert_close(one, other)


def sporadic(share: float, rows: int = 60) -> Given:
    """Return series of two channels in which this share is observed, with gaps marked as `cl.Series` does."""
    generator = torch.Generator().manual_seed(0)
    seen = torch.rand(rows, 20, 2, generator=generator) < share
    values = torch.randn(rows, 20, 2, generator=generator) * torch.tensor([1.0, 30.0]) * seen
    padding = torch.arange(20) >= torch.randint(1, 21, (rows, 1), generator=generator)
    return Given(Spec("series", (4,)), Modality(torch.cat([values, seen.float()], dim=2), padding))


def test_series_of_which_most_was_never_observed_have_statistics_alone_as_a_slow_loop_has_them() -> None:
    column = sporadic(0.2)
    features = FixedFeatures(column.spec).learn(column, 0)
    (fast,) = features.raw(column.modality)
    centre, scale = features.raw.centre.numpy(), features.raw.scale.numpy()
    values, padding = column.modality.values.numpy(), column.modality.padding.numpy()
    for row in range(len(values)):
        length = int((~padding[row]).sum())
        expected = [_channel(values[row, :length], channel, centre, scale) for channel in (0, 1)]
        by_channel = torch.cat([fast[row, :18], fast[row, 19:]]).view(12, 2).T  # column 18 is the length
        torch.testing.assert_close(
            by_channel, torch.tensor(expected), check_dtype=False, atol=1e-4, rtol=1e-4
        )


def _channel(steps: np.ndarray, channel: int, centre: np.ndarray, scale: np.ndarray) -> list[float]:
    """Return the features of one channel of one series, computed step by step."""
    seen = [place for place in range(len(steps)) if steps[place, 2 + channel] == 1]
    scaled = [(steps[place, channel] - centre[channel]) / scale[channel] for place in seen]
    drawn_in = [np.sign(value) * np.log1p(min(abs(value), 10)) for value in scaled]
    if not seen:
        return [0.0] * 12
    mean, time = np.mean(drawn_in), [2 * place / max(len(steps) - 1, 1) - 1 for place in seen]
    spread = max(sum((one - np.mean(time)) ** 2 for one in time), 1e-3)
    slope = (
        sum((one - np.mean(time)) * (value - mean) for one, value in zip(time, drawn_in, strict=True))
        / spread
    )
    latest = [
        0.0 if place < seen[0] else drawn_in[sum(one <= place for one in seen) - 1]
        for place in range(len(steps))
    ]
    change = np.abs(np.diff(latest)).mean() if len(steps) > 1 else 0.0
    ends = [min(drawn_in), max(drawn_in), drawn_in[0], drawn_in[-1]]
    unusual = [abs(mean), abs(drawn_in[-1]), 1.0]
    return [mean, np.std(drawn_in), *ends, slope, change, len(seen) / len(steps), *unusual]


def test_a_curve_with_gaps_is_still_read_by_minirocket() -> None:
    column = sporadic(0.8)
    rocket, _ = FixedFeatures(column.spec).learn(column, 0).raw(column.modality)
    assert rocket.shape[1] > 1000


def test_features_of_series_saved_by_an_earlier_version_are_the_same() -> None:
    column = sporadic(0.8)
    learned = FixedFeatures(column.spec).learn(column, 0)
    earlier = {name: value for name, value in learned.state_dict().items() if name != "raw.sporadic"}
    loaded = FixedFeatures(column.spec)
    loaded.load_state_dict(earlier)
    torch.testing.assert_close(loaded(column.modality), learned(column.modality), rtol=0, atol=0)


@pytest.mark.parametrize("channels", [3, 20])
def test_minirocket_is_what_a_slow_loop_computes(channels: int) -> None:
    generator = torch.Generator().manual_seed(0)
    series = torch.randn(3, 20, channels, generator=generator, dtype=torch.float64)
    lengths = torch.tensor([20, 1, 12])
    series = series * (torch.arange(20) < lengths[:, None])[..., None]
    rocket = MiniRocket(252).learn(series, lengths, 20, 0)
    fast = rocket(series.transpose(1, 2), lengths)
    torch.testing.assert_close(fast, _slow(rocket, series, lengths), check_dtype=False)


def _slow(rocket: MiniRocket, series: Tensor, lengths: Tensor) -> Tensor:
    """Compute MiniRocket (Dempster et al., 2021) for one series, kernel, bias and step at a time."""
    rows = []
    for row, length in enumerate(lengths.tolist()):
        shares, at = [], 0
        for index, (dilation, count) in enumerate(
            zip(rocket.dilations.tolist(), rocket.counts.tolist(), strict=True)
        ):
            for kernel, twos in enumerate(combinations(range(9), 3)):
                outputs = []
                for step in range(length):
                    total = 0.0
                    for tap in range(9):
                        place = step + (tap - 4) * dilation
                        if 0 <= place < length:
                            channels = series[row, place][rocket.chosen[index, kernel]]
                            total += (2.0 if tap in twos else -1.0) * channels.sum().item()
                    outputs.append(total)
                inner = (index + kernel) % 2 == 1 and length > 8 * dilation
                outputs = outputs[4 * dilation : -4 * dilation] if inner else outputs
                for bias in rocket.biases[at : at + count].tolist():
                    shares.append(sum(output > bias for output in outputs) / len(outputs))
                at += count
        rows.append(shares)
    return torch.tensor(rows)


def test_components_keep_their_size_so_that_records_lie_as_far_apart_as_their_columns_say():
    random = np.random.default_rng(0)
    wide = random.normal(size=(120, 20)) @ random.normal(size=(20, 400)) + 0.01 * random.normal(
        size=(120, 400)
    )
    column = VectorColumn(wide.astype(np.float32))
    features = FixedFeatures(column.spec).learn(column, 0)
    records = column.take(np.arange(120))
    columns = features._standardised(records.values)
    ratio = (torch.pdist(features(records)) / torch.pdist(columns)).numpy()
    assert features.dim < 400
    assert ratio.std() < 0.01 * ratio.mean()


TEXTS = ("The runner runs.", "A running shoe", "ÉTÉ été", "", "x", "the runner's shoes: running!")


def column_of_texts(texts: tuple[str, ...], words: list[str]) -> Sentences:
    return Text("t").read(Cells(pd.DataFrame({"t": list(texts)})), {"words": words})


def slow_weights(counts: list[Counter[Hashable]]) -> np.ndarray:
    """Return the tf-idf of each text, scaled to norm 1; empty texts do not count towards the rarity."""
    within = Counter(one for own in counts for one in own)
    rarity = {one: np.log((1 + sum(map(bool, counts))) / (1 + count)) + 1 for one, count in within.items()}
    rows = np.array([[np.log1p(own[one]) * rarity[one] for one in within] for own in counts])
    return rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12)


def runs_of_letters(text: str) -> Counter[Hashable]:
    """Count runs of three to five letters of space-padded words; a shorter word counts once, as a whole."""
    runs: Counter[Hashable] = Counter()
    for word in unicodedata.normalize("NFKC", text).lower().split():
        padded = f" {word} "
        for size in (3, 4, 5):
            runs.update(padded[start : start + size] for start in range(max(len(padded) - size, 0) + 1))
            if len(padded) <= size:
                break
    return runs


def test_words_and_letters_are_weighted_as_a_slow_count_does() -> None:
    column = column_of_texts(TEXTS, ["the", "runner"])
    features = Words(column.spec)
    features.learn(Sample(column, np.arange(len(TEXTS))), 0)
    (fast,) = features(column.take(np.arange(len(TEXTS))))
    tokenizer = Tokenizer(["the", "runner"])
    ids: list[Counter[Hashable]] = [Counter(tokenizer(text)) if text else Counter() for text in TEXTS]
    words, letters = slow_weights(ids), slow_weights([runs_of_letters(text) for text in TEXTS])
    likeness = (fast @ fast.T).numpy()  # the directions span all texts, so products of pairs are unchanged
    there = [row for row, text in enumerate(TEXTS) if text]
    slow = words @ words.T + letters @ letters.T
    np.testing.assert_allclose(likeness[np.ix_(there, there)], slow[np.ix_(there, there)], atol=1e-4)


def test_a_state_says_whether_letters_are_counted() -> None:
    column = column_of_texts(TEXTS * 3, ["the"])
    rows = np.arange(len(column))
    learned = FixedFeatures(column.spec, networks=False).learn(column, 0)
    fresh = FixedFeatures(column.spec, networks=False)
    fresh.load_state_dict(learned.state_dict())
    assert torch.equal(fresh(column.take(rows)), learned(column.take(rows)))
    with pytest.raises(TypeError, match="got only token ids"):
        learned(plain(column, rows))
    ids = Given(column.spec, plain(column, rows))
    earlier = FixedFeatures(column.spec, networks=False).learn(ids, 0)  # as in models of earlier versions
    assert not any("letters" in name for name in earlier.state_dict())
    assert "letters" not in Words(column.spec, MINILM).source  # the description after loading such a state
    fresh = FixedFeatures(column.spec, networks=False)
    fresh.load_state_dict(earlier.state_dict())
    assert torch.equal(fresh(column.take(rows)), earlier(ids.modality))


def plain(column: Sentences, rows: np.ndarray) -> Modality:
    """Return the token ids without the texts."""
    taken = column.take(rows)
    return Modality(taken.values, taken.padding, taken.present)


def test_a_misspelt_word_is_like_the_word_that_was_meant(monkeypatch) -> None:
    meant = ("blue shoes", "red bicycle", "green umbrella", "small teapot", "old violin") * 30
    words = sorted({word for text in meant for word in text.split()})
    column = column_of_texts((*meant, "umbrela"), words)

    def likeness() -> Tensor:
        """Return the cosine similarity of the misspelt word to each of the five texts."""
        features = FixedFeatures(column.spec, networks=False).learn(Chosen(column, np.arange(len(meant))), 0)
        vectors = features(column.take(np.array([len(meant), 0, 1, 2, 3, 4])))
        return torch.nn.functional.cosine_similarity(vectors[:1], vectors[1:])

    assert likeness().argmax() == 2
    assert likeness()[2] > 0.5
    monkeypatch.setattr(Words, "most_letters", 0)  # count words only
    assert likeness().max() < 0.1


def test_patches_are_compared_one_by_one_as_the_convolution_does() -> None:
    column = drawn("image", 12)
    modality = Modality(column.modality.values, None)
    kernels, offset = typical_patches(Sample(column, np.arange(12)), 0)
    fast = shown_patches(modality, kernels, offset)
    pictures = modality.values.double() / 255
    height, width = pictures.shape[-2:]
    for row, picture in enumerate(pictures):
        likeness = []
        for top in range(0, height - PATCH_SIDE + 1, STRIDE):
            for left in range(0, width - PATCH_SIDE + 1, STRIDE):
                patch = picture[:, top : top + PATCH_SIDE, left : left + PATCH_SIDE]
                patch = (patch - patch.mean()) / (patch.var(correction=0) + 1e-3).sqrt()
                likeness.append((kernels.double() * patch).sum(dim=(1, 2, 3)) - offset.double())
        rows = (height - PATCH_SIDE) // STRIDE + 1
        table = torch.stack(likeness).view(rows, -1, len(kernels)).permute(2, 0, 1)
        slow = [F.adaptive_avg_pool2d((sign * table - LEAST_LIKENESS).clamp(min=0), 2) for sign in (1, -1)]
        torch.testing.assert_close(fast[row].double(), torch.cat(slow).flatten().sqrt(), atol=1e-3, rtol=1e-3)


def test_patches_tell_textures_that_have_the_same_pixels_and_colours() -> None:
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(200) % 2
    lines = (torch.arange(24) // 2 % 2 * 255).byte()
    shifts = torch.randint(4, (200,), generator=generator).tolist()
    across = [lines.roll(shift)[None, :].expand(24, 24) for shift in shifts]
    turned = [one if label else one.T for one, label in zip(across, labels.tolist(), strict=True)]
    pictures = torch.stack(turned)[:, None].expand(-1, 3, -1, -1)
    column = Given(Spec("image", (3, 24, 24)), Modality(pictures, None))
    shown = shown_patches(column.modality, *typical_patches(Sample(column, np.arange(100)), 0))
    centres = torch.stack([shown[:100][labels[:100] == label].mean(dim=0) for label in (0, 1)])
    assert (torch.cdist(shown[100:], centres).argmin(dim=1) == labels[100:]).all()


def test_parts_of_numbers_are_what_a_loop_finds_and_many_columns_have_none() -> None:
    draw = np.random.default_rng(0)
    numbers = draw.normal(size=(200, 3)).astype(np.float32)
    numbers[:, 1] = draw.integers(0, 2, 200)  # two values make one part, which would only repeat the number
    numbers[::7, 2] = np.nan
    column = Given(Spec("tabular", (3,)), Modality(torch.from_numpy(numbers)))
    raw = Table(column.spec)
    raw.learn(Sample(column, np.arange(200)), 0)
    cells, reached = raw(column.modality)
    assert cells.shape == (200, 6)
    wanted = np.zeros((200, 3, 8))
    for place in (0, 2):
        knots = np.nanquantile(numbers[:, place], np.linspace(0, 1, 9))
        for row, number in enumerate(np.nan_to_num(numbers[:, place])):
            for part, (low, high) in enumerate(pairwise(knots)):
                wanted[row, place, part] = min(max((number - low) / (high - low), 0), 1)
    reached = reached.view(200, 3, 8).numpy()
    np.testing.assert_allclose(reached[:, [0, 2]], wanted[:, [0, 2]], atol=1e-4)
    assert np.ptp(reached[:, 1], axis=0).max() == 0  # constant features, which are left out
    wide = Given(Spec("tabular", (17,)), Modality(torch.randn(50, 17)))
    plain = Table(wide.spec)
    plain.learn(Sample(wide, np.arange(50)), 0)
    assert len(plain(wide.modality)) == 1


def test_a_linear_reader_of_few_columns_follows_a_curve() -> None:
    numbers = np.random.default_rng(0).normal(size=(600, 2)).astype(np.float32)
    wanted = np.abs(numbers[:, 0]) > 0.7  # not a linear function of the column
    column = Given(Spec("tabular", (2,)), Modality(torch.from_numpy(numbers)))
    features = FixedFeatures(column.spec).learn(column, 0)(column.modality).numpy()
    reader = LogisticRegression().fit(features[:400], wanted[:400])
    assert reader.score(features[400:], wanted[400:]) > 0.9
    assert LogisticRegression().fit(numbers[:400], wanted[:400]).score(numbers[400:], wanted[400:]) < 0.7


def test_features_of_tables_saved_by_an_earlier_version_have_no_parts() -> None:
    column = drawn("tabular", 60)
    learned = FixedFeatures(column.spec).learn(column, 0)
    state = {name: value for name, value in learned.state_dict().items() if name != "raw.knots"}
    former = FixedFeatures(column.spec)
    former.load_state_dict(state)
    assert len(former.raw(column.modality)) == 1
    assert len(learned.raw(column.modality)) == 2


def test_a_sample_reads_no_record_to_see_who_is_there():
    steps = [np.ones((length, 1), np.float32) if length else None for length in (3, 2, 0, 1)]
    column = Sequences.of("series", steps, 1)

    class Watched:
        spec, present = column.spec, column.present

        def __len__(self) -> int:
            return len(column)

        def take(self, rows: np.ndarray) -> Modality:
            raise AssertionError("a record was read")

    every = np.array([3, 0, 2, 1])
    assert Sample(Chosen(Watched(), every), np.arange(4)).rows.tolist() == [0, 1, 3]
    assert Sample(Drawn(Watched(), np.array([1, 2]), np.array([1, 2])), np.arange(2)).rows.tolist() == [0]
    assert Sample(column, every).rows.tolist() == [3, 0, 1]
