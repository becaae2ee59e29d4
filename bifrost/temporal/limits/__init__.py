"""How much at once and how fast, over all workers; and when a call has to wait."""
