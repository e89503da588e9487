"""CoMM in a custom training loop: plain tensors in, the library's loss out."""

from __future__ import annotations

import os
import socket
import subprocess
import sys

import pytest
import torch
from torch import nn
from torch.nn.functional import normalize

import commlearn as cl
from commlearn.batch import Batch, Modality, view_of
from commlearn.errors import ConfigurationError
from commlearn.methods import METHODS
from commlearn.models.build import FUSIONS
from commlearn.models.tokens import Tokens

RECORDS, WIDTH = 12, 16


class Steps(nn.Module):
    """An encoder that makes each step of a series a token; it takes `padding` and ignores padded steps."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(3, WIDTH)

    def forward(self, values, padding=None):
        if padding is not None:
            values = values.masked_fill(padding[..., None], 0.0)
        return self.layer(values)


def model(method=cl.CoMM, **options):
    torch.manual_seed(0)
    encoders = {"photo": nn.Sequential(nn.Flatten(), nn.Linear(48, WIDTH)), "ecg": Steps()}
    return method.build({**encoders, "labs": nn.Linear(5, WIDTH)}, WIDTH, **options)


def values(seed):
    draw = torch.Generator().manual_seed(seed)
    shapes = {"photo": (3, 4, 4), "ecg": (7, 3), "labs": (5,)}
    return {name: torch.rand(RECORDS, *shape, generator=draw) for name, shape in shapes.items()}


def masks():
    padding = torch.zeros(RECORDS, 7, dtype=torch.bool)
    padding[::2, 4:] = True
    present = torch.ones(RECORDS, dtype=torch.bool)
    present[3] = present[5] = False
    return {"ecg": padding}, {"labs": present}


@pytest.mark.parametrize("name", [name for name, method in METHODS.items() if issubclass(method, cl.CoMM)])
def test_every_kin_of_comm_takes_plain_modules_as_encoders(name):
    method, views = model(METHODS[name]), tuple(view_of(values(seed), *masks()) for seed in (1, 2))
    (step,) = method.steps(Batch(augmented=views, targets={"label": torch.arange(RECORDS) % 2}))
    step.loss.backward()
    assert method.encoders["labs"].encoder.module.weight.grad.abs().sum() > 0
    assert method.embed(values(1)).isfinite().all()


@pytest.mark.parametrize("masked", [False, True])
def test_forward_and_loss_are_a_step_of_the_library(masked):
    padding, present = masks() if masked else ({}, {})
    groups = torch.arange(RECORDS) // 2
    one, other = model(), model()
    loss, terms = cl.CoMMLoss(weights={"labs": 2.0})(
        *one(values(1), values(2), padding, present), present=present, groups=groups
    )
    other.weights = {subset: 2.0 if subset == ("labs",) else 1.0 for subset in other.subsets}
    views = tuple(view_of(values(seed), padding, present) for seed in (1, 2))
    (step,) = other.steps(Batch(augmented=views, groups=groups))
    assert torch.equal(loss, step.loss)
    assert terms.keys() == step.terms.keys() == {"photo", "ecg", "labs", "photo+ecg+labs"}
    assert all(torch.equal(terms[name], step.terms[name]) for name in terms)
    loss.backward(), step.loss.backward()
    ours, theirs = (dict(each.named_parameters()) for each in (one, other))
    assert all(torch.equal(ours[name].grad, theirs[name].grad) for name in ours)
    assert all(parameter.grad.abs().sum() > 0 for parameter in ours.values())


def test_a_subset_of_its_own_makes_a_term_and_a_learned_temperature_a_parameter():
    built = model(subsets="every")
    criterion = cl.CoMMLoss(temperature="learned")
    loss, terms = criterion(*built(values(1), values(2)))
    assert "photo+labs" in terms
    assert len(terms) == 7
    loss.backward()
    assert criterion.temperature.log.grad != 0


def test_a_temperature_moves_with_the_progress_and_differs_between_terms():
    projections = model()(values(1), values(2))
    warm, cold = (cl.CoMMLoss(temperature)(*projections)[1] for temperature in (0.5, 0.1))
    moving = cl.CoMMLoss({"start": 0.5, "end": 0.1})
    for progress, expected in ((0.0, warm), (1.0, cold)):
        _, terms = moving(*projections, progress=progress)
        assert all(torch.isclose(terms[name], expected[name]) for name in terms)
    _, terms = cl.CoMMLoss({"full": 0.5})(*projections)
    assert torch.isclose(terms["photo+ecg+labs"], warm["photo+ecg+labs"])
    assert torch.isclose(terms["labs"], cold["labs"])
    with pytest.raises(ConfigurationError, match="temperature: Unknown term 'fulll'"):
        cl.CoMMLoss({"fulll": 0.5})


def test_embeddings_of_plain_tensors_do_not_depend_on_what_lies_under_padding():
    built, (padding, present) = model(embedding="fused+tokens").eval(), masks()
    clean, junk = values(1), values(1)
    junk["ecg"][padding["ecg"]] = 9.0
    one, other = (built.embed(view_of(view, padding, present)) for view in (clean, junk))
    assert torch.equal(one, other)
    assert built.embed(clean, ["labs"]).shape == (RECORDS, 4 * WIDTH)
    assert not torch.equal(built.embed(view_of(clean, padding)), one)
    with_modality = {**clean, "ecg": Modality(clean["ecg"], padding["ecg"])}
    assert torch.equal(built.embed(with_modality), built.embed(view_of(clean, padding)))


@pytest.mark.parametrize("name", FUSIONS)
def test_a_fusion_alone_takes_plain_tensors(name):
    fusion = FUSIONS[name](("photo", "labs"), WIDTH)
    parts = {"photo": torch.rand(4, 5, WIDTH), "labs": torch.rand(4, WIDTH)}
    tokens = {"photo": Tokens(parts["photo"]), "labs": Tokens(parts["labs"][:, None])}
    subsets = [("labs",), ("photo", "labs")]
    plain, wrapped = fusion(parts, subsets), fusion(tokens, subsets)
    assert all(torch.equal(plain[subset], wrapped[subset]) for subset in subsets)


def test_mistakes_are_named():
    built = model()
    with pytest.raises(ConfigurationError, match="Modality 'labs' is not in the data, which have photo, ecg"):
        built({name: part for name, part in values(1).items() if name != "labs"}, values(2))
    with pytest.raises(ConfigurationError, match="'ecgg', did you mean 'ecg'"):
        built(values(1), values(2), padding={"ecgg": masks()[0]["ecg"]})
    rows = torch.rand(4, 3)
    with pytest.raises(ConfigurationError, match=r"one of all modalities, 'photo\+labs'"):
        cl.CoMMLoss()({"photo": rows, "labs": rows}, {"photo": rows, "labs": rows})
    with pytest.raises(ConfigurationError, match="both need the same"):
        cl.CoMMLoss()({"a": rows, "a+b": rows, "b": rows}, {"a": rows, "a+b": rows})
    both = {"aa": rows, "b": rows, "aa+b": rows}
    with pytest.raises(ConfigurationError, match="present: Unknown modality 'a', did you mean 'aa'"):
        cl.CoMMLoss()(both, both, present={"a": torch.ones(4, dtype=torch.bool)})
    with pytest.raises(ConfigurationError, match=r"present of 'aa' has shape \(3,\); .* \(4,\)"):
        cl.CoMMLoss()(both, both, present={"aa": torch.ones(3, dtype=torch.bool)})
    with pytest.raises(ConfigurationError, match=r"heads that `prediction` adds; .* prediction=0"):
        model(prediction=1.0)(values(1), values(2))
    with pytest.raises(ConfigurationError, match=r"8 features, but 16 are expected. Add nn.Linear\(8, 16\)"):
        cl.CoMM.build({"a": nn.Linear(3, 8), "b": nn.Linear(3, 8)}, WIDTH).embed({"a": rows, "b": rows})
    blind = cl.CoMM.build({"a": nn.Sequential(nn.Flatten(), nn.Linear(12, WIDTH))}, WIDTH)
    padded = view_of({"a": rows[None]}, padding={"a": torch.zeros(1, 4, dtype=torch.bool)})
    with pytest.raises(ConfigurationError, match=r"Sequential does not take `padding`"):
        blind.embed(padded)
    with pytest.raises(
        ConfigurationError, match=r"returned \(2, 16, 3, 3\) for values of \(2, 3, 5, 5\); return a vector"
    ):
        cl.CoMM.build({"a": nn.Conv2d(3, WIDTH, 3)}, WIDTH).embed({"a": torch.rand(2, 3, 5, 5)})


PROGRAM = """
import os, sys, torch
import commlearn as cl
from test_own_loop import shared_rows, small_loss
torch.set_num_threads(1)
torch.distributed.init_process_group("gloo")
rank = torch.distributed.get_rank()
model = torch.nn.parallel.DistributedDataParallel(torch.nn.Linear(5, 3).double())
torch.nn.init.eye_(model.module.weight), torch.nn.init.zeros_(model.module.bias)
mine = slice(0, 3) if rank == 0 else slice(3, 7)  # unequal shares
loss = small_loss(model, mine)
loss.backward()
torch.save([loss.detach(), model.module.weight.grad], f"{sys.argv[1]}/{rank}.pt")
torch.distributed.barrier()  # neither leaves while the other still needs its connection
torch.distributed.destroy_process_group()  # joins the threads, which would otherwise abort the exit
"""


def shared_rows():
    return torch.randn(2, 7, 5, generator=torch.Generator().manual_seed(3), dtype=torch.float64)


def small_loss(module, rows):
    """Return CoMM's loss on these rows of the records; record 2 lacks the modality `a`."""
    first, second = (normalize(part) for part in module(shared_rows()[:, rows]).unbind())
    views = ({"a": view * 2 + 1, "b": view - 1, "a+b": view} for view in (first, second))
    return cl.CoMMLoss()(*views, present={"a": (torch.arange(7) != 2)[rows]})[0]


def test_two_processes_find_the_loss_and_the_gradient_of_one(tmp_path):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = str(probe.getsockname()[1])
    path = os.pathsep.join([os.path.dirname(__file__), *filter(None, [os.environ.get("PYTHONPATH")])])
    shared = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "WORLD_SIZE": "2", "PYTHONPATH": path}
    started = [
        subprocess.Popen(
            [sys.executable, "-c", PROGRAM, str(tmp_path)],
            env={**os.environ, **shared, "RANK": str(rank)},
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(2)
    ]
    errors = [process.communicate(timeout=120)[1] for process in started]
    assert not any(process.returncode for process in started), errors
    module = nn.Linear(5, 3).double()
    nn.init.eye_(module.weight), nn.init.zeros_(module.bias)
    wanted = small_loss(module, slice(None))
    wanted.backward()
    for rank in range(2):
        loss, gradient = torch.load(tmp_path / f"{rank}.pt")
        torch.testing.assert_close(loss, wanted.detach())
        torch.testing.assert_close(gradient, module.weight.grad)
