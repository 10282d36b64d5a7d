"""What a workflow is: the lowest floor, and pure.

Here are the ways authors write workflows, the little languages inside them, and the one model all
of it compiles to. Nothing here is asynchronous, does IO, reads a clock or throws dice: time and
chance are arguments. So everything can be tested with plain calls, and the same text means the
same before a crash, after it, and on the machine of somebody who only wants to check a definition.

The model
    workflow   Definition, Plan, Program, Trigger: what the actors run and nothing else
    declare    @workflow: from a function or class to a Definition (options: what it can be told)
    errors     every error a user can meet; the class says whose fault it is
    events     an event, with the attribute names of CloudEvents
    patterns   regular expressions of forms, on an engine that no answer makes slow
    names      what workflows and namespaces may be called
    values     what may be stored, and the round trip every value makes before it is handed on
    roots      a state that is no object, in an instance whose state is one
    limits     how many instances at once, how often, how long
    inputs     what it is started with, as a JSON Schema: the fields of a form
    planshape  the stored form of a plan: enough to draw it, and to follow it with today's functions
    gates      only_if and classify: what may start, and what failures are called
    engines    how an author's class finds the engine that is open

Step lists and programs
    steps         begin >> a >> conditional(p)(b) >> done: compiles to a Plan
    scopes        what holds steps inside a list: step_group, parallel, foreach, callback_step
    lent          a state in the hands of its author's predicates, copied where it is read
    injection     from state keys to the parameters of a step
    ops           what a program may await: each awaitable yields itself to the machine that drives
                  it
    blocks        timeout, within, scope: limits of time and groups of work inside a program
    programs      classes with handle(), and what goes side by side: a Program
    tasks         a unit of work as a class
    waits         Wait("Event").days(3); moments says when it is over
    versions      one name, several implementations
    purity        what a program must not do itself, found when it is registered
    eventclasses  events as classes of the author
    zenaton       the names of its SDK, for programs that come from there

Documents
    documents       JSON or YAML: read, checked as a whole, compiled (actions and coreactions
                    inside; coreparameters and shapes for what is written there)
    lowering        each action becomes a node of a plan
    parameters      what the expressions of an action gave, judged before anything is sent
    openings        what starts an instance
    catalog         what a document may name
    grants          what a document uses of the world, and what of it needs a grant
    analysis        what is odd though each line is right
    trying          followed with what its expressions see, nothing sent
    documentschema  the JSON Schema for editors
    located         text as data, with the place of everything in it (yamltext for YAML)

Stage graphs
    stagegraphs     the stages of a folder and the arrows between them
    stages          what the file of a stage talks to: get_stage(), next_stage(...)
    stageruns       one run through the graph: a program over it
    stageworkflows  a stage graph as a workflow

Template flows
    templates     what a kind of flow does, as a table of events (approvals is one)
    flows         a template with an author's targets, fields and handlers (flowfields, flowevents)
    flowruns      one request: a program over the table
    handlers      hooks, reducers, prefetches
    destinations  who is asked, and in what order (people, permissions, deciding)
    integrations  services as handlers call them (services below it)
    sym           the names of its SDK, for handlers that come from there
    simulations   the order of the handlers for a list of events

Forms
    forms      functions that ask for one page after the other (inputsteps: a step that does)
    pages      classes with annotated fields; fields are their kinds, fieldlimits what others say
               of them; schemapages from a schema
    questions  read_text(...): a form written like a terminal program
    reading    from an answer to the annotated type, with every error

Resources and services
    resources     classes of stored domain objects: what a row of the store is as an object
    connectors    what a service can be asked to do, and the events it sends (connectordocs as
                  documents)
    requests      the request of an action, a template over its parameters
    actionerrors  how an action fails, in words a retry policy can name
    credentials   by reference: secret://name
    signatures    who sent an event
    networks      which addresses may be reached
    rates         how often a service may be asked
    schemas       JSON Schema, all problems at once, offline

Events and time
    matching     where=: which events a trigger or wait is for (facets: what an index can use of it)
    collecting   triggers of several events: any_of, all_of, unless, debounce, throttle, batch
    correlation  waits that belong together: wait_all, wait_any, wait_absent
    findings     a line of an answer to "why did this not match?"
    durations    "2s", "3 days", ISO 8601
    schedules    cron, rates, single moments (cron and calendars below it; previews: what would be)
    attempts     the attempt that runs here, for what it calls
    retries      when a failed attempt is tried again; jitter from a hash, never from dice
    instants     what an expression may know of time and chance

Little languages
    expressions  "::data.total", JMESPath under a budget (syntax, evaluation, functions below it)
    conditions   criteria of typed attributes (operands below it)
    transforms   how a response changes the state
    formats      {name} in texts
    paths        a.b.c inside nested objects
    suggest      "did you mean"
    jsonlayout   a JSON text with other values in it, laid out as its author laid it out

Rules
    One model. A way of writing is a front end: it ends in a Plan or a Program. The actors never ask
    how a workflow was written.

    A Plan has stable keys: it can be drawn, checked, previewed and resumed from the state alone. A
    Program is driven and replayed; its keys are positions.

    What is wrong is found when it is read: all problems at once, each with its place.

    A budget goes with everything that an author's text can make long.

    Nothing is registered anywhere. A definition hangs on the object it was made from, and an engine
    is given the object.

Read `workflow`, then `steps` and `ops`, then `matching`; then what you came for: `lowering`,
`stageruns` and `flowruns` are where the other ways end in a Plan or a Program. The next floor
is `greenroom.actors`.
"""
