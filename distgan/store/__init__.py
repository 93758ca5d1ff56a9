"""What a run keeps on disk: its directory, its checkpoints, its lock, and the atomic write that all use."""
