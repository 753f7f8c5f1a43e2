"""What is Prefect's: servers, task runners, artifacts, deployments, alerts, the wait for an
approval.

Prefect reads the environment once, when it is first imported. So whatever imports it imports this
package first.
"""

import os

SETTINGS = {
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",  # no calls outside
    "DO_NOT_TRACK": "1",
    "PREFECT_LOGGING_EXTRA_LOGGERS": "essentry_sync",  # the log of a run is in Prefect's UI, too
    # the night does not stand still because its server does: 60 seconds, six times
    "PREFECT_API_REQUEST_TIMEOUT": "10",
    "PREFECT_CLIENT_MAX_RETRIES": "2",
}
"""Our defaults for Prefect's own settings; the environment's values win."""

for _name, _value in SETTINGS.items():
    os.environ.setdefault(_name, _value)
