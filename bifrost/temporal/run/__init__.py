"""What a run consists of: the workflow side of one execution, from its context to its undoing."""
