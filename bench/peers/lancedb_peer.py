#!/usr/bin/env python3
"""LanceDB, embedded: rows per second of table.add of Arrow batches.

usage: lancedb_peer.py DIRECTORY ROWS BATCH_ROWS DIMENSION ROUNDS
needs: lancedb numpy pyarrow
Each round makes a table in DIRECTORY, adds ROWS rows of a u64 id and a float32 vector batch by batch, counts them and drops the
table. The batches are made before the clock starts; a first round is not counted. Prints one {"rows_per_s"} a round.
"""
import json
import sys
import time

import lancedb
import numpy as np
import pyarrow as pa

directory, (rows, batch_rows, dimension, rounds) = sys.argv[1], map(int, sys.argv[2:6])
schema = pa.schema([("id", pa.uint64()), ("vector", pa.list_(pa.float32(), dimension))])
rng = np.random.default_rng(1)
batches = []
for first in range(0, rows, batch_rows):
    count = min(batch_rows, rows - first)
    values = pa.array(rng.standard_normal(count * dimension, dtype=np.float32))
    ids = pa.array(np.arange(first, first + count, dtype=np.uint64))
    columns = [ids, pa.FixedSizeListArray.from_arrays(values, dimension)]
    batches.append(pa.Table.from_arrays(columns, schema=schema))

db = lancedb.connect(directory)
for number in range(rounds + 1):
    table = db.create_table(f"round-{number}", schema=schema)
    started = time.perf_counter()
    for batch in batches:
        table.add(batch)
    seconds = time.perf_counter() - started
    assert table.count_rows() == rows
    db.drop_table(f"round-{number}")
    if number > 0:
        print(json.dumps({"rows_per_s": rows / seconds}), flush=True)
