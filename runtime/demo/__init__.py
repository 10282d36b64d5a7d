"""`greenroom demo`: a proof that anybody can run, and read.

Three processes that know little of each other:

- a daemon (`greenroom serve`) with the workflow of `orders.py`, on a data directory that is thrown
  away afterwards;
- a pretend bank (`bank.py`), which the steps pay, and whose file is the only witness that counts;
- the director (`director.py`), which posts `events.ndjson` through the daemon's socket, kills the
  daemon while steps run and instances wait, starts it again, and posts once more, with the same ids,
  what had no answer.

In the end `count.py` compares the events with the bank's file. It does not import greenroom. The
command succeeds only if nothing was lost, nothing was booked twice and the kill really hit work.

`orders.py`, `bank.py`, `count.py` and `events.ndjson` are also in `examples/orders`.
"""
