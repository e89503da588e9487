"""Tables that are valid, however unusual, embed; and one table embeds equally from every format."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from commlearn import Embedder
from commlearn.kinds.schema import Schema
from commlearn.kinds.tabular import Tabular
from commlearn.kinds.vector import Vector

ROWS = 40


def test_whole_numbers_beyond_2_to_the_53_with_gaps_embed(tmp_path):
    noise = np.random.default_rng(0)
    large = [None if row % 7 == 0 else 2**60 + row // 3 for row in range(ROWS)]
    columns = {"who": large, "large": large, "small": noise.random(ROWS), "v": list(noise.random((ROWS, 3)))}
    pq.write_table(pa.table(columns), tmp_path / "t.parquet", row_group_size=16)
    kinds = {"table": Tabular(["large", "small"]), "vector": Vector("v")}
    model = Embedder(Schema(kinds, group="who"), epochs=1, batch_size=16)
    assert np.isfinite(model.fit(tmp_path / "t.parquet").transform(tmp_path / "t.parquet")).all()
