"""Self-prediction: its error equals that of a slow loop, on features if there are any, with any contrast."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from test_contract import RECORDS, batch_for, build, specs

import commlearn as cl
from commlearn.batch import Batch, merge
from commlearn.errors import ConfigurationError
from commlearn.methods import METHODS
from commlearn.models.build import build_encoders
from commlearn.models.encoders.tabular import FeatureEncoder
from commlearn.models.features import FeatureValues, FixedFeatures
from commlearn.models.fused_parts import PREDICTED
from commlearn.models.tokens import pool
from commlearn.records import VectorColumn

WEIGHT = 3.0


def predicting(name, count, weight=WEIGHT):
    torch.manual_seed(0)
    return METHODS[name].build(build_encoders(specs(count), 16, {}), 16, prediction=weight)


def slow(method, batch, targets):
    """Return the mean error over rows, modalities and subsets that a record has, one at a time."""
    view = merge(batch.augmented)
    tokens = method.encode(view)
    subsets = dict.fromkeys((*method.subsets, method.modalities))
    fused = method.fusion(tokens, subsets)
    has = {
        name: torch.ones(2 * RECORDS, dtype=torch.bool) if part.present is None else part.present
        for name, part in view.items()
    }
    errors = []
    for row in range(2 * RECORDS):
        other = (row + RECORDS) % (2 * RECORDS)
        for subset in subsets:
            lacks = subset != method.modalities and not all(has[name][row] for name in subset)
            for name in method.modalities:
                if not lacks and has[name][row]:
                    guess = method.prediction.heads[name](fused[subset][row])
                    errors.append((guess - targets(name, view, tokens)[other]).square().mean())
    return torch.stack(errors).mean()


def mean_tokens(name, view, tokens):
    values = pool(tokens[name]).detach()
    return torch.stack([F.layer_norm(row, row.shape) for row in values])


@pytest.mark.parametrize("name", ["comm", "infmasking", "comm-crossself"])
@pytest.mark.parametrize("count", [2, 3])
@pytest.mark.parametrize("gaps", [False, True])
def test_the_error_is_that_of_a_slow_loop_and_stands_beside_the_contrast(name, count, gaps):
    method, plain = predicting(name, count), predicting(name, count, weight=0.0)
    plain.load_state_dict(method.state_dict(), strict=False)
    batch = batch_for(method, count, gaps)
    steps = []
    for each in (method, plain):
        torch.manual_seed(1)
        steps.append(each.compare(each.represent(batch)))
    method.eval()
    wanted = slow(method, batch, mean_tokens)
    method.train()
    torch.testing.assert_close(steps[0].loss, steps[1].loss + WEIGHT * steps[0].terms["prediction"])
    evaluated = method.eval().compare(method.represent(batch)).terms["prediction"]
    torch.testing.assert_close(evaluated, wanted)
    assert "prediction" not in steps[1].terms
    assert plain.prediction is None
    steps[0].loss.backward()
    assert all(p.grad.abs().sum() > 0 for p in method.prediction.parameters())


def test_fixed_features_of_the_other_version_are_predicted_where_encoders_read_them():
    generator = np.random.default_rng(0)
    encoders, views = {}, ({}, {})
    for name in ("a", "b"):
        column = VectorColumn(generator.normal(size=(30, 5)).astype(np.float32))
        features = FixedFeatures(column.spec).learn(column, 0)
        encoders[name] = FeatureEncoder(features, build_encoders({name: column.spec}, 16, {})[name])
        raw = column.take(np.arange(RECORDS))
        views[0][name], views[1][name] = raw, FeatureValues(features(raw) + 1)  # raw, and given features
    views[0]["b"] = FeatureValues(encoders["b"].features(views[0]["b"]))
    views[1]["a"] = views[0]["a"].with_values(views[0]["a"].values + 1)
    batch = Batch(augmented=views)
    torch.manual_seed(0)
    method = METHODS["comm"].build(encoders, 16, prediction=1.0).eval()

    def features_of(name, view, tokens):
        given = view[name]
        return given.values if isinstance(given, FeatureValues) else encoders[name].features(given)

    term = method.compare(method.represent(batch)).terms["prediction"]
    torch.testing.assert_close(term, slow(method, batch, features_of))
    assert method.prediction.heads["a"][-1].out_features == encoders["a"].features.dim
    assert not any(key.startswith("prediction.readers") for key in method.state_dict())


def test_what_is_predicted_gives_no_gradient():
    method = predicting("comm", 2)
    view = merge(batch_for(method, 2).augmented)
    tokens = method.encode(view)
    assert tokens["vector"].values.requires_grad
    assert not method.prediction.target("vector", view["vector"], tokens["vector"]).requires_grad


def test_rows_do_not_depend_on_those_beside_them():
    method = predicting("comm", 2).eval()
    batch = batch_for(method, 2)
    whole = method.represent(batch).vectors[PREDICTED]
    halves = [
        Batch(
            augmented=tuple(
                {n: m.apply(lambda v, s=some: v[s]) for n, m in v.items()} for v in batch.augmented
            )
        )
        for some in (slice(0, 2), slice(2, None))
    ]
    parts = torch.cat([method.represent(half).vectors[PREDICTED] for half in halves])
    torch.testing.assert_close(parts, whole)


def test_predictions_are_learned_from_a_table_and_lessen_the_error():
    generator = np.random.default_rng(0)
    shared = generator.normal(size=(200, 3))
    table = {name: np.hstack([shared, generator.normal(size=(200, 1))]).astype("float32") for name in "ab"}
    schema = cl.Schema({name: cl.Vector(name) for name in table})
    method = {"name": "comm", "prediction": 8.0}
    history = []

    class Follow(cl.Callback):
        def epoch(self, epoch, metrics):
            history.append(metrics["terms"]["prediction"])

    cl.Embedder(schema, method=method, callbacks=[Follow()]).fit(table)
    assert np.mean(history[-3:]) < 0.7 * history[0]


def test_a_weight_below_zero_is_refused():
    with pytest.raises(ConfigurationError, match=r"method.prediction is -1 *; give 0 or more"):
        predicting("comm", 2, weight=-1)
    assert build("comm", 2).prediction is None
