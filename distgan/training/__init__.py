"""The training of a run: its state, its step, its checkpoints and its loop."""
