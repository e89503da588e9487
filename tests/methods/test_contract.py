"""The contract of every method, with 2 and 3 modalities, complete and with gaps."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from commlearn.augmentations import ImageAugmentation, Noise, make_batch
from commlearn.batch import Modality, Spec
from commlearn.errors import ConfigurationError
from commlearn.methods import METHODS
from commlearn.methods.base import Method
from commlearn.models.build import build_encoders
from commlearn.records import ImageColumn, Records, VectorColumn
from commlearn.seeds import SeededDraws, may_draw
from commlearn.trained.embed import embed

SPECS = {"image": Spec("image", (3, 32, 32)), "vector": Spec("vector", (6,)), "other": Spec("vector", (4,))}
AUGMENTATIONS = {"image": ImageAugmentation(size=24), "vector": Noise(), "other": Noise()}  # smaller crops
RECORDS = 6


def specs(count: int) -> dict[str, Spec]:
    return dict(list(SPECS.items())[:count])


def view(count: int, gaps: bool = False, seed: int = 0) -> dict[str, Modality]:
    generator = torch.Generator().manual_seed(seed)
    made = {}
    for number, (name, spec) in enumerate(specs(count).items()):
        present = None
        if gaps and number < 2:
            present = torch.ones(RECORDS, dtype=torch.bool)
            present[number] = False
        made[name] = Modality(torch.rand(RECORDS, *spec.shape, generator=generator), present=present)
    return made


def build(name: str, count: int, seed: int = 0) -> Method:
    torch.manual_seed(seed)
    return METHODS[name].build(build_encoders(specs(count), 16, {}), 16)


def batch_for(method: Method, count: int, gaps: bool = False):
    targets = {"label": torch.arange(RECORDS) % 2} if method.views.targets else {}
    return make_batch(
        view(count, gaps),
        targets,
        AUGMENTATIONS,
        torch.Generator().manual_seed(1),
        method.views.plain,
        method.views.augmented,
        specs(count),
    )


def takes(name: str, count: int) -> bool:
    fewest, most = METHODS[name].modality_count
    return fewest <= count and (most is None or count <= most)


every_method = pytest.mark.parametrize("name", METHODS)
two_and_three = pytest.mark.parametrize(
    ("name", "count"), [(name, count) for name in METHODS for count in (2, 3) if takes(name, count)]
)
complete_and_gaps = pytest.mark.parametrize("gaps", [False, True])


@two_and_three
@complete_and_gaps
def test_steps_are_finite_and_every_parameter_learns(name, count, gaps):
    method = build(name, count)
    groups = method.parameter_groups()
    touched = set()
    steps = method.steps(batch_for(method, count, gaps))
    for _ in range(method.steps_per_batch):
        step = next(steps)
        assert step.group in groups
        assert step.loss.isfinite()
        assert step.terms
        assert all(term.ndim == 0 for term in step.terms.values())
        assert set(step.accuracy) <= set(step.terms)
        method.zero_grad()
        step.loss.backward()
        touched |= {id(p) for p in groups[step.group] if p.grad is not None and p.grad.abs().sum() > 0}
        assert all(p.grad.isfinite().all() for p in method.parameters() if p.grad is not None)
    missing = [key for key, p in method.named_parameters() if p.requires_grad and id(p) not in touched]
    assert not missing
    assert next(steps, None) is None


@every_method
def test_a_method_draws_where_it_says_so_and_nowhere_else(name):
    method, draws = build(name, 2), SeededDraws(0)
    with draws:
        list(method.steps(batch_for(method, 2)))
    assert bool(draws.generators) == may_draw(method)


@two_and_three
def test_any_subset_embeds_and_depends_on_its_modalities_alone(name, count):
    method, here = build(name, count).eval(), view(count)
    names = list(here)
    for size in range(1, count + 1):
        subset = names[:size]
        embedding = method.embed(here, subset)
        assert embedding.shape[0] == RECORDS
        others = {key: view(count, seed=9)[key] if key not in subset else here[key] for key in names}
        torch.testing.assert_close(method.embed(others, subset), embedding)
        torch.testing.assert_close(method.embed({key: here[key] for key in subset}, subset), embedding)
        torch.testing.assert_close(method.embed(here, subset[::-1]), embedding)
        changed = {**here, subset[-1]: view(count, seed=9)[subset[-1]]}
        assert not torch.allclose(method.embed(changed, subset), embedding)


@two_and_three
@complete_and_gaps
def test_tokens_in_place_of_modalities_embed_equally(name, count, gaps):
    method = build(name, count).eval()
    records = view(count, gaps)
    encoded = method.encode(records)
    with torch.no_grad():
        for parameter in method.encoders.parameters():
            parameter.zero_()  # encoding again would change the embedding
    for subset in (None, ["image"], ["image", "vector"]):
        assert torch.equal(method.embed(encoded, subset), build(name, count).eval().embed(records, subset))


@every_method
def test_images_that_many_records_show_embed_as_if_each_had_its_own(name):
    method = build(name, 2)
    draw = np.random.default_rng(0)
    images = draw.integers(256, size=(5, 32, 32, 3)).astype(np.uint8)
    numbers = draw.integers(5, size=40)
    vectors = VectorColumn(draw.normal(size=(40, 6)).astype(np.float32))
    repeated = Records({"image": ImageColumn(images, numbers), "vector": vectors})
    copied = Records({"image": ImageColumn(images[numbers], np.arange(40)), "vector": vectors})
    backwards = np.arange(39, 4, -1)
    for subset in (None, ["image"]):
        for some, same in ((repeated, copied), (repeated.choose(backwards), copied.choose(backwards))):
            np.testing.assert_allclose(embed(method, some, subset), embed(method, same, subset), atol=1e-5)
    assert not len(embed(method, repeated.choose(np.zeros(0, dtype=np.int64))))


@two_and_three
def test_what_lies_under_an_absent_modality_has_no_influence(name, count):
    method, here = build(name, count).eval(), view(count, gaps=True)
    before = method.embed(here)
    values = here["image"].values.clone()
    values[~here["image"].present] = float("nan")
    torch.testing.assert_close(method.embed({**here, "image": here["image"].with_values(values)}), before)


@two_and_three
def test_a_fresh_instance_that_loads_the_state_embeds_equally(name, count):
    method, fresh = build(name, count).eval(), build(name, count, seed=5).eval()
    assert not torch.equal(method.embed(view(count)), fresh.embed(view(count)))
    fresh.load_state_dict(method.state_dict())
    assert torch.equal(method.embed(view(count)), fresh.embed(view(count)))


@every_method
def test_a_record_embeds_alone_as_in_company(name):
    method, here = build(name, 2).eval(), view(2)
    alone = {key: modality.apply(lambda tensor: tensor[:1]) for key, modality in here.items()}
    torch.testing.assert_close(method.embed(alone), method.embed(here)[:1], atol=1e-5, rtol=1e-5)


@every_method
def test_unknown_missing_and_no_modalities_are_named(name):
    method, here = build(name, 2), view(2)
    with pytest.raises(ConfigurationError, match="'imagee', did you mean 'image'"):
        method.embed(here, ["imagee"])
    with pytest.raises(ConfigurationError, match="'vector' is not in the data"):
        method.embed({"image": here["image"]})
    with pytest.raises(ConfigurationError, match="at least one modality"):
        method.embed(here, [])


@every_method
def test_descent_lowers_each_players_loss_of_the_same_batch(name):
    groups = build(name, 2).parameter_groups()
    for player in groups:
        method = build(name, 2)
        batch = batch_for(method, 2)
        optimizer = torch.optim.Adam(method.parameter_groups()[player], lr=1e-3)
        losses = []
        for _ in range(8):
            torch.manual_seed(0)  # the same dropout and masks each time
            for step in method.steps(batch):
                if step.group == player:
                    losses.append(step.loss.item())
                    optimizer.zero_grad()
                    step.loss.backward()
                    optimizer.step()
        assert losses[-1] < losses[0]


@pytest.mark.parametrize(
    ("name", "count"), [(name, count) for name in METHODS for count in (1, 3) if not takes(name, count)]
)
def test_a_number_of_modalities_that_a_method_cannot_take_is_named(name, count):
    with pytest.raises(ConfigurationError, match=rf"needs .* modalities; the data have {count} \("):
        build(name, count)
