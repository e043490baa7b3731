#!/usr/bin/env python3
"""One index of another project: build rate on 2 threads, memory, recall and queries per second on 1 thread.

usage: index_peer.py PEER DIRECTORY DIMENSION K=SETTING[,SETTING...] ...
needs: numpy and the peer's package
DIRECTORY has base.f32 and queries.f32, unit vectors of native f32 one behind the other, and for each K a bars-K.f32: per query the
inner product of the exact K-th nearest row. A found row at least as near is a hit. Where the peer has a graph, M is 16 (32 links
on the lowest layer), efConstruction 200, and a setting is efSearch.
Prints {"build_rows_per_s", "bytes_per_row"}, then per setting {"k", "ef", "recall", "qps"}: the best of three.
"""
import ctypes
import importlib
import json
import os
import sys
import tempfile
import time

import numpy as np

M, EF_CONSTRUCTION, BUILD_THREADS, ROUNDS = 16, 200, 2, 3


# Each peer: a function of its package and the rows that builds, and gives a function search(queries, k, setting) -> ids, of shape
# (queries, k), on one thread.


def hnswlib(package, base):
    index = package.Index("ip", base.shape[1])
    index.init_index(len(base), M=M, ef_construction=EF_CONSTRUCTION)
    index.add_items(base, num_threads=BUILD_THREADS)

    def search(queries, k, setting):
        index.set_ef(setting)
        return index.knn_query(queries, k, num_threads=1)[0]

    return search


def usearch(element):
    def build(package, base):
        index = package.Index(ndim=base.shape[1], metric="ip", dtype=element, connectivity=M, expansion_add=EF_CONSTRUCTION)
        index.add(np.arange(len(base)), base, threads=BUILD_THREADS)

        def search(queries, k, setting):
            index.expansion_search = setting
            return index.search(queries, k, threads=1).keys

        return search

    return build


def faiss_hnsw(is_quantised):
    def build(faiss, base):
        faiss.omp_set_num_threads(BUILD_THREADS)
        kind, metric = faiss.ScalarQuantizer.QT_8bit, faiss.METRIC_INNER_PRODUCT
        dimension = base.shape[1]
        index = faiss.IndexHNSWSQ(dimension, kind, M, metric) if is_quantised else faiss.IndexHNSWFlat(dimension, M, metric)
        index.hnsw.efConstruction = EF_CONSTRUCTION
        index.train(base)
        index.add(base)
        faiss.omp_set_num_threads(1)

        def search(queries, k, setting):
            index.hnsw.efSearch = setting
            return index.search(queries, k)[1]

        return search

    return build


def faiss_ivf_pq(faiss, base):
    """Inverted lists of 4-bit codes, ranked again on full vectors; a setting is four times the lists that are looked at."""
    faiss.omp_set_num_threads(BUILD_THREADS)
    dimension, lists = base.shape[1], max(1, int(2 * len(base) ** 0.5))
    index = faiss.index_factory(dimension, f"IVF{lists},PQ{dimension // 4}x4fs,RFlat", faiss.METRIC_INNER_PRODUCT)
    index.train(base)
    index.add(base)
    faiss.omp_set_num_threads(1)
    inner = faiss.downcast_index(index.base_index)

    def search(queries, k, setting):
        inner.nprobe = max(1, setting // 4)
        index.k_factor = max(4.0, setting / 16) if k <= 10 else 4.0
        # One call a query: a call with all of them would go through each list once for many queries.
        return np.concatenate([index.search(query[None], k)[1] for query in queries])

    return search


def svs(svs, base):
    parameters = svs.VamanaBuildParameters(alpha=0.95, graph_max_degree=2 * M, window_size=EF_CONSTRUCTION)
    with tempfile.TemporaryDirectory(dir=sys.argv[2]) as directory:
        path = os.path.join(directory, "base.fvecs")
        svs.write_vecs(base, path)
        svs.convert_vecs_to_svs(path, path + ".svs")
        full = svs.VectorDataLoader(path + ".svs", svs.DataType.float32, dims=base.shape[1])
        codes = svs.LVQLoader(full, primary=8, residual=0)
        index = svs.Vamana.build(parameters, codes, svs.DistanceType.MIP, num_threads=BUILD_THREADS)
    index.num_threads = 1

    def search(queries, k, setting):
        index.search_window_size = setting
        return index.search(queries, k)[0]

    return search


def vsag(pyvsag, base):
    quantised = {"base_quantization_type": "sq8", "use_reorder": True, "precise_quantization_type": "fp32"}
    graph = {"max_degree": 2 * M, "ef_construction": EF_CONSTRUCTION, "build_thread_count": BUILD_THREADS}
    rows, dimension = base.shape
    kind = {"dtype": "float32", "metric_type": "ip", "dim": dimension, "index_param": quantised | graph}
    index = pyvsag.Index("hgraph", json.dumps(kind))
    index.build(base.ravel(), np.arange(rows, dtype=np.int64), rows, dimension)

    def search(queries, k, setting):
        how = json.dumps({"hgraph": {"ef_search": setting}})
        return np.stack([index.knn_search(query, k, how)[0] for query in queries])

    return search


PEERS = {
    "hnswlib": ("hnswlib", hnswlib),
    "usearch-f32": ("usearch.index", usearch("f32")),
    "usearch-i8": ("usearch.index", usearch("i8")),
    "faiss-hnsw": ("faiss", faiss_hnsw(False)),
    "faiss-hnsw-sq8": ("faiss", faiss_hnsw(True)),
    "faiss-ivf-pq": ("faiss", faiss_ivf_pq),
    "svs-lvq8": ("svs", svs),
    "vsag-sq8": ("pyvsag", vsag),
}


def resident_bytes():
    ctypes.CDLL(None).malloc_trim(0)
    with open("/proc/self/statm") as statm:
        return int(statm.read().split()[1]) * os.sysconf("SC_PAGESIZE")


def recall(base, queries, found, bars):
    """Share of the results that are as near as the exact ones; a row counts once, and an id that is no row never."""
    hits = 0
    for query, ids, bar in zip(queries, found.astype(np.int64), bars):
        ids = np.unique(ids[(ids >= 0) & (ids < len(base))])
        hits += int((base[ids] @ query >= bar).sum())
    return hits / found.size


def main():
    peer, directory, dimension = sys.argv[1], sys.argv[2], int(sys.argv[3])

    def read(name):
        return np.fromfile(os.path.join(directory, name), np.float32)

    base, queries = read("base.f32").reshape(-1, dimension), read("queries.f32").reshape(-1, dimension)
    package, build = PEERS[peer]
    package = importlib.import_module(package)
    before, started = resident_bytes(), time.perf_counter()
    search = build(package, base)
    rate = len(base) / (time.perf_counter() - started)
    memory = (resident_bytes() - before) / len(base)
    print(json.dumps({"build_rows_per_s": rate, "bytes_per_row": memory}), flush=True)
    for sweep in sys.argv[4:]:
        k, settings = sweep.split("=")
        k, bars = int(k), read(f"bars-{k}.f32")
        for setting in map(int, settings.split(",")):
            qps = 0.0
            for _ in range(ROUNDS):
                started = time.perf_counter()
                found = search(queries, k, setting)
                qps = max(qps, len(queries) / (time.perf_counter() - started))
            point = {"k": k, "ef": setting, "recall": recall(base, queries, found, bars), "qps": qps}
            print(json.dumps(point), flush=True)


main()
