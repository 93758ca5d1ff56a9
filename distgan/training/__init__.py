"""The run itself: its state, its step, its checkpoints and its loop."""
