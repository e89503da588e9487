"""Batches computed in parts have the gradients of the whole batch, whatever is random."""

from __future__ import annotations

import json

import pytest
import torch
from lightning_fabric import Fabric
from rank_program import CHOICES, RECORDS, batch, build, cases, gradients
from small_runs import data, experiment

from commlearn.augmentations import ImageAugmentation, Noise, make_batch, plan_batch
from commlearn.batch import Modality, Spec
from commlearn.errors import ConfigurationError
from commlearn.methods import METHODS
from commlearn.methods.base import Method
from commlearn.methods.comm import CoMM
from commlearn.methods.rows import joined
from commlearn.models.build import build_encoders
from commlearn.training.batches import cached_loss, check_cacheable, split
from commlearn.training.descent import Player
from commlearn.training.train import train

IN_PARTS = [name for name in CHOICES if METHODS[name.split()[0]].steps is Method.steps]


@pytest.fixture
def fabric() -> Fabric:
    return Fabric(accelerator="cpu", devices=1)


def test_the_library_s_own_methods_can_be_computed_in_parts():
    assert {"comm", "clip", "crossself", "cmc", "simclr", "supcon"} <= set(IN_PARTS)


@pytest.mark.parametrize("case", [case for case in cases(IN_PARTS) if case[2]], ids=str)
@pytest.mark.parametrize("size", [2, 3, 100])
def test_parts_have_the_gradients_of_the_whole(case, size, fabric):
    name, gaps, _ = case
    whole, parts = (gradients(fabric, name, gaps, parts=n) for n in (0, size))
    assert set(whole) == set(parts)
    for key, expected in whole.items():
        torch.testing.assert_close(parts[key], expected, atol=1e-9, rtol=1e-7)


def test_both_looks_at_a_part_drop_the_same(fabric):
    method = build("comm", dropout=0.5)
    player = fabric.setup(Player(method))
    pieces = split(lambda rows: batch(method, rows), RECORDS, 3)

    def seed(number: int) -> int:
        return 17 + number

    descent = cached_loss(fabric, player, method, pieces, seed)
    descent.backward()
    cached = [parameter.grad.clone() for parameter in method.parameters()]
    method.zero_grad()
    parts = []
    for number, piece in enumerate(pieces):
        torch.manual_seed(seed(number))
        parts.append(method.represent(piece()))
    method.compare(joined(parts)).loss.backward()
    for one, parameter in zip(cached, method.parameters(), strict=True):
        torch.testing.assert_close(one, parameter.grad, atol=1e-9, rtol=1e-7)
    method.zero_grad()
    torch.manual_seed(99)
    method.compare(method.represent(batch(method))).loss.backward()
    assert any(not torch.allclose(a, p.grad) for a, p in zip(cached, method.parameters(), strict=True))


def test_running_moments_count_every_part_once(fabric):
    """Those of an encoder's batch norm, and those used for the tokens next to the fused vector."""
    torch.manual_seed(0)
    specs = {name: Spec("image", (3, 32, 32)) for name in ("one", "two")}
    encoders = build_encoders(specs, 8, {"image": {"name": "small_cnn"}})
    method = CoMM.build(encoders, 8, embedding="fused+tokens").train()
    images = {name: Modality(torch.rand(4, 3, 32, 32)) for name in specs}
    plan = plan_batch(images, {}, {}, torch.Generator(), plain=False, augmented=2)
    state = {key: value.clone() for key, value in method.state_dict().items()}
    for piece in split(plan, 4, 2):
        method.represent(piece())
    once = {key: value.clone() for key, value in method.named_buffers() if not key.startswith("head")}
    for part in ("encoders.one.encoder.stack.3.running_mean", "beside.guesses.two.squares"):
        assert not torch.equal(once[part], state[part])
    assert once["beside.guesses.two.batches"] == 2
    method.load_state_dict(state)
    cached_loss(fabric, fabric.setup(Player(method)), method, split(plan, 4, 2), int).backward()
    after = dict(method.named_buffers())
    for key, value in once.items():
        torch.testing.assert_close(after[key], value, msg=key)
    assert after["head.1.num_batches_tracked"] == 3  # the whole batch, for each of three subsets


@pytest.mark.parametrize("size", [2, 3, 7])
def test_the_parts_of_a_plan_are_the_batch(size, generator):
    view = {
        "image": Modality(torch.randint(0, 256, (7, 3, 16, 16), generator=generator, dtype=torch.uint8)),
        "vector": Modality(torch.randn(7, 4, generator=generator), present=torch.arange(7) != 1),
    }
    augmentations = {"image": ImageAugmentation(), "vector": Noise()}
    arguments = (view, {"label": torch.arange(7)}, augmentations)
    whole = make_batch(*arguments, torch.Generator().manual_seed(3), plain=True, augmented=2)
    plan = plan_batch(*arguments, torch.Generator().manual_seed(3), plain=True, augmented=2)
    for _ in ("first", "second look"):
        pieces = [piece() for piece in split(plan, 7, size)]
        assert sum(map(len, pieces)) == 7
        assert min(map(len, pieces)) > 1
        for version in (0, 1):
            for name in view:
                for field in ("values", "present"):
                    parts = [getattr(piece.augmented[version][name], field) for piece in pieces]
                    expected = getattr(whole.augmented[version][name], field)
                    if expected is None:
                        assert parts == [None] * len(parts)
                    else:
                        torch.testing.assert_close(torch.cat(parts), expected)


def test_a_training_in_parts_sees_the_losses_of_the_whole(tmp_path):
    losses = {}
    for name, part in (("whole", 0), ("parts", 3)):
        train(experiment(epochs=1, log_every=1, micro_batch=part), tmp_path / name, data())
        lines = (tmp_path / name / "metrics.jsonl").read_text().splitlines()
        losses[name] = [list(json.loads(line)["terms"].values()) for line in lines]
    assert losses["parts"][0] == pytest.approx(losses["whole"][0], abs=1e-5)  # same augmentation for both
    for parts, whole in zip(losses["parts"], losses["whole"], strict=True):
        assert parts == pytest.approx(whole, abs=2e-3)  # Adam amplifies the rounding of vanishing gradients


def test_what_cannot_be_computed_in_parts_is_refused():
    class Player2(CoMM):
        def steps(self, batch):
            yield from super().steps(batch)

    method = build("comm")
    check_cacheable(method, "comm", "bf16-mixed")
    with pytest.raises(ConfigurationError, match="16-mixed"):
        check_cacheable(method, "comm", "16-mixed")
    two = Player2(dict(method.encoders), method.fusion, method.head)
    with pytest.raises(ConfigurationError, match="several steps"):
        check_cacheable(two, "two", "32-true")
    with pytest.raises(ConfigurationError, match=r"micro_batch is 1"):
        experiment(micro_batch=1)
