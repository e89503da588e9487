"""Shards of token states: they are read as they were written, and damage is detected."""

from __future__ import annotations

import fcntl

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from commlearn.errors import DataError
from commlearn.training.kept_tokens import TokenColumn, TokenShard, clear_leftovers, open_shard, write_shard


def shard(rows=5, versions=1, length=4, dtype=np.float32, padded=True, seed=0):
    draw = np.random.default_rng(seed)
    padding = np.arange(length) >= draw.integers(1, length + 1, (rows, 1, 1)) if padded else None
    if padding is not None:
        padding = np.broadcast_to(padding, (rows, versions, length))
    values = draw.normal(size=(rows, versions, length, 3)).astype(dtype)
    return TokenShard(values, padding, draw.random(rows) < 0.8)


@settings(max_examples=25, deadline=None)
@given(
    st.integers(1, 6),
    st.integers(1, 3),
    st.integers(1, 5),
    st.sampled_from(["float32", "float16"]),
    st.booleans(),
)
def test_what_is_written_is_read(tmp_path_factory, rows, versions, length, dtype, padded):
    path = tmp_path_factory.mktemp("shards") / "deep" / "a.tokens"
    made = shard(rows, versions, length, dtype, padded)
    write_shard(path, made)
    read = open_shard(path)
    assert read.values.dtype == dtype
    assert np.array_equal(read.values, made.values)
    assert np.array_equal(read.present, made.present)
    assert read.padding is None if made.padding is None else np.array_equal(read.padding, made.padding)
    assert [entry.name for entry in path.parent.iterdir()] == ["a.tokens"]


def test_any_change_of_a_byte_and_any_cut_is_seen(tmp_path):
    path = tmp_path / "a.tokens"
    write_shard(path, shard())
    whole = path.read_bytes()
    end_of_head = whole.index(b"\n", whole.index(b"\n") + 1) + 1
    for place in [0, 30, *range(end_of_head, len(whole), 37), len(whole) - 1]:
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
        with pytest.raises(DataError, match="is damaged"):
            open_shard(path)
    for size in (0, 5, 40, end_of_head, len(whole) - 1):
        path.write_bytes(whole[:size])
        with pytest.raises(DataError, match="is damaged"):
            open_shard(path)
    path.write_bytes(whole + b"\0")
    with pytest.raises(DataError, match="is damaged"):
        open_shard(path)


def test_rows_of_several_shards_in_any_order(tmp_path):
    made = [shard(4, length=4, seed=1), shard(4, length=6, seed=2), shard(2, length=2, padded=False, seed=3)]
    for number, part in enumerate(made):
        write_shard(tmp_path / f"{number}.tokens", part)
    column = TokenColumn([open_shard(tmp_path / f"{number}.tokens") for number in range(3)])
    assert len(column) == 10
    assert column.spec == ("tokens", (3,))
    rows = np.array([9, 0, 7, 3, 8, 5, 9])
    taken = column.take(rows)
    for place, row in enumerate(rows):
        part, inner = made[row // 4], row % 4
        real = slice(None) if part.padding is None else ~part.padding[inner, 0]
        real_tokens = (
            taken.values[place] if taken.padding is None else taken.values[place][~taken.padding[place]]
        )
        assert np.array_equal(real_tokens.numpy(), part.values[inner, 0][real])
        assert taken.present[place] == part.present[inner]
    alone = column.take(np.array([9]))
    assert alone.padding is None
    assert alone.values.shape == (1, 2, 3)


def test_several_versions_come_together():
    column = TokenColumn([shard(4, versions=3)])
    assert column.spec == ("token_versions", (3,))
    taken = column.take(np.array([2, 0]))
    assert taken.values.shape[:2] == (2, 3)
    assert torch.equal(
        taken.values[0, 1], torch.from_numpy(column.shards[0].values[2, 1, : taken.values.shape[2]])
    )


def test_a_folder_that_cannot_be_written_is_told(tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(DataError, match=r"Cannot keep token states in .*COMMLEARN_CACHE"):
        write_shard(tmp_path / "file" / "a.tokens", shard())


def test_what_a_killed_writer_left_is_cleared_and_what_a_living_one_writes_is_not(tmp_path):
    write_shard(tmp_path / "a.tokens", shard())
    dead, living = tmp_path / ".b.tokens.1.part", tmp_path / ".c.tokens.2.part"
    dead.write_bytes(b"half of it")
    with living.open("wb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        clear_leftovers(tmp_path)  # after the writer's lock and before its first byte
        file.write(b"half of it")
        file.flush()
        clear_leftovers(tmp_path)
        assert sorted(path.name for path in tmp_path.iterdir()) == [living.name, "a.tokens"]
    clear_leftovers(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["a.tokens"]
    clear_leftovers(tmp_path / "absent")
