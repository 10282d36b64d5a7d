"""What a workflow is: the lowest floor, and pure.

Here are the ways authors write workflows, the little languages inside them, and the one model all
of it compiles to. Nothing here is asynchronous, does IO, reads a clock or throws dice: time and
chance are arguments. So everything can be tested with plain calls, and the same text means the
same before a crash, after it, and on the machine of somebody who only wants to check a definition.

The model
    workflow    Definition, Plan, Program, Trigger: what the actors run and nothing else
    declare     @workflow: from a function or class to a Definition
    errors      every error a user can meet; the class says whose fault it is
    events      an event, with the attribute names of CloudEvents
    values      what may be stored, and the round trip every value makes before it is handed on

Ways of writing
    steps       begin >> a >> conditional(p)(b) >> done: compiles to a Plan
    programs    classes with handle(), and what goes side by side: a Program
    tasks       a unit of work as a class
    waits       Wait("Event").days(3)
    ops         what a program may await: each awaitable yields itself to the machine that drives it
    injection   from state keys to the parameters of a step
    documents   JSON and YAML: read with the place of everything (located), checked as a whole (shapes,
                actions, coreactions), looked over (analysis), tried out (trying)
    lowering    from a document to a Plan
    catalog     what a document may name: connectors, and steps that are on offer
    resources   classes of stored domain objects: what a row of the store is as an object

Services
    connectors     what a service can be asked to do, and the events it sends (connectordocs as documents)
    requests       the request of an action, a template over its parameters
    credentials    by reference: secret://name
    signatures     who sent an event
    networks       which addresses may be reached
    schemas        JSON Schema, all problems at once, offline

Little languages
    expressions    "::data.total", JMESPath under a budget (syntax, evaluation, functions below it)
    conditions     criteria of typed attributes (operands below it)
    matching       where=: which events a trigger or wait is for, and the equalities an index can use
    transforms     how a response changes the state
    formats        {name} in texts
    paths          a.b.c inside nested objects
    durations      "2s", "3 days", ISO 8601
    schedules      cron, rates, single moments (cron below it)
    retries        when a failed attempt is tried again; jitter from a hash, never from dice

Rules
    One model. A way of writing is a front end: it ends in a Plan or a Program. The actors never ask
    how a workflow was written.

    A Plan has stable keys: it can be drawn, checked, previewed and resumed from the state alone. A
    Program is driven and replayed; its keys are positions.

    What is wrong is found when it is read: all problems at once, each with its place.

    A budget goes with everything that an author's text can make long.

    Nothing is registered anywhere. A definition hangs on the object it was made from, and an engine
    is given the object.

Read `workflow`, then `steps` and `ops`, then `matching`; the rest when it is needed. The next floor
is `greenroom.actors`.
"""
