#!/usr/bin/env python3
"""Makes debian-10k-edges.parquet from debian-10k.parquet: edges between packages that belong together.

Usage: make-edges.py [DIRECTORY]
Needs: pyarrow.

part_of          from a package to the one whose name is the beginning of its own, up to a hyphen (0ad-data -> 0ad), weight 1
maintained_with  from a package to the next one of the same maintainer, weight 0.25
"""

import pathlib
import sys

import pyarrow as pa
import pyarrow.parquet as pq


def parent(name, ids):
    """The longest beginning of a name, up to a hyphen, that is a package."""
    parts = name.split("-")
    beginnings = ("-".join(parts[:count]) for count in range(len(parts) - 1, 0, -1))
    return next((ids[beginning] for beginning in beginnings if beginning in ids), None)


def edges(packages):
    rows = packages.select(["id", "name", "maintainer"]).to_pylist()
    ids = {row["name"]: row["id"] for row in rows}
    newest = {}
    for row in rows:
        whole = parent(row["name"], ids)
        if whole is not None:
            yield row["id"], whole, "part_of", 1.0
        before = newest.get(row["maintainer"])
        if before is not None:
            yield before, row["id"], "maintained_with", 0.25
        newest[row["maintainer"]] = row["id"]


def main():
    directory = pathlib.Path(sys.argv[1]) if len(sys.argv) > 1 else pathlib.Path(__file__).parent
    found = list(edges(pq.read_table(directory / "debian-10k.parquet")))
    schema = pa.schema([("from", pa.uint64()), ("to", pa.uint64()), ("type", pa.string()), ("weight", pa.float32())])
    columns = [pa.array(column, type=field.type) for column, field in zip(zip(*found), schema)]
    table = pa.table(columns, schema=schema)
    pq.write_table(
        table, directory / "debian-10k-edges.parquet", compression="zstd", compression_level=19, use_dictionary=["type"]
    )
    print(f"{table.num_rows} edges")


main()
