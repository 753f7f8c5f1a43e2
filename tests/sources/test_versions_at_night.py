"""Whole nights on the tables of every version: what essentry holds is what the rows say, and a
quiet night sends nothing.
"""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from schemas.config import Config
from tests.flows.test_night import WIDE, ended_well, held_meetings, sandbox, sync  # noqa: F401
from tests.sources.databases import database
from tests.sources.test_presets import ENGINES, SYSTEMS

TODAY = datetime(2026, 11, 24, 1, tzinfo=UTC)


@pytest.mark.share(5)
@pytest.mark.parametrize(("system", "kind", "version"), ENGINES)
def test_a_night_on_each_version(system, kind, version, tmp_path, sandbox) -> None:  # noqa: F811
    module = SYSTEMS[system]
    charset = module.VERSIONS[version][1]
    with database(kind, tmp_path, charset=charset) as engine:
        module.create_schema(engine, version=version)
        if system == "frappe_hrms" and version in ("14", "15.0"):
            pytest.skip(
                "the site is the interviewer's there: the truth of the tests knows the job "
                "opening's"
            )
        tables = module.fill(engine, seed=8, today=TODAY, events=250, charset=charset)
        source = {**module.CONFIG, "url": engine.url.render_as_string(hide_password=False)}
        if system == "librebooking":
            source["params"] = {**source["params"], "link_attribute": None, "link_source": None}
        config = Config(root=tmp_path, sources={"sys": source}, guards=WIDE)
        first = sync(config, TODAY)
        assert ended_well(first), first.report["verdict"]
        # no default of the privacy
        shown = tables | (
            {"res_users_settings": []} if system == "odoo" and version in ("15", "16") else {}
        )
        assert held_meetings(sandbox, "sys-") == module.truth(shown, as_of=TODAY).meetings
        puts, mails = sandbox.requests()["puts"], len(sandbox.mails())
        assert ended_well(sync(config, TODAY))
        assert (sandbox.requests()["puts"], len(sandbox.mails())) == (puts, mails)
