"""The storage of a run on disk: its directory, its checkpoints, its lock, and the atomic write that all use."""
