"""`python -m memx` is the `memx` command."""

from memx.cli import main

main()
