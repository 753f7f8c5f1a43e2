"""People who look like colleagues, or like somebody else's company: hosts from outside, and crowds
of one domain among the invited. Pure.

`internal_domains` decides who is an employee. When it lacks a domain, or has a typing mistake,
employees are invited to their own meetings: what is seen then is a host whose domain is not in it,
guests of a host's domain, or very many people of a domain that was never invited.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial

import numpy as np
import pandas as pd

from schemas.config import Config
from transforms.arrow.codes import to_texts
from transforms.arrow.columns import is_among
from transforms.arrow.rows import pick_rows
from transforms.diff.changes import Diff
from transforms.guards.findings import Finding, find_over
from transforms.validate import people
from transforms.words import plural

HOST_COLUMNS = ["source", "domain", "changed"]
SEEN = 5
"""Meetings that essentry holds of guests of a domain, from which on the domain is a known one."""


@dataclass(frozen=True)
class Precedents:
    """What essentry holds already. `hosts`, `guests`: domain → events of such a host, or with such
    a guest, counted up to `most`.
    """

    hosts: Callable[[str, int], int]
    guests: Callable[[str, int], int]


def count_hosts(diff: Diff, events: pd.DataFrame) -> pd.DataFrame:
    """HOST_COLUMNS of the events that are due in a part, a row a source and domain; `changed`: how
    many of its events are created or updated.
    """
    sent = diff.changes.loc[diff.changes["action"].isin(["create", "update"]), "source_id"]
    hosts = events[["source", "host_email"]].assign(
        changed=is_among(events["source_id"], sent).astype(np.int64)
    )
    by_host = hosts.groupby(["source", "host_email"], observed=True)["changed"].sum().reset_index()
    return _sum_up(by_host.assign(domain=_domains(by_host["host_email"]))[HOST_COLUMNS])


def unite_hosts(parts: Iterable[pd.DataFrame]) -> pd.DataFrame:
    """HOST_COLUMNS of a whole night."""
    frames = [part for part in parts if len(part)]
    return (
        _sum_up(pd.concat(frames, ignore_index=True))
        if frames
        else pd.DataFrame(columns=HOST_COLUMNS)
    )


def _sum_up(hosts: pd.DataFrame) -> pd.DataFrame:
    return hosts.groupby(["source", "domain"], observed=True)["changed"].sum().reset_index()


def _domains(addresses: pd.Series) -> pd.Series:
    return addresses.astype("str").str.replace(r"^.*@", "", regex=True)


def find_strangers(
    diff: Diff,
    earlier: Diff | None,
    hosts: pd.DataFrame,
    config: Config,
    precedents: Precedents,
    *,
    first_run: bool = False,
) -> list[Finding]:
    """The guards on hosts from outside and on crowds of one domain.

    earlier: what was sent in the hours that limits look back. hosts: of the whole night,
    `unite_hosts`; with no rows, guests alone are judged.
    """
    return [
        *_check_hosts(hosts, config, precedents),
        *_check_crowds(diff, earlier, hosts, config, precedents, first_run=first_run),
    ]


def _check_hosts(hosts: pd.DataFrame, config: Config, precedents: Precedents) -> list[Finding]:
    findings: list[Finding] = []
    for source, rows in hosts[hosts["changed"] > 0].groupby("source"):
        inside = config.sources[str(source)].internal_domains
        if not inside:
            continue
        rows = pick_rows(rows, ~people.are_of_domains("x@" + rows["domain"], inside))
        new = [
            (row.domain, int(row.changed))
            for row in rows.itertuples(index=False)
            if not precedents.hosts(row.domain, 1)
        ]
        text = (
            "events have a host outside internal_domains, of a domain that never had one: "
            "its people count as guests"
        )
        count = sum(number for _, number in new)
        named = partial(_name_domains, new, "event", "events")
        findings += find_over(
            "max_outside_hosts",
            f"source {source}",
            count,
            config.guards.max_outside_hosts,
            text,
            causes=named,
        )
    return findings


def _check_crowds(
    diff: Diff,
    earlier: Diff | None,
    hosts: pd.DataFrame,
    config: Config,
    precedents: Precedents,
    *,
    first_run: bool,
) -> list[Finding]:
    guards = config.guards
    crowds = _count_invited(diff)
    if crowds.empty:
        return []
    before = _count_invited(earlier) if earlier is not None else crowds.iloc[:0]
    of_hosts = set(hosts[["source", "domain"]].itertuples(index=False, name=None))
    findings: list[Finding] = []
    for source, rows in crowds.groupby("source"):
        known = before[before["source"] == source]
        sure, new = [], []
        # as many as there are domains among tonight's guests
        for domain, mine in rows.groupby("domain"):
            old = known[known["domain"] == domain]
            people_of = len({*mine["identity"], *old["identity"]})
            if (source, domain) in of_hosts and config.sources[str(source)].guests != "all":
                if people_of > guards.max_host_domain_guests:
                    sent = old["source_id"].nunique()
                    seen = precedents.guests(str(domain), SEEN + sent) - sent
                    sure += [(str(domain), people_of)] if seen < SEEN else []
            elif (
                people_of > guards.max_new_domain_guests
                and not first_run
                and precedents.guests(str(domain), SEEN) < SEEN
            ):
                new.append((str(domain), people_of))
        text = (
            "people of a host's own domain would be invited as guests: "
            "internal_domains seems to lack it"
        )
        findings += _tell(
            "max_host_domain_guests", str(source), sure, guards.max_host_domain_guests, text
        )
        text = (
            "people of one domain would be invited of which hardly anybody was before: "
            "see that internal_domains has every domain of yours"
        )
        findings += _tell(
            "max_new_domain_guests", str(source), new, guards.max_new_domain_guests, text
        )
    return findings


def _tell(
    guard: str, source: str, crowds: list[tuple[str, int]], limit: int, text: str
) -> list[Finding]:
    if not crowds:
        return []
    named = partial(_name_domains, crowds, "person", "people")
    return find_over(
        guard, f"source {source}", max(count for _, count in crowds), limit, text, causes=named
    )


def _name_domains(counts: list[tuple[str, int]], noun: str, nouns: str) -> list[str]:
    """The largest, by their domain: an address would name a person."""
    ordered = sorted(counts, key=lambda item: (-item[1], item[0]))
    return [f"{domain}: {plural(count, noun, nouns)}" for domain, count in ordered]


def _count_invited(diff: Diff) -> pd.DataFrame:
    """source, source_id, identity and domain of every invitation by address."""
    invited = diff.mails[(diff.mails["kind"] == "invited").to_numpy(dtype=bool)]
    identity = to_texts(invited["identity"])
    named = identity.str.startswith("name:").to_numpy(dtype=bool, na_value=False)
    frame = pd.DataFrame(
        {
            "source": to_texts(invited["source"]),
            "source_id": to_texts(invited["source_id"]),
            "identity": identity,
        }
    )
    frame = pick_rows(frame, ~named)
    return frame.assign(domain=_domains(frame["identity"]))
