"""The command line: every command is one method of the socket.

A command parses its arguments, calls `Session.call(method, **params)` and prints what came back.
Behind `call` is the daemon's socket, or, with `--data` and no daemon, the store opened in this
process; the answers are the same JSON. What `-o json` prints is that JSON and is kept stable;
what a terminal shows is for people and may change.

Reading order: `group` (the list of commands, global options), `session` and `backend` (where an
answer comes from), `output` and `sentences` (how it is printed), `errors` (messages and exit
codes), then one module for each group of commands. `items`, `words` and `quick`
import neither click nor msgspec: `greenroom post` and completion run on them alone, since a
process that is started for every event pays for its imports every time.

Exit codes: 0 done, 1 the workflow failed, 2 wrong usage or input, 3 not found, 4 no daemon,
5 refused, 6 timeout.
"""
