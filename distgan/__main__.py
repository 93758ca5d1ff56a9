"""`python -m distgan` runs the command `distgan`, also where that is not on PATH."""

from distgan.cli import main

main()
