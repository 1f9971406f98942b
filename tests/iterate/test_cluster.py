"""Labelling on a Ray cluster of this machine; slow, and only where ray is installed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow.parquet as parquet
import pytest
from iterate.pools import Speech, plan_of

from emotion2vec.iterate.run import iterate


@pytest.mark.slow
def test_a_cluster_gives_the_same_labels(speech: Speech, model: Path, tmp_path: Path) -> None:
    pytest.importorskip("ray")
    tables = []
    for engine in ("local", "ray"):
        more = [f"pool.engine={engine}", "pool.compare=bytes", "filters.window=0.2", "filters.agreeing=0.3"]
        more += ["pool.actors=1"] * (engine == "ray")
        iterate(plan_of(speech, model, tmp_path / engine, *more), lambda text: None)
        tables.append(parquet.read_table(tmp_path / engine / "round_1" / "labels.parquet").to_pydict())
    for name, column in tables[0].items():
        if isinstance(column[0], float):
            assert np.allclose(column, tables[1][name], atol=1e-4), name
        else:
            assert column == tables[1][name], name
