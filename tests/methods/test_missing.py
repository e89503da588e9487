"""Records that lack a modality: norms and logged accuracies ignore them."""

from __future__ import annotations

import copy

import pytest
import torch
from torch.nn.modules.batchnorm import _BatchNorm

from commlearn.batch import Batch, Modality, Spec, merge
from commlearn.methods import METHODS
from commlearn.models.build import build_encoders
from commlearn.objectives import retrieval_accuracy

SPECS = {"image": Spec("image", (3, 16, 16)), "vector": Spec("vector", (6,))}
RECORDS = 20
FIFTH = torch.arange(RECORDS) % 5 == 2
NOBODY = torch.zeros(RECORDS, dtype=torch.bool)
ONE = torch.arange(RECORDS) == 7
WITH_HEADS = ("comm", "hril", "infmasking", "coral", "crossself", "simclr")

learners = pytest.mark.parametrize("name", [name for name in METHODS if not METHODS[name].views.targets])


def build(name: str):
    torch.manual_seed(0)
    encoders = build_encoders(SPECS, 16, {"image": {"name": "small_cnn"}})
    return METHODS[name].build(encoders, 16).train()


def view(present: torch.Tensor, seed: int = 1, fill: float = 0.5) -> dict[str, Modality]:
    """Return a version of the records; absent images are filled with `fill`."""
    records, draw = torch.Generator().manual_seed(0), torch.Generator().manual_seed(seed)
    images = torch.rand(RECORDS, 3, 16, 16, generator=records)
    images = images + 0.02 * torch.randn(images.shape, generator=draw)
    images[~present] = fill
    vectors = torch.randn(RECORDS, 6, generator=records)
    vectors = vectors + 0.02 * torch.randn(vectors.shape, generator=draw)
    return {"image": Modality(images, present=present), "vector": Modality(vectors)}


def batch(name: str, present: torch.Tensor, **more) -> Batch:
    views = METHODS[name].views
    plain = view(present, 9, **more) if views.plain else None
    return Batch(plain, tuple(view(present, seed, **more) for seed in range(views.augmented)))


def moments(method) -> dict[str, torch.Tensor]:
    return {key: value.clone() for key, value in method.state_dict().items() if "running" in key}


def taken(method, given: Batch):
    """Compute the gradients of each loss of a batch, as training does; return the last step."""
    for step in method.steps(given):
        step.loss.backward()
    return step


@pytest.mark.parametrize("name", WITH_HEADS)
def test_the_head_s_statistics_are_those_of_the_present_rows_alone(name):
    method = build(name)
    rows = method.represent(batch(name, FIFTH))
    head = method.head if name in ("comm", "hril", "infmasking") else method.heads["image"]
    alone = copy.deepcopy(head)
    method.project(rows)
    stacked = rows.stacked(("image",))[FIFTH.repeat(2)]
    if name in ("comm", "hril", "infmasking"):  # one head, applied to the subsets in turn
        for subset in dict.fromkeys((*method.subsets, method.modalities)):
            alone(stacked if subset == ("image",) else rows.stacked(subset))
    else:
        alone(stacked)
    for key, value in alone.state_dict().items():
        torch.testing.assert_close(head.state_dict()[key], value)


@pytest.mark.parametrize("name", ["comm", "infmasking"])
def test_the_logged_accuracy_is_that_of_the_rows_that_have_the_subset(name):
    method = build(name)
    rows = method.represent(batch(name, FIFTH))
    first, second = method.project(rows)
    second[method.modalities] = first["image",] + first["vector",]  # as if training had succeeded
    logged = method.contrast(first, second, rows).accuracy
    full = method.modalities
    expected = retrieval_accuracy(first["image",][FIFTH], second[full][FIFTH])
    assert logged["image"] == expected
    assert expected > 0.5  # over four rows; with the absent ones it would be a fifth
    assert logged["vector"] == retrieval_accuracy(first["vector",], second[full])


@learners
@pytest.mark.parametrize("fill", [0.0, 100.0])
def test_an_encoder_s_statistics_are_those_of_the_present_rows_alone(name, fill):
    method = build(name)
    alone = copy.deepcopy(method.encoders["image"])
    given = batch(name, FIFTH, fill=fill)
    method.represent(given) if name != "factorcl" else method.scored(given)
    views = {"factorcl": [(given.plain,), given.augmented]}.get(name)
    for some in views or [(given.plain,) if given.plain else given.augmented]:
        alone(Modality(merge(some)["image"].values[FIFTH.repeat(len(some))]))
    norms = {key: value for key, value in alone.state_dict().items() if "running" in key}
    assert norms
    for key, value in norms.items():
        torch.testing.assert_close(method.encoders["image"].state_dict()[key], value)


def test_tokens_of_absent_records_are_zeros_under_padding():
    method = build("comm")
    here = view(FIFTH)
    tokens = method.encode(here)["image"]
    alone = copy.deepcopy(method.encoders["image"])(Modality(here["image"].values[FIFTH]))
    torch.testing.assert_close(tokens.values[FIFTH], alone.values)
    assert (tokens.values[~FIFTH] == 0).all()
    assert torch.equal(tokens.padding, ~FIFTH[:, None].expand(tokens.values.shape[:2]))
    assert torch.equal(tokens.present, FIFTH)


@learners
@pytest.mark.parametrize("present", [NOBODY, ONE], ids=["nobody", "one"])
def test_a_modality_of_too_few_moves_no_statistics(name, present):
    method = build(name)
    before = moments(method)
    step = taken(method, batch(name, present))
    assert step.loss.isfinite()
    for key, value in moments(method).items():
        of_images = key.startswith(("encoders.image", "heads.image"))
        views = METHODS[name].views
        alone = present is NOBODY or views.plain or views.augmented == 1  # two views give two rows
        assert torch.equal(value, before[key]) or not (of_images and alone)
    for parameter in method.encoders["image"].parameters():
        learned = torch.zeros(1) if parameter.grad is None else parameter.grad
        assert learned.isfinite().all()
        assert (learned == 0).all() or present is ONE
    for parameter in method.parameters() if name == "comm" else ():
        assert parameter.grad is not None  # otherwise AdamW would differ between one rank and several


def test_one_record_of_a_map_of_one_cell_can_be_learned_from():
    """A batch norm refuses a single value per channel, which is all that such a record has."""
    torch.manual_seed(0)
    encoder = build_encoders({"image": Spec("image", (3, 32, 32))}, 8, {"image": {"name": "resnet18"}})
    method = METHODS["comm"].build(encoder, 8).train()
    images = Modality(torch.rand(3, 3, 32, 32), present=torch.tensor([False, True, False]))
    tokens = method.encode({"image": images})["image"]
    assert tokens.values.isfinite().all()
    tokens.values.square().sum().backward()
    assert all(p.grad.isfinite().all() for p in encoder["image"].parameters())


@learners
def test_records_that_all_have_it_are_as_if_nobody_had_asked(name):
    whole, asked = build(name), build(name)
    given = batch(name, torch.ones(RECORDS, dtype=torch.bool))

    def plain(part):
        return {key: Modality(modality.values) for key, modality in part.items()}

    unasked = Batch(given.plain and plain(given.plain), tuple(map(plain, given.augmented)))
    losses = []
    for method, some in ((whole, unasked), (asked, given)):
        torch.manual_seed(3)
        losses.append(taken(method, some).loss)
    torch.testing.assert_close(*losses)
    torch.testing.assert_close(moments(whole), moments(asked))


def test_in_evaluation_nothing_changes_for_absent_records():
    method = build("comm").eval()
    here = view(FIFTH)
    tokens = method.encode(here)["image"]
    torch.testing.assert_close(tokens.values, method.encoders["image"](here["image"]).values)
    assert any(isinstance(module, _BatchNorm) for module in method.encoders["image"].modules())
