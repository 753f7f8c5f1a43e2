"""Both tables of a source by dlt into Parquet files: `python with_dlt.py FOLDER` prints the
seconds; the URL is in BENCH_SOURCE_URL. It runs in an environment of its own (see `extracts.py`),
and imports nothing of ours.

Its fastest settings: connectorx, both tables at once, files as they come (nothing is normalised).
"""

import json
import os
import sys
import time
from pathlib import Path

import dlt
from dlt.destinations import filesystem
from dlt.sources.sql_database import sql_database


def main() -> None:
    """Extract, tell."""
    url, folder = os.environ["BENCH_SOURCE_URL"], sys.argv[1]
    pipeline = dlt.pipeline(
        "bench",
        pipelines_dir=f"{folder}/pipelines",
        destination=filesystem(Path(folder, "files").as_uri()),
        dataset_name="rooms",
    )
    source = sql_database(
        url,
        table_names=["events", "guests"],
        backend="connectorx",
        backend_kwargs={"return_type": "arrow"},
    ).parallelize()
    start = time.perf_counter()
    pipeline.run(source, loader_file_format="parquet", write_disposition="replace")
    seconds = time.perf_counter() - start
    counts = pipeline.last_trace.last_normalize_info.row_counts
    print(json.dumps({"seconds": seconds, "counts": {n: counts[n] for n in ("events", "guests")}}))


if __name__ == "__main__":
    main()
