"""Every error the command line turns into one readable message and an exit code.

    SyncError                    1  our bug, if it ever surfaces bare
    ├── ConfigurationError       2  a wrong key, file, URL, secret or argument
    │   ├── ReportError          2  the report's files cannot be written
    │   ├── StateError           2  the state store is missing, locked, read-only, corrupt,
    │   │                           of another identity
    │   └── StalePlanError       2  the plan can no longer be applied as it stands
    ├── GuardTripped             4  the plan would do more than the configuration allows
    ├── LeaseHeld                4  another run works on the same state store
    ├── SourceError              5  a source could not be read, or its SELECT is wrong
    └── EssentryError            6  essentry cannot be reached
        └── EssentryUnauthorised 6  essentry refused the token (401, 403)

Messages name the remedy and never a person or a secret. Exit code 0 is a finished run, 3 a finished
run in which some events were rejected or have an unknown outcome, 10 a comparison that found
differences.
"""

from __future__ import annotations

EXIT_DONE = 0
EXIT_BUG = 1
EXIT_INCOMPLETE = 3
EXIT_DIFFERENT = 10


class SyncError(Exception):
    """Base of all errors of essentry-sync; `exit_code` is what the command line ends with."""

    exit_code = EXIT_BUG


class ConfigurationError(SyncError):
    """A setting, argument, file, URL or secret is wrong; the message names it and the remedy."""

    exit_code = 2


class StateError(ConfigurationError):
    """The state store cannot be used as it is; nothing has been sent."""


class ReportError(ConfigurationError):
    """The files of a report cannot be written; what the run did is in the state store."""


class StalePlanError(ConfigurationError):
    """The stored plan is expired, changed, or based on a state that has moved; nothing has been
    sent.
    """


class GuardTripped(SyncError):
    """A guard stopped the sending; the plan waits for approval."""

    exit_code = 4


class LeaseHeld(SyncError):
    """Another run holds the state store's lease; nothing has been sent."""

    exit_code = 4


class SourceError(SyncError):
    """A source failed before or while it was read; nothing is deleted on its account."""

    exit_code = 5


class EssentryError(SyncError):
    """essentry cannot be reached within the time budget."""

    exit_code = 6


class EssentryUnauthorised(EssentryError):
    """essentry refused the token (401 or 403)."""
