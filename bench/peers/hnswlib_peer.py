#!/usr/bin/env python3
"""hnswlib on a Parquet file: build rate on 2 threads, recall@10 and queries per second on 1 thread.

usage: hnswlib_peer.py BASE.parquet QUERIES.parquet ROWS QUERIES EF[,EF...]
needs: numpy pyarrow hnswlib
Both files have a column `embedding`; the first ROWS and QUERIES of them are used. Cosine, M 16, efConstruction 200.
Prints {"build_rows_per_s"}, then per ef {"ef", "recall", "qps"}.
"""
import json
import sys
import time

import hnswlib
import numpy as np
import pyarrow.parquet as pq

K, M, EF_CONSTRUCTION, BUILD_THREADS = 10, 16, 200, 2


def vectors(path, rows):
    """Unit vectors of the first rows, float32, shape (rows, dimension)."""
    column = pq.read_table(path, columns=["embedding"])["embedding"].combine_chunks()
    v = np.asarray(column.values).astype(np.float32).reshape(len(column), -1)[:rows]
    return np.ascontiguousarray(v / np.linalg.norm(v, axis=1, keepdims=True))


base, queries = vectors(sys.argv[1], int(sys.argv[3])), vectors(sys.argv[2], int(sys.argv[4]))

index = hnswlib.Index("ip", base.shape[1])
index.init_index(len(base), M=M, ef_construction=EF_CONSTRUCTION)
started = time.perf_counter()
index.add_items(base, num_threads=BUILD_THREADS)
print(json.dumps({"build_rows_per_s": len(base) / (time.perf_counter() - started)}), flush=True)

# Any row at least as near as the exact tenth is a hit.
bars = np.concatenate([
    np.partition(queries[i:i + 500] @ base.T, -K, axis=1)[:, -K] for i in range(0, len(queries), 500)
]) - 1e-6

for ef in (int(ef) for ef in sys.argv[5].split(",")):
    index.set_ef(ef)
    qps = 0.0
    for _ in range(3):
        started = time.perf_counter()
        found, _ = index.knn_query(queries, K, num_threads=1)
        qps = max(qps, len(queries) / (time.perf_counter() - started))
    similarity = np.einsum("qkd,qd->qk", base[found.astype(np.int64)], queries)
    recall = float((similarity >= bars[:, None]).mean())
    print(json.dumps({"ef": ef, "recall": recall, "qps": qps}), flush=True)
