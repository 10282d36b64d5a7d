"""What keeps the actors alive: stores, threads, sockets, processes, people.

The rules about instances live one floor below; here is everything that touches the world. One
module knows all the parts: `engine`. The others know the ports of `greenroom.actors.ports` and
each other as little as they can.

The engine
    engine      the verbs; every face calls these and nothing else (sections, reasons beside it)
    directory   which instances are loaded, how they come and go
    registry    which workflows there are, by name and version
    documents   workflows written as data, for the registry (works, keptdata: what their actions do;
                checking, cases, reloading: what is done with files of them)
    slots       how many instances of a workflow live at once
    executor    runs the functions of steps: on the loop, in threads, in processes
    supervisor  how often something may crash before it is given up
    journal     works go in, results come back once they are on disk: the group commit
    sync        the same verbs for code that is not async

Services
    connectors  requests to services and events from them
    secrets     where secrets are kept, and how a name becomes a value
    masking     hiding them in whatever leaves the process

The stores
    store       what a store is, and what all of them agree on
    sqlite      one file, written a group at a time, opened with suspicion
    memory      the same answers out of dicts, for tests
    audit       losses that SQLite does not notice, and how they are noticed
    backup      copies while it runs

The faces
    protocol    bytes in, frames out: the line protocol without a socket
    server      the Unix socket: lines in, replies out, in order (calls is its table of methods)
    client      blocking; async_client for asyncio
    shapes      what every face gives
    filters     status:failed age>1h
    daemon      greenroom serve; dev restarts it on save (socketfile, systemd, watchdog, logs)
    main        the greenroom command; cli has a module a command
    testing     an engine in memory whose time moves when a test says so
    demo        greenroom demo
    benchmarks  greenroom bench

Rules
    One composition root. Whoever needs two parts to meet makes them meet in `engine`.

    One owner. A lock is held for the life of the process; a second one is refused by name.

    One writer. All works of the moment are one transaction; the fsync of a group is the time in
    which the next one gathers, so there is no timer to tune.

    A write that failed in a way that leaves the disk unknown ends the process. What is there is read
    at the next start, never guessed. A full disk is not such a failure.

    The clock, chance, ids and the store come in through ports, so the whole engine runs in tests
    on a clock that stands still.

    A command of the shell pays for what it uses: imports that take long are made late, and say so.

    An author's code may raise anything, block, exit or return nonsense; it becomes the outcome of its
    attempt, and nobody else's affair.

Read `engine`, then `directory` and `journal`, then `sqlite`; then `protocol` and `server`. Underneath
is `greenroom.actors`.
"""
