"""The search for similar rows, compared with a slow, obvious one."""

from __future__ import annotations

import numpy as np
import pytest

from commlearn.probes import nearest as room
from commlearn.probes.nearest import nearest, unit


def slowly(rows, among, count, apart=None):
    """Return the most similar rows by sorting, comparing one pair at a time."""
    neighbours = []
    for place, row in enumerate(rows):
        allowed = [
            other for other in range(len(among)) if apart is None or apart[0][place] != apart[1][other]
        ]
        neighbours.append(sorted(allowed, key=lambda other: (-float(row @ among[other]), other))[:count])
    return neighbours


@pytest.mark.parametrize("cells", [1, 100, 1 << 24])
def test_it_is_what_sorting_gives_whatever_the_blocks(cells, monkeypatch):
    monkeypatch.setattr(room, "CELLS", cells)
    draw = np.random.default_rng(0)
    rows, among = unit(draw.normal(size=(17, 5))), unit(draw.normal(size=(40, 5)))
    positions, cosines = nearest(rows, among, 7)
    assert positions.tolist() == slowly(rows, among, 7)
    np.testing.assert_allclose(cosines, (rows[:, None] * among[positions]).sum(axis=2))
    units = draw.integers(0, 5, 40)
    positions, _ = nearest(among, among, 7, apart=(units, units))
    assert positions.tolist() == slowly(among, among, 7, (units, units))


def test_of_equals_the_first_are_nearest_and_too_many_are_all():
    among = np.repeat(np.eye(2), 3, axis=0)[[0, 3, 1, 4, 2, 5]]
    assert nearest(np.eye(2), among, 2)[0].tolist() == [[0, 2], [1, 3]]
    assert nearest(np.eye(2), among, 99)[0].shape == (2, 6)
    assert nearest(np.eye(2), among[:0], 3)[0].shape == (2, 0)


def test_rows_that_are_not_finite_come_last():
    among = np.array([[np.nan, 1.0], [0.0, 1.0], [1.0, 0.0]])
    assert nearest(np.array([[0.0, 1.0]]), among, 3)[0].tolist() == [[1, 2, 0]]
