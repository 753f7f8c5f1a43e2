"""Run the deployments of prefect.yaml on one machine, without a work pool: `essentry-sync serve`.
Prefect schedules, this only asks it to.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml
from prefect import Flow, serve
from prefect.deployments.runner import EntrypointType, RunnerDeployment
from prefect.schedules import Cron

from flows.engine.server import check_server, server_url
from flows.read_back import audit, checkins
from flows.sync import sync
from schemas.errors import ConfigurationError
from schemas.load_config import load_config

_PLACES = (
    Path(__file__).parents[2] / "prefect.yaml",
    Path(__file__).parents[1] / "_data" / "prefect.yaml",
)
_FLOWS: dict[str, Flow[..., Any]] = {
    "flows/sync.py:sync": sync,
    "flows/read_back.py:audit": audit,
    "flows/read_back.py:checkins": checkins,
}


def read_deployments() -> list[dict[str, Any]]:
    """The deployments of prefect.yaml: name, description, entrypoint, tags, parameters,
    schedules.
    """
    path = next((place for place in _PLACES if place.exists()), _PLACES[0])
    return list(yaml.safe_load(path.read_text(encoding="utf-8"))["deployments"])


def build_deployments(
    config: Path, *, cron: dict[str, str], timezone: str | None
) -> list[RunnerDeployment]:
    """Deployments of the flows for one configuration file.

    cron: name → cron, or "" for none, instead of prefect.yaml's; timezone: instead of its zones.
    Raises ConfigurationError.
    """
    shipped = read_deployments()
    unknown = sorted(set(cron) - {entry["name"] for entry in shipped})
    if unknown:
        raise ConfigurationError(
            f"there is no deployment {unknown[0]!r}: it is one of "
            f"{', '.join(entry['name'] for entry in shipped)}"
        )
    return [_build(entry, config.resolve(), cron.get(entry["name"]), timezone) for entry in shipped]


def _build(
    entry: dict[str, Any], config: Path, cron: str | None, timezone: str | None
) -> RunnerDeployment:
    schedules = list(entry["schedules"])
    if cron is not None:
        zone = schedules[0]["timezone"] if schedules else "UTC"
        schedules = [{"cron": cron, "timezone": zone}] if cron else []
    try:
        return RunnerDeployment.from_flow(
            _FLOWS[entry["entrypoint"]],
            entry["name"],
            description=entry["description"],
            tags=entry["tags"],
            parameters={**entry["parameters"], "config": str(config)},
            schedules=[
                Cron(s["cron"], timezone=timezone or s["timezone"], active=s.get("active", True))
                for s in schedules
            ],
            entrypoint_type=EntrypointType.MODULE_PATH,
        )
    except ValueError as error:
        raise ConfigurationError(
            f"the schedule of {entry['name']} is not valid: {_first_line(error)}"
        ) from None


def _first_line(error: ValueError) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return next((line for line in lines if line.startswith("Value error")), lines[-1])


def serve_deployments(config: Path, *, cron: dict[str, str], timezone: str | None) -> None:
    """Serve until the process is ended. Raises ConfigurationError before anything is scheduled.

    A run that is due beside another is started and skipped by the lease: it does not wait.
    """
    load_config(config)
    if server_url() is None:
        raise ConfigurationError(
            "serve needs a Prefect server that stays: `prefect server start`, "
            "then PREFECT_API_URL=http://127.0.0.1:4200/api"
        )
    check_server()
    deployments = build_deployments(config, cron=cron, timezone=timezone)
    serve(*deployments, limit=len(deployments) + 1)
