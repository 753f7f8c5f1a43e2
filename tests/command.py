"""`essentry-sync` as a process of its own, as its users meet it. In the test's process it would end
that process with it.

It is forked from a process that has imported everything: of two seconds a command, importing was
one and a half. That `python -m flows` and the entry point start by themselves is shown by tests
that start them so (test_cli, test_terminal, tests/engine).
"""

from __future__ import annotations

from subprocess import CompletedProcess

from tests.chaos.process import start_command

SECONDS = 120


def run(*arguments: str, **environment: str) -> CompletedProcess[str]:
    """A command with nobody at the keyboard; it never ends in a traceback."""
    with start_command(*arguments, environment=environment) as command:
        done = command.wait(SECONDS)
    return CompletedProcess(arguments, done.code, done.out, done.err)
