"""Who acts: a pure core, and thin actors around it.

                     message
                        |
        +---------------v----------------+
        |  decide     on a working copy  |  Rejected: the caller's fault, nothing happened
        +---------------+----------------+
                        | entries (past tense)
        +---------------v----------------+
        |  append     one commit a group |  only from here on is anybody answered
        +---------------+----------------+
                        | durable
        +---------------v----------------+
        |  evolve     the new progress   |
        |  pending    what is owed now   |
        +---------------+----------------+
                        | effects
           run a step, arm a timer, post an event, answer a caller
                        |
                        +-- outcomes come back as messages

That is a *turn*, in this order and nowhere else. What is owed follows from the progress alone, so a
crash needs no code of its own: load the entries, fold them, perform what is pending.

The core, without IO, clock or chance
    entries    the alphabet of the journal; one stored entry is one turn
    progress   the fold of an instance's entries, and evolve, which is total
    decide     from a message to entries: outcomes, timers, events, answers, what a crash leaves
    verbs      the rules of begin, pause, resume, cancel, skip, edit
    body       the workflow of an instance at work: from a cause to the entry of its turn
    effects    pending: what an instance owes the world, from its progress
    walk       what comes next in a plan, through its scopes (frames: what it remembers of them;
               spots: where in it an op stands; planned: what the plan says of it)
    machine    the live coroutines of a program and their scheduler (branches: who runs; asking: what
               an op asks for; cell, fiber below it)
    turns      what one cause leads to, in a plan or a program, or how the turn dies
    failures   from exceptions to what the journal keeps of them
    replay     from entries back to a machine
    messages   what an instance may be told
    edits      what a person may change of a live instance: its state, its version
    waits      which open waits of an instance may take an event
    collected  what a trigger has collected for one key, and what becomes of it

Looking back: recorded instances followed without running anything
    recheck    does today's code do what an instance has recorded?
    rehearsal  is a program what its journal says, run once more?
    retrace    where would a recorded instance go on another version?

The actors
    instance       a kernel, a mailbox, and what it has running
    router         from an event to everything it does, as one work
    subjects       events with one subject, one after another
    subscriptions  which triggers want an event (buckets: by value, prefix and range)
    collector      events that are gathered or held back before an instance starts (recollected:
                   those of the past)
    timer          the due list of sleeps, deadlines, retries and schedules (agenda below it)
    children       how a child is named
    rows           which rows a turn writes beside its entries
    ports          what all of them need of the world, as types; greenroom.runtime implements it

Rules
    Acknowledged means durable. Nobody outside is answered and no effect starts before the entries
    are on disk.

    The machine is a cache. Dropped and replayed it gives the same requests, because the order of
    the journal is the order of the scheduler. Where it does not, the code has changed: the instance
    is parked with both sides, and nothing runs.

    An outcome is fenced by op key and attempt; attempt numbers only rise. What comes late or twice
    leads to no entry.

    What must be decided against other rows (is this key taken? has this id been seen? which waits
    does this event meet?) is decided inside the commit, where no answer can be stale.

    A waiting instance has no task and no memory. Statuses, waits, subscriptions and timers are
    written with the entry that makes them, so leaving memory writes nothing.

    Every mailbox, queue and loop has a limit with a name.

Read `entries`, `progress`, `decide`, then `instance`, then `router` and `timer`, then `ports`. The
floor below is `greenroom.definitions`, the one above `greenroom.runtime`.
"""
