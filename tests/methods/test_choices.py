"""CoMM's options (subsets, weights and temperature), set in code and from a configuration."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from test_contract import RECORDS, batch_for, specs, view

from commlearn.batch import choose_subsets
from commlearn.config.build import build_method
from commlearn.config.configuration import read_experiment
from commlearn.errors import ConfigurationError
from commlearn.methods.comm import CoMM
from commlearn.methods.crossself import CoMMCrossSelf, CrossSelf
from commlearn.methods.infmasking import MASKED
from commlearn.models.build import build_encoders
from commlearn.models.fusion import ConcatFusion, CrossAttentionFusion
from commlearn.models.tokens import TokenEncoder, pool
from commlearn.objectives import comm_terms, masked_contrast

NAMES = ("a", "b", "c")


def comm(count: int = 3, **options) -> CoMM:
    torch.manual_seed(0)
    return CoMM.build(build_encoders(specs(count), 16, {}), 16, **options)


@pytest.mark.parametrize(
    ("choice", "expected"),
    [
        ("each_and_all", ["a", "b", "c", "abc"]),
        ("each", ["a", "b", "c"]),
        ("all", ["abc"]),
        ("every", ["a", "b", "c", "ab", "ac", "bc", "abc"]),
        ("up_to_1", ["a", "b", "c", "abc"]),
        ("up_to_2", ["a", "b", "c", "ab", "ac", "bc", "abc"]),
        ("up_to_9", ["a", "b", "c", "ab", "ac", "bc", "abc"]),
        (f"up_to_{10**15}", ["a", "b", "c", "ab", "ac", "bc", "abc"]),
    ],
)
def test_subsets_by_name(choice, expected):
    assert ["".join(subset) for subset in choose_subsets(choice, NAMES)] == expected


def test_subsets_that_are_not_chosen_are_not_made():
    """All subsets of 60 modalities would number a billion billion."""
    assert len(choose_subsets("each_and_all", tuple(map(str, range(60))))) == 61


@pytest.mark.parametrize("choice", ["each", "all", "every", "up_to_2"])
def test_only_the_chosen_subsets_have_terms_and_every_parameter_learns(choice):
    method = comm(subsets=choice)
    step = next(method.steps(batch_for(method, 3)))
    expected = choose_subsets(choice, tuple(specs(3)))
    assert list(step.terms) == ["+".join(subset) for subset in expected]
    torch.testing.assert_close(step.loss, sum(step.terms.values()) / len(expected))
    step.loss.backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in method.parameters())


def test_weights_make_a_weighted_mean():
    method = comm(weights={"image": 0.0, "image+vector+other": 2.0})
    terms = (step := next(method.steps(batch_for(method, 3)))).terms
    expected = (terms["vector"] + terms["other"] + 2 * terms["image+vector+other"]) / 4
    torch.testing.assert_close(step.loss, expected)


def test_a_learned_temperature_starts_as_the_fixed_one_and_moves():
    method = comm(temperature="learned")
    batch = batch_for(method, 3)
    rows = method.represent(batch)
    first, second = method.project(rows)
    terms = comm_terms(first, second, method.modalities, 0.1)
    step = method.compare(rows)
    torch.testing.assert_close(step.loss, sum(terms.values()) / len(terms), rtol=1e-4, atol=1e-4)
    step.loss.backward()
    assert method.temperature.log.grad.abs() > 0
    with torch.no_grad():
        method.temperature.log.fill_(-50.0)
    assert method.temperature().item() == pytest.approx(0.01)


@pytest.mark.parametrize(
    ("temperature", "expected"),
    [
        ({"full": 0.5, "single": 0.2}, [0.2, 0.2, 0.5]),
        ({"full": 0.5, "image": 0.2}, [0.2, 0.1, 0.5]),
        ({"image+vector": 0.7, "full": 0.5, "single": "learned"}, [0.1, 0.1, 0.7]),
        ({"start": 0.5, "end": 0.1}, [0.2, 0.2, 0.2]),
        ({"single": {"start": 0.1, "end": 0.5}, "full": 0.3}, [0.4, 0.4, 0.3]),
    ],
)
@pytest.mark.parametrize("name", ["comm", "infmasking"])
def test_a_temperature_by_term_and_one_that_moves(name, temperature, expected):
    options = {"name": name, "temperature": temperature}
    experiment = read_experiment("trifeature-quick", {"method": options, "model.width": 16})
    method = build_method(experiment, specs(2))
    progress = math.acos(-0.5) / math.pi  # three quarters of the way from the start to the end
    batch = replace(batch_for(method, 2), progress=progress)
    torch.manual_seed(0)  # masks are random
    rows = method.represent(batch)
    first, second = method.project(rows)
    step = method.compare(rows)
    for subset, degree in zip(method.subsets, expected, strict=True):
        term = comm_terms(first, second, method.modalities, degree)[subset]
        torch.testing.assert_close(step.terms["+".join(subset)], term)
    if name == "infmasking":
        masked = method.head(rows.stacked(MASKED)).unflatten(0, (method.masking.versions, 2, -1))
        halves = [
            masked_contrast(whole[method.modalities], masked[:, other], expected[-1])
            for whole, other in ((first, 1), (second, 0))
        ]
        torch.testing.assert_close(step.terms["masked"], sum(halves) / 2)


def test_every_choice_is_reachable_from_a_configuration():
    settings = {"method.subsets": "each", "method.temperature": "learned", "model.width": 16}
    for fusion, expected in (("concat_linear", ConcatFusion), ("cross_attention", CrossAttentionFusion)):
        experiment = read_experiment("trifeature-quick", {**settings, "model.fusion": fusion})
        method = build_method(experiment, specs(2))
        assert isinstance(method.fusion, expected)
        assert method.subsets == (("image",), ("vector",))
    deep = read_experiment(
        "trifeature-quick", {"model.fusion.layers": 2, "method.weights": {"vector": "1e-1"}}
    )
    method = build_method(deep, specs(2))
    assert len(method.fusion.layers) == 2
    assert method.weights["vector",] == 0.1
    assert read_experiment("trifeature-quick", {"method.temperature": "5e-1"}).method["temperature"] == 0.5


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ({"method.subsets": "evry"}, "Unknown choice 'evry', did you mean 'every'"),
        ({"method.subsets": "up_to_0"}, "did you mean 'up_to_2'"),
        ({"method.weights": {"imge": 1.0}}, "Unknown term 'imge', did you mean 'image'"),
        ({"method.weights": {"image": -1.0}}, "method.weights.image is -1.0; give 0 or more"),
        ({"method.weights": {"image": 0, "vector": 0, "image+vector": 0}}, "are all 0"),
        ({"method.weights": 3}, "give a mapping of settings"),
        ({"method.temperature": "lerned"}, "give a number, or one of learned"),
        ({"method.temperature": 0}, "method.temperature is 0.0; give a number above 0"),
        ({"method.temperature": {"start": 0.5}}, "method.temperature has start; give start and end, and not"),
        (
            {"method.temperature": {"start": 0.5, "end": -1}},
            "method.temperature.end is -1.0; give a number ab",
        ),
        ({"method.temperature": {"ful": 0.5}}, "Unknown term 'ful', did you mean 'full'"),
        ({"method.temperature": {"full": {"start": 1}}}, "method.temperature.full has start; give start and"),
        ({"method.temperature": {"full": {"image": 1}}}, "method.temperature.full: Unknown term 'image'"),
        ({"method.temperature": {"full": {"full": 1}}}, "method.temperature.full: Unknown term 'full'"),
        ({"model.fusion": "atention"}, "Unknown fusion 'atention', did you mean 'attention'"),
        ({"model.fusion.layer": 2}, "did you mean 'model.fusion.layers'"),
        *(
            (
                {f"model.fusion.{key}": number, "model.fusion.name": name},
                "A fusion needs at least one layer",
            )
            for name in ("attention", "class_attention", "cross_attention")
            for key, number in (("layers", 0), ("heads", 0), ("heads", -2), ("heads", 3))
        ),
        *(
            ({"method": {"name": name, "temperature": number}}, f"temperature is {number}; give a number")
            for name in ("cmc", "simclr", "crossself", "supcon")
            for number in (0.0, -0.1)
        ),
        ({"method": {"name": "clip", "projection": 0}}, "method.projection is 0; give a number above 0"),
        ({"method": {"name": "cmc", "projection": -1}}, "method.projection is -1; give a number above 0"),
        ({"method": {"name": "factorcl", "factor": -1}}, "method.factor is -1; give a number above 0"),
        ({"method": {"name": "factorcl-sup", "factor": 0}}, "method.factor is 0; give a number above 0"),
        ({"method": {"name": "factorcl-sup", "most_classes": -1}}, "method.most_classes is -1; give a numb"),
    ],
)
def test_mistakes_are_named(overrides, message):
    with pytest.raises(ConfigurationError, match=message):
        build_method(read_experiment("trifeature-quick", {"model.width": 16, **overrides}), specs(2))


class Narrow(TokenEncoder):
    """An encoder followed by a linear map to narrower tokens."""

    def __init__(self, encoder, narrow):
        super().__init__()
        self.encoder, self.narrow = encoder, narrow

    def forward(self, modality):
        tokens = self.encoder(modality)
        return replace(tokens, values=self.narrow(tokens.values))


@pytest.mark.parametrize("count", [2, 3])
@pytest.mark.parametrize("gaps", [False, True])
@pytest.mark.parametrize("weight", [0.5, 0.2])
def test_cross_and_self_of_the_mean_tokens_are_added_to_comm(count, gaps, weight):
    torch.manual_seed(0)
    encoders = build_encoders(specs(count), 16, {})
    method = CoMMCrossSelf.build(encoders, 16, token_weight=0.7, token_width=5, self_weight=weight)
    batch = batch_for(method, count, gaps)
    fused = CoMM(method.encoders, method.fusion, method.head, temperature=0.5)
    narrow = {name: Narrow(method.encoders[name], method.narrow[name]) for name in method.modalities}
    apart = CrossSelf(narrow, method.token_loss.heads, self_weight=weight)  # temperature 0.1
    of_fused, of_tokens = next(fused.steps(batch)), next(apart.steps(batch))
    step = next(method.steps(batch))
    torch.testing.assert_close(step.loss, of_fused.loss + 0.7 * of_tokens.loss)
    named = {f"tokens: {name}": term for name, term in of_tokens.terms.items()}
    torch.testing.assert_close(step.terms, of_fused.terms | named)


def test_the_embedding_holds_the_fused_vector_and_the_narrow_mean_tokens():
    torch.manual_seed(0)
    method = CoMMCrossSelf.build(build_encoders(specs(3), 16, {}), 16, token_width=5)
    for _ in range(3):
        next(method.steps(batch_for(method, 3)))
    whole = method.eval().embed(view(3))
    assert whole.shape == (RECORDS, 16 + 3 * 5)
    tokens = method.encode(view(3))
    means = pool(method.tokens_beside(tokens)["vector"])
    norm = method.beside.norms["vector"]
    standard = (means - norm.running_mean) / (norm.running_var + norm.eps).sqrt()
    torch.testing.assert_close(whole[:, 21:26], standard)
    rest = method.embed(view(3), ["image", "other"])  # the fused vector of the others gives the guess
    torch.testing.assert_close(rest[:, 21:26], method.beside.guesses["vector"](rest[:, :16]))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"token_weight": -1}, r"method.token_weight is -1; give 0 or more"),
        ({"token_width": 0}, r"method.token_width is 0; give 1 or more"),
        ({"self_weight": -0.5}, r"method.self_weight is -0.5; give 0 or more"),
        ({"self_rise": -1}, r"method.self_rise is -1; give 0 or more"),
    ],
)
def test_a_weight_or_a_width_of_the_tokens_that_cannot_be_is_refused(options, message):
    with pytest.raises(ConfigurationError, match=message):
        CoMMCrossSelf.build({name: torch.nn.Linear(3, 8) for name in "ab"}, width=8, **options)
