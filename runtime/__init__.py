"""What keeps the actors alive: stores, threads, sockets, processes, people.

The rules about instances live one floor below; here is everything that touches the world. One
module knows all the parts: `engine`. The others know the ports of `greenroom.actors.ports` and
each other as little as they can.

The engine
    engine      the facade: every face calls its verbs and nothing else
    layers      what it stands on, each layer knowing those before it: core (what it is made of, how
                it opens and closes), looking, answering, starting, verbs, results
    directory   which instances are loaded, how they come and go (attempts: what a function is given
                and what becomes of its end)
    registry    which workflows there are, by name and version
    executor    runs the functions of steps: on the loop, in threads, in processes (threads workers; context
                is their ctx)
    supervisor  how often something may crash before it is given up
    journal     works go in, results come back once they are on disk: the group commit
    clock       the system's, and one that moves when a test says so
    sync        the same verbs for code that is not async
    facade      what the classes of an author reach the engine through (finder: where_id)

Groups of verbs, each over one noun
    sections      engine.events and engine.asks
    archive       stored events used again: try, redrive (eventreplays: replay into a workflow)
    explanations  what an event did and did not do, as of its time (ledger: what was listened to)
    reasons       why: sentences made from what the store holds
    releases      engine.definitions: versions, promote, rollback, diff (differences between
                  two, remarks on what is odd about a document that is pushed)
    releases      engine.definitions: versions, promote, rollback, diff
    grants        connectors and secrets that documents may use, approved at a release
    recordings    recorded instances on another version: the gate of a promotion
    replays       stored histories on today's code
    schedules     a nominal time comes, and by the schedule's rules work is started
    resources     engine.resources (saves: what a step returned becomes rows; resource_rules for
                  both stores)
    trials        test runs: a namespace of their own, gone at the next start
    stages        engine.stages: graph, deploy, and what the editor does (stagetree: the files of a
                  folder; stageboard, stagelogs: where runs are, and what they did)
    steering      edit, migrate, closing a damaged instance
    forks         which entries a fork begins with
    slots         how many of a workflow live at once (loops: too many that start each other)
    paces         how many of a workflow begin in a time
    census        who lives of a workflow, when its limits come into force
    compare       diff of two instances
    keys          API keys

Where workflows come from
    loading       what stands on a command line: files, modules, folders (what of these is ours)
    trust         whose files a daemon runs
    sources       from a document, or the store's copy of it, to a Definition
    documents     documents for an engine (reloading on SIGHUP; checking and cases look at files)
    works         what the actions of documents do in the world (keptdata: the Data action)
    stagefolders  stages.json and a file a stage (stagechecks, stagehooks, stagemail, stageoutput)

People and services
    forms       the schema somebody sees, and the answer that is complete (notes between two
                questions)
    identity    who may answer; identities: who people are in services
    callbacks   an outside party answers with a token (tokens; links: a person by an address)
    recording   what a handler calls is recorded, one call after the other
    outlets     what carries the messages of flows to people (buttons: clicks in Slack)
    connectors  requests to services and events from them: a package with a map of its own
    secrets     where secrets are kept, and how a name becomes a value
    masking     hiding them in whatever leaves the process

The stores
    store       what a store is, and what all of them agree on
    sqlite      one file, written a group at a time, opened with suspicion; a module for each kind
                of work beside it: sqlite_group sqlite_turns sqlite_route sqlite_match sqlite_read
                sqlite_list sqlite_keep sqlite_resources
    schema      its tables, and how they grow from format to format
    statements  what transactional steps hand in
    memory      the same answers out of dicts, for tests: memory_tables memory_read memory_resources
    audit       losses that SQLite does not notice, and how they are noticed
    progresses  what an instance has come to: its newest snapshot, and the rows after it
    checks      what doctor asks of instances
    progresses  instances as they were
    backup      copies while it runs (upkeep: while nothing does; retention: what ended long ago
                goes)
    lock        one owner at a time

The faces
    calls       the table of methods: what each takes, and the verb that carries it out
    shapes      what every face gives (views makes them from rows)
    filters     status:failed age>1h (terms: what the words mean)
    failures    which failures are one; many: a verb for all that a filter finds
    protocol    bytes in, frames out: the line protocol without a socket
    server      the Unix socket: lines in, replies out, in order
    web         HTTP: a package with a map of its own
    client      blocking; async_client for asyncio; http_client and http_async over HTTP (replies
                and http_wire: what both know; clientverbs: the verbs, which blocking makes block)
    eventloops  which event loops an engine runs under
    daemon      greenroom serve; dev restarts it on save (socketfile, places, systemd, watchdog,
                logs, loggers, tracing)
    main        the greenroom command; cli has a module a command
    testing     an engine in memory whose time moves when a test says so (pytest_plugin;
                crashpoints)
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
