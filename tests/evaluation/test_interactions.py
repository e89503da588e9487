"""The report on data whose answer is known."""

from __future__ import annotations

import json

import numpy as np
import pytest

import commlearn as cl
from commlearn.errors import CommlearnError
from commlearn.evaluation.interactions import InteractionReport, Settings
from commlearn.evaluation.interactions.twins import Twin, known_twins

QUICK = Settings(bootstrap=5, permutations=39, curve=False)
ATOMS = ("redundant", "unique1", "unique2", "synergistic")


def twin(name: str) -> Twin:
    return next(one for one in known_twins() if one.name == name)


def errors(report: InteractionReport, of: Twin) -> dict[str, float]:
    truth = of.truth()
    return {name: getattr(report.atoms, name).bits - getattr(truth, name) for name in ATOMS}


@pytest.fixture(scope="module")
def xor() -> InteractionReport:
    arrays, target = twin("XOR").sample(1000, seed=1)
    return cl.interactions(arrays, target=target, settings=QUICK)


def test_synergy_behind_noise_is_found(xor):
    assert max(abs(error) for error in errors(xor, twin("XOR")).values()) < 0.15
    assert xor.atoms.synergistic.p <= 0.05
    assert xor.combination.p <= 0.05


def test_parts_sum_to_the_total(xor):
    assert sum(getattr(xor.atoms, name).bits for name in ATOMS) == pytest.approx(xor.data.total.bits)
    assert xor.contributions()["synergistic"].mean() == pytest.approx(xor.atoms.synergistic.bits, abs=0.02)


def test_it_becomes_json_a_frame_and_words(xor):
    values = json.loads(json.dumps(xor.to_dict()))
    assert values["views"]["data"]["pairs"][0]["synergistic"]["bits"] == xor.atoms.synergistic.bits
    frame = xor.to_frame().set_index(["view", "quantity", "of"])
    assert frame.loc[("data", "synergistic", "a | b"), "bits"] == xor.atoms.synergistic.bits
    assert "together they say" in str(xor)


def test_a_picture_is_drawn(xor, tmp_path):
    xor.plot(tmp_path / "report.png")
    assert (tmp_path / "report.png").stat().st_size > 1000


def test_different_numbers_of_records_are_refused():
    with pytest.raises(CommlearnError, match="'a' 10, 'b' 9"):
        cl.interactions({"a": np.zeros((10, 2)), "b": np.zeros((9, 2))}, target=np.zeros(10))
