"""A pretend bank: a process of its own, a socket, and a file that it appends to.

    python bank.py SOCKET FILE

A request is one line `{"key": ..., "order_id": ..., "what": ..., "cents": ...}`, the answer one line
`{"receipt": ...}` or `{"error": ...}`. It does what banks do: it takes its time, is too busy now and
then, and now and then books a payment and hangs up before it has said so. It does one more thing
that good banks do: a payment whose idempotency key it has seen is not booked again, the first
receipt is given. Every request leaves one line in the file. When it is told to stop it prints how
many payments it refused to book twice.

Standard library only.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
import zlib
from pathlib import Path
from typing import Any, TextIO


class Bank:
    def __init__(self, file: TextIO) -> None:
        self.file = file
        self.receipts: dict[str, str] = {}
        self.turned_away: set[str] = set()
        self.refused = 0

    def request(self, payment: dict[str, Any]) -> tuple[dict[str, str], bool]:
        """The answer, and whether it is given at all. The file is written before anybody knows."""
        key = str(payment["key"])
        luck = zlib.crc32(f"{payment['order_id']}/{payment['what']}".encode()) % 100
        if key in self.receipts:
            self.refused += 1
            self.write(payment, "refused")
            return {"receipt": self.receipts[key]}, True
        if luck < 12 and key not in self.turned_away:
            self.turned_away.add(key)
            self.write(payment, "busy")
            return {"error": "the bank is busy"}, True
        self.receipts[key] = f"{payment['what']}-{len(self.receipts) + 1}"
        self.write(payment, "booked")
        return {"receipt": self.receipts[key]}, luck < 92

    def write(self, payment: dict[str, Any], result: str) -> None:
        self.file.write(json.dumps({**payment, "result": result}) + "\n")
        self.file.flush()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            line = await reader.readline()
            if line:
                payment = json.loads(line)
                answer, given = self.request(payment)
                await asyncio.sleep(0.10 + zlib.crc32(line) % 150 / 1000)
                if given:
                    writer.write(json.dumps(answer).encode() + b"\n")
                    await writer.drain()
        except OSError:
            pass  # the customer is gone; what is booked is booked
        finally:
            writer.close()


async def serve(socket: str, file: TextIO) -> int:
    """Serves until it is told to stop; gives how many payments were refused."""
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    bank = Bank(file)
    server = await asyncio.start_unix_server(bank.serve, socket)
    print("open", flush=True)
    await stop.wait()
    server.close()
    return bank.refused


def main(socket: str, path: str) -> None:
    os.umask(0o077)
    Path(socket).unlink(missing_ok=True)
    with Path(path).open("a", encoding="utf-8") as file:
        refused = asyncio.run(serve(socket, file))
    Path(socket).unlink(missing_ok=True)
    print(f"refused {refused}", flush=True)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])
