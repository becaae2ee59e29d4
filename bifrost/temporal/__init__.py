"""Bifrost on Temporal: the generated workflow around user code, and the activities that its calls become.

    workflow         one run, from its start argument to its result (determinism and replay are explained there)
    run/             what a run consists of: its context, calls, progress, clock, time-out, approval, undoing
    activities       what happens outside of runs: begin, checkpoint, integration calls
    interceptors     who runs for whom, carried from a run to its activities
    failures         errors across the boundary, whole
    payloads/        values across the boundary: as JSON, masked, encrypted, and stored outside where they are large
    limits/          how much at once and how fast, over all workers; and when a call has to wait
    schedules/       which Temporal Schedules there should be, and how they come to be
    providers/       data providers: run, kept for everybody, and held to
    retries          how activities are tried again
    attributes       the search attributes by which executions are found
    client           connecting, starting, awaiting
    history          what an execution did, read from its history
    replay           would it still come the same way?
    resuming/        going on with what ended
    revisions        which revisions open executions need
    worker           all of it, serving a task queue; `slots` and `runtime` are what it stands on
    operating/       a namespace prepared, an installation looked at, workers measured
"""
