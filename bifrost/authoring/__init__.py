"""For whoever writes workspace code: what is known of it before anything runs.

    source     a workflow's code, read in the namespace that a run would have
    check      everything that a run would refuse, found beforehand
    diagram    a workflow as a Mermaid flowchart: `reading` tells it as a `flow`, `mermaid` writes it down
    scaffold   new workflows, integrations and data providers, each with a test that passes
"""
