"""`python -m flows` is the command line."""

from flows.commands.main import main

main()
