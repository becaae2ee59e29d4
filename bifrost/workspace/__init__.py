"""User code: found, guarded, snapshotted, and run so that Temporal can replay it.

    surface          what workspace code may import of Bifrost, and under which names
    guard            the import rule, for both sides
    finder           imports of `workspace.*` in the live process (integrations, data providers, tests)
    discovery        the live workspace's workflows, providers and integrations, as a `Catalog`
    revision         an immutable snapshot of the source, and the port to the store that keeps it
    revision_stores  that store in a folder, in memory, and behind a URL
    retention        which revisions may be removed
    loader           a snapshot's modules, executed afresh for one run
    determinism      what a run has in place of the machine's clock, dice, files and sockets
    shims            the standard library's modules with that in their place
"""
