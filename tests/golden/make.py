"""Makes the golden store of the newest format: `python -m tests.golden.make`.

Run it once for each format, on the day the format is released, and never again: that an old store
opens is worth something only while nobody makes the old store anew.
"""

from __future__ import annotations

import asyncio
import gzip
import sys
import tempfile
from pathlib import Path

import msgspec

from tests.golden.story import HERE, VERSION, after, before


async def make(folder: Path) -> tuple[Path, Path]:
    with tempfile.TemporaryDirectory() as scratch:
        store = Path(scratch) / "golden.db"
        stories = {"before": await before(store)}
        packed = gzip.compress(store.read_bytes(), 9, mtime=0)
        stories["after"] = await after(store)
    made = folder / f"v{VERSION}.db.gz", folder / f"v{VERSION}.json"
    made[0].write_bytes(packed)
    made[1].write_bytes(msgspec.json.format(msgspec.json.encode(stories), indent=1) + b"\n")
    return made


if __name__ == "__main__":
    for path in asyncio.run(make(HERE)):
        sys.stdout.write(f"{path}  {path.stat().st_size:,} bytes\n")
