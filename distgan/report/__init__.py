"""Pages about runs, each a self-contained file that needs no network; their content comes from run directories."""
