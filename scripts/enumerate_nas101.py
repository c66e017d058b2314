"""List all cells of NAS-Bench-101 from the published definition, and compare their hashes with a recorded table.

    python scripts/enumerate_nas101.py nasbench101.npz     # array `md5`: uint8 (423624, 16), ascending

Takes about a second for the cells and a minute for the hashes. Exits with 1 where the sets differ.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

from archscout.spaces._nas101_cell import MOST_VERTICES, isomorphism_classes


def main(table: Path) -> int:
    """Print how many cells there are and how many hashes agree; 0 where all do."""
    hashes: list[str] = []
    for vertices in range(2, MOST_VERTICES + 1):
        found = [cell.hash() for cell in isomorphism_classes(vertices)]
        print(f"{vertices} vertices: {len(found):,} cells, {len(set(found)):,} different hashes", flush=True)
        hashes += found
    recorded = [row.tobytes().hex() for row in np.load(table)["md5"]]
    print(f"together {len(hashes):,}; of {len(recorded):,} recorded hashes, {len(set(hashes) & set(recorded)):,} are among them")
    return int(sorted(hashes) != recorded)


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    sys.exit(main(Path(sys.argv[1])))
