"""Augmentation of sequences, tables and vectors: what changes and what must not."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from commlearn.augmentations.image import ImageAugmentation
from commlearn.augmentations.sequence import SequenceAugmentation, TextAugmentation, TokenDropout
from commlearn.augmentations.tabular import Noise, TabularAugmentation, VectorAugmentation
from commlearn.batch import Modality, Spec
from commlearn.errors import ConfigurationError

BATCH, LENGTH = 400, 20
NOTHING = {"drop_probability": 0.0, "noise_probability": 0.0}


def augment(augmentation, modality, spec=None, seed=0):
    return augmentation(modality, torch.Generator().manual_seed(seed), spec)


@pytest.fixture
def modality(generator):
    lengths = torch.randint(1, LENGTH + 1, (BATCH,), generator=generator)
    padding = torch.arange(LENGTH) >= lengths[:, None]
    values = 1 + torch.rand(BATCH, LENGTH, 2, generator=generator)
    return Modality(values.masked_fill(padding[..., None], 0.0), padding)


def test_with_everything_off_a_sequence_stays_as_it_is(modality):
    assert torch.equal(augment(SequenceAugmentation(**NOTHING), modality).values, modality.values)


@pytest.mark.parametrize("crop", [1.0, 0.5])
def test_padding_stays_padding_whatever_lies_under_it(modality, crop):
    junk = modality.values.masked_fill(modality.padding[..., None], float("nan"))
    changed = augment(SequenceAugmentation(crop=crop), modality.with_values(junk))
    assert torch.equal(changed.padding, modality.padding)
    assert changed.values.isfinite().all()
    assert changed.values[modality.padding].abs().sum() == 0


def test_half_of_the_records_lose_up_to_four_fifths_of_their_steps_and_never_all(modality):
    values = augment(SequenceAugmentation(noise_probability=0.0), modality).values
    real = ~modality.padding
    lost = ((values == 0).all(dim=2) & real).sum(dim=1)
    share = lost / real.sum(dim=1)
    assert ((values == modality.values) | (values == 0)).all()
    assert share.max() <= 0.8
    long = real.sum(dim=1) >= 10
    assert (lost[long] > 0).float().mean() == pytest.approx(0.47, abs=0.1)
    assert share[long & (lost > 0)].mean() == pytest.approx(0.4, abs=0.04)
    assert len(lost[long].unique()) > 5  # each record has its own draw


def test_half_of_the_records_get_noise(modality):
    values = augment(SequenceAugmentation(drop_probability=0.0), modality).values
    change = (values - modality.values)[~modality.padding]
    noisy = ((values != modality.values).flatten(1).any(dim=1)).float().mean()
    assert noisy == pytest.approx(0.5, abs=0.08)
    assert change[change != 0].std() == pytest.approx(0.1, abs=0.01)


def test_a_crop_stretches_a_part_in_its_order():
    steps = torch.arange(100.0).expand(50, 100)[..., None]
    padding = torch.arange(100) >= 80
    modality = Modality(steps, padding.expand(50, 100))
    values = augment(SequenceAugmentation(crop=0.5, **NOTHING), modality).values[:, :80, 0]
    assert (values.diff(dim=1) >= 0).all()
    assert values.max() < 80
    span = values[:, -1] - values[:, 0]
    assert span.min() >= 38
    assert span.max() > 65
    assert len(values[:, 0].unique()) > 10


@settings(max_examples=30, deadline=None)
@given(
    length=st.integers(1, 6),
    real=st.integers(0, 6),
    drop=st.floats(0, 1),
    crop=st.floats(0.01, 1),
    seed=st.integers(0, 99),
)
def test_any_record_keeps_a_step_and_its_padding(length, real, drop, crop, seed):
    padding = torch.arange(length).expand(3, length) >= real
    values = torch.ones(3, length, 2).masked_fill(padding[..., None], 0.0)
    augmentation = SequenceAugmentation(drop, 1.0, 0.0, 0.0, crop)
    changed = augment(augmentation, Modality(values, padding), seed=seed)
    assert torch.equal(changed.padding, padding)
    assert changed.values[padding].abs().sum() == 0
    if real:
        assert (changed.values.sum(dim=(1, 2)) > 0).all()


TABLE = Spec("tabular", (2, 4, 3))


def table(records=2000):
    generator = torch.Generator().manual_seed(3)
    numbers = torch.randn(records, 2, generator=generator)
    codes = torch.cat([torch.full((records, 1), 3.0), torch.full((records, 1), 2.0)], dim=1)
    return Modality(torch.cat([numbers, codes], dim=1))


def test_noise_goes_to_numbers_and_codes_stay_codes():
    cells = table()
    values = augment(TabularAugmentation(mask=0.0), cells, TABLE).values
    assert torch.equal(values[:, 2:], cells.values[:, 2:])
    assert (values - cells.values)[:, :2].std() == pytest.approx(0.1, abs=0.01)


def test_a_share_of_the_cells_becomes_missing_but_never_all_known_ones():
    cells = table()
    values = augment(TabularAugmentation(std=0.0, mask=0.9), cells, TABLE).values
    numbers, codes = values[:, :2], values[:, 2:]
    masked = torch.cat([numbers.isnan(), codes == 0], dim=1)
    assert masked.float().mean() == pytest.approx(0.75, abs=0.03)  # at most 3 of 4
    assert not masked.all(dim=1).any()
    observed = torch.where(masked, cells.values, values)
    assert torch.equal(observed, cells.values)
    light = augment(TabularAugmentation(std=0.0), cells, TABLE).values
    assert (light[:, 2:] == 0).float().mean() == pytest.approx(0.2, abs=0.03)


def test_the_only_known_cell_of_a_record_stays():
    cells = torch.tensor([[float("nan"), 0.5, 0.0, 0.0], [float("nan")] * 2 + [0.0, 2.0]]).repeat(50, 1)
    values = augment(TabularAugmentation(std=0.0, mask=0.95), Modality(cells), TABLE).values
    torch.testing.assert_close(values, cells, equal_nan=True)


def test_a_record_that_is_absent_stays_absent():
    cells = Modality(torch.tensor([[float("nan"), 0.0]]), present=torch.tensor([False]))
    changed = augment(TabularAugmentation(), cells, Spec("tabular", (1, 3)))
    assert changed.present.tolist() == [False]
    assert changed.values[0, 0].isnan()


def test_vectors_get_noise_and_lose_features_but_not_all():
    values = torch.ones(2000, 3)
    changed = augment(VectorAugmentation(drop=0.9), Modality(values)).values
    assert (changed != 0).any(dim=1).all()
    light = augment(VectorAugmentation(), Modality(values)).values
    assert (light == 0).float().mean() == pytest.approx(0.2, abs=0.03)
    assert light[light != 0].std() == pytest.approx(0.1, abs=0.01)


@pytest.mark.parametrize(
    "augmentation", [SequenceAugmentation(crop=0.5), TabularAugmentation(), VectorAugmentation()]
)
def test_the_generator_alone_decides(augmentation):
    values = torch.rand(5, 6, 2) if isinstance(augmentation, SequenceAugmentation) else torch.rand(5, 6)
    first, again, other = (augment(augmentation, Modality(values), seed=seed).values for seed in (0, 0, 1))
    torch.testing.assert_close(first, again, equal_nan=True, rtol=0, atol=0)
    assert not torch.allclose(first, other, equal_nan=True)


@pytest.mark.parametrize(
    ("augmentation", "settings"),
    [
        (SequenceAugmentation, {"drop": 1.5}),
        (SequenceAugmentation, {"std": -1}),
        (TabularAugmentation, {"mask": 1}),
        (TabularAugmentation, {"std": float("nan")}),
        (VectorAugmentation, {"drop": -1}),
        (VectorAugmentation, {"swap": 2}),
        (Noise, {"std": -0.1}),
        (TextAugmentation, {"mask": 2}),
        (TextAugmentation, {"dropout": -1}),
        (TokenDropout, {"most": 1.1}),
        (ImageAugmentation, {"size": -4}),
        (ImageAugmentation, {"scale": [-1, 1]}),
        (ImageAugmentation, {"scale": (0.5, 1.5)}),
        (ImageAugmentation, {"ratio": [0, 1]}),
        (ImageAugmentation, {"ratio": [2, 1]}),
        (ImageAugmentation, {"sigma": [2.0]}),
        (ImageAugmentation, {"brightness": -1}),
        (ImageAugmentation, {"flip": 2}),
    ],
)
def test_settings_that_do_not_fit_are_refused(augmentation, settings):
    (name,) = settings
    with pytest.raises(ConfigurationError, match=f"{name} is "):
        augmentation(**settings)


def test_what_was_not_observed_gets_no_noise():
    generator = torch.Generator().manual_seed(0)
    marks = (torch.rand(50, 20, 2, generator=generator) < 0.7).float()
    values = torch.cat([torch.randn(50, 20, 2, generator=generator) * marks, marks], dim=2)
    padding = torch.zeros(50, 20, dtype=torch.bool)
    padding[:, 15:] = True
    series = Modality(values.masked_fill(padding[..., None], 0.0), padding)
    changed = augment(SequenceAugmentation(drop_probability=0, noise_probability=1), series).values[:, :15]
    assert torch.equal(changed[..., 2:], marks[:, :15])
    assert (changed[..., :2][marks[:, :15] == 0] == 0).all()
    assert (changed[..., :2] != series.values[:, :15, :2])[marks[:, :15] == 1].all()
