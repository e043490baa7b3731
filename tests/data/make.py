#!/usr/bin/env python3
"""Makes debian-10k.parquet and debian-10k-queries.parquet from the full files.

Usage: make.py PACKAGES.parquet QUERIES.parquet [OUTPUT_DIRECTORY]
Needs: pyarrow, numpy.
"""

import pathlib
import sys

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

ROWS = 10_000
QUERIES = 200
NEIGHBORS = 100
DIMENSION = 384
DICTIONARY_COLUMNS = ["section", "priority", "maintainer", "architecture"]


def unit_vectors(table):
    """The embedding column as unit vectors in f64, widened exactly from f16."""
    flat = table["embedding"].combine_chunks().flatten().to_numpy()
    vectors = flat.reshape(-1, DIMENSION).astype(np.float64)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def fixed_lists(matrix, element):
    values = pa.array(matrix.reshape(-1), type=element)
    return pa.FixedSizeListArray.from_arrays(values, matrix.shape[1])


def write(table, path):
    pq.write_table(
        table,
        path,
        compression="zstd",
        compression_level=19,
        use_dictionary=DICTIONARY_COLUMNS,
        row_group_size=ROWS,
    )
    print(f"{path}: {table.num_rows} rows, {path.stat().st_size} bytes")


def main():
    if len(sys.argv) not in (3, 4):
        sys.exit(__doc__)
    output = pathlib.Path(sys.argv[3] if len(sys.argv) == 4 else ".")
    packages = pq.read_table(sys.argv[1]).slice(0, ROWS)
    queries = pq.read_table(sys.argv[2]).drop_columns(["neighbors", "cosine"]).slice(0, QUERIES)

    ids = packages["id"].to_numpy()
    # Cosines are computed in f64 and rounded to f32 once, so that the truth does not depend on the order of a sum.
    cosines = (unit_vectors(queries) @ unit_vectors(packages).T).astype(np.float32)
    # Equal cosines (packages with the same text) are ordered by id.
    order = np.argsort(-cosines, axis=1, kind="stable")[:, :NEIGHBORS]
    truth = ids[order]
    nearest = np.take_along_axis(cosines, order, axis=1)
    assert (np.diff(nearest, axis=1) <= 0).all()

    queries = queries.append_column("neighbors", fixed_lists(truth, pa.uint64()))
    queries = queries.append_column("cosine", fixed_lists(nearest, pa.float32()))
    write(packages, output / "debian-10k.parquet")
    write(queries, output / "debian-10k-queries.parquet")


if __name__ == "__main__":
    main()
