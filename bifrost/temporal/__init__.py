"""Bifrost on Temporal: the generated workflow around user code, and the activities that its calls become.

    workflow         one run, from its start argument to its result (determinism and replay are explained there)
    durable_context  what user code calls inside a run
    progress         checkpoints and log lines, written in the history
    environment      the run's clock, dice and waiting
    activities       what happens outside of runs: begin, checkpoint, integration calls
    interceptors     who runs for whom, carried from a run to its activities
    failures         errors across the boundary, whole
    values           what may cross the boundary, and as which JSON
    converter        values across the boundary; the last line of defence for secrets
    payloads         large values, which lie outside Temporal
    client           connecting, starting, awaiting
    history          what an execution did, read from its history
    revisions        which revisions open executions need
    worker           all of it, serving a task queue
"""
