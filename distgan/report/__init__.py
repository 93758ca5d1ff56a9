"""Pages about runs, each one file that needs no other and no network; all they say is read from run directories."""
