"""Codes for the gate: read back by a decoder of another make, refused for whom nobody expects, and
never over somebody else's files.
"""

from __future__ import annotations

import csv
from base64 import b64encode
from datetime import timedelta
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import zxingcpp
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from playwright.sync_api import sync_playwright

from flows.operations.codes import MANIFEST, write_codes
from schemas.errors import ConfigurationError
from tests.command import run
from tests.firm import Firm
from tests.flows.test_report_html import ARGUMENTS, CHROMIUM, REQUIRED
from transforms.operations.codes import MANIFEST_COLUMNS, name_files


def read_manifest(folder: Path) -> list[dict[str, str]]:
    with (folder / MANIFEST).open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def read_image(path: Path) -> str:
    with Image.open(path) as image:
        (code,) = zxingcpp.read_barcodes(np.asarray(image.convert("L")))
    return str(code.text)


def read_codes(folder: Path) -> dict[str, str]:
    """Invitation id as the list has it → what its image says."""
    return {row["invitation_id"]: read_image(folder / row["file"]) for row in read_manifest(folder)}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "codes"


def write(firm: Firm, folder: Path, *asked: str, form: str = "png"):
    return write_codes(firm.config, folder, form=form, asked=asked, as_of=firm.now)


def held(firm: Firm) -> set[str]:
    return {guest for guests in firm.held().values() for guest in guests}


@pytest.mark.parametrize("policy", ["per-event", "shared", "sealed"])
def test_each_code_holds_exactly_the_id_that_essentry_knows(
    firm: Firm, folder: Path, policy: str
) -> None:
    firm.sections["essentry"] = {"invitation_ids": policy}
    firm.book("Gespräch 1/2: A-B", "ada", "ü b")
    firm.book("b", "ada")
    firm.book(
        "c",
        who={"email": "x@out.example"},
        guests={"k": {"guest_id": None, "email": "x@out.example"}},
    )
    firm.night()
    done = write(firm, folder)
    codes = read_codes(folder)
    assert set(codes) == held(firm)
    assert all(text == invitation for invitation, text in codes.items())
    assert done.refused == {}
    assert (
        folder.stat().st_mode & 0o777,
        {path.stat().st_mode & 0o777 for path in folder.iterdir()},
    ) == (0o700, {0o600})
    texts = (folder / MANIFEST).read_text() + " ".join(path.name for path in folder.iterdir())
    assert "@" not in texts


def test_the_list_names_the_sources_own_keys_and_nobody(firm: Firm, folder: Path) -> None:
    start = firm.book("K-2026-0010", "ada")["start"]
    firm.night()
    write(firm, folder)
    (row,) = read_manifest(folder)
    assert list(row) == MANIFEST_COLUMNS
    assert row == {
        "file": "rooms-K~2D2026~2D0010-ada.png", "invitation_id": "rooms-K~2D2026~2D0010-ada",
        "event_id": (
            "rooms-K~2D2026~2D0010"
        ), "source": "rooms",
        "source_event_id": "K-2026-0010", "guest_id": "ada",
        "starts_at": start.strftime("%Y-%m-%dT%H:%M:%SZ"),
        "ends_at": (start + timedelta(hours=1)).strftime("%Y-%m-%dT%H:%M:%SZ"), "location_id": "11",
    }  # fmt: skip


def test_whom_nobody_expects_gets_none_and_loses_the_one_of_before(
    firm: Firm, folder: Path
) -> None:
    for key in "abc":
        firm.book(key, f"g{key}")
    firm.book("soon", "now", start=firm.now + timedelta(hours=4))
    firm.night()
    assert write(firm, folder).codes == 4
    firm.cancel("a")
    firm.meetings["rooms"]["b"]["guests"] = {"other": "other@out.example"}
    firm.night()
    firm.now += timedelta(hours=6)
    done = write(firm, folder)
    assert set(read_codes(folder)) == {"rooms-b-other", "rooms-c-gc"}
    assert (done.codes, done.removed) == (2, 3)
    assert {path.name for path in folder.iterdir()} == {
        MANIFEST,
        "rooms-b-other.png",
        "rooms-c-gc.png",
    }


@pytest.mark.share(2)
@pytest.mark.parametrize(
    ("asked", "why"),
    [
        ("rooms-a", "the event was cancelled"),
        ("rooms-over", "the event is over"),
        ("rooms-over-o", "the event is over"),
        ("rooms-never", "essentry has confirmed no such event or invitation"),
        ("rooms-b-gone", "essentry has confirmed no such event or invitation"),
    ],
)
def test_who_is_asked_for_in_vain_is_refused_with_the_reason(
    firm: Firm, folder: Path, asked: str, why: str
) -> None:
    firm.book("a", "x")
    firm.book("b", "x")
    firm.book("over", "o", start=firm.now + timedelta(hours=2))
    firm.night()
    firm.cancel("a")
    firm.night()
    firm.now += timedelta(hours=6)
    with pytest.raises(ConfigurationError, match=why):
        write(firm, folder, "rooms-b", asked)
    assert not folder.exists()
    assert write(firm, folder, "rooms-b").codes == 1


def test_what_essentry_has_not_answered_for_gets_no_code(firm: Firm, folder: Path) -> None:
    firm.book("a", "x")
    firm.book("b", "y")
    firm.night()
    firm.meetings["rooms"]["a"]["guests"]["late"] = "late@out.example"
    firm.sandbox.add_faults([{"kind": "drop_after", "times": 20}])
    assert firm.night().exit_code != 0
    firm.sandbox.clear_faults()
    done = write(firm, folder)
    assert (set(read_codes(folder)), list(done.refused)) == ({"rooms-b-y"}, ["rooms-a"])
    with pytest.raises(ConfigurationError, match="has not answered"):
        write(firm, folder, "rooms-a")
    firm.night()
    assert write(firm, folder).codes == 3


def test_one_guest_of_an_event(firm: Firm, folder: Path) -> None:
    firm.book("a", "x", "y")
    firm.night()
    write(firm, folder, "rooms-a-y")
    assert read_codes(folder) == {"rooms-a-y": "rooms-a-y"}


def test_no_code_at_all_is_an_empty_list(firm: Firm, folder: Path) -> None:
    firm.book("a", "x")
    firm.night()
    firm.now += timedelta(days=400)
    assert write(firm, folder).codes == 0
    assert read_manifest(folder) == []


@pytest.mark.parametrize("there", ["photo.png", "manifest.csv", "sub"])
def test_somebody_elses_folder_is_left_alone(firm: Firm, folder: Path, there: str) -> None:
    firm.book("a", "x")
    firm.night()
    folder.mkdir()
    if there == "sub":
        (folder / there).mkdir()
    else:
        (folder / there).write_text("mine")
    with pytest.raises(ConfigurationError, match="not of `essentry-sync qr`"):
        write(firm, folder)
    assert [path.name for path in folder.iterdir()] == [there]


def test_a_strangers_file_beside_our_list_stops_it_and_a_list_tampered_with_removes_nothing_else(
    firm: Firm, folder: Path
) -> None:
    firm.book("a", "x")
    firm.night()
    write(firm, folder)
    (folder / "photo.png").write_text("mine")
    with pytest.raises(ConfigurationError, match=r"photo\.png"):
        write(firm, folder)
    (folder / "photo.png").rename(folder.parent / "photo.png")
    with (folder / MANIFEST).open("a") as file:
        file.write("../photo.png,x,,,,,,,\n")
    write(firm, folder)
    assert (folder.parent / "photo.png").exists()


def test_an_svg_that_a_browser_draws_reads_the_same(firm: Firm, folder: Path) -> None:
    if CHROMIUM is None:
        assert not REQUIRED, "Chromium is missing: apt-get install chromium"
        pytest.skip("no Chromium on this machine: install it, or set CHROMIUM to its path")
    firm.book("a", "x")
    firm.night()
    write(firm, folder, form="svg")
    (row,) = read_manifest(folder)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        page = browser.new_page()
        image = b64encode((folder / row["file"]).read_bytes()).decode()
        page.set_content(f'<img src="data:image/svg+xml;base64,{image}">')
        page.wait_for_function("document.images[0].complete && document.images[0].naturalWidth > 0")
        page.locator("img").screenshot(path=folder.parent / "shot.png")
        browser.close()
    assert read_image(folder.parent / "shot.png") == row["invitation_id"] == "rooms-a-x"


def test_the_command(firm: Firm, folder: Path, tmp_path: Path) -> None:
    file = tmp_path / "essentry-sync.toml"
    file.write_text(
        f'[essentry]\nbase_url = "{firm.sandbox.base_url}"\n[state]\nurl = '
        '"sqlite:///state.sqlite"\n[report]\ndirectory = "runs"\n'
        '[sources.rooms]\nurl = "sqlite:///rooms.sqlite"\nevents_sql = "events.sql"\nguests_sql = '
        '"guests.sql"\ntimes = "utc"\n'
        "[sources.rooms.sites]\n1 = { location_id = 11 }\n"
    )
    done = run("qr", "--config", str(file), "--out", str(folder))
    assert (done.returncode, folder.exists()) == (2, False)  # no state yet
    assert "Traceback" not in done.stderr
    firm.book("a", "x")
    firm.night()
    done = run("qr", "--config", str(file), "--out", str(folder))
    assert (done.returncode, read_codes(folder)) == (0, {"rooms-a-x": "rooms-a-x"})
    assert "each is a key" in done.stdout
    assert "@" not in done.stdout
    done = run("qr", "rooms-nobody", "--config", str(file), "--out", str(folder))
    assert (done.returncode, len(done.stderr.strip().splitlines())) == (2, 1)


@given(
    st.lists(
        st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1, max_size=255),
        unique=True,
        max_size=20,
    )
)
def test_file_names_are_safe_and_never_meet(ids: list[str]) -> None:
    names = name_files(ids, ".png")
    assert len({name.casefold() for name in names}) == len(ids)
    assert all(
        name == Path(name).name and len(name) <= 130 and not name.startswith(".") for name in names
    )
    assert names == [name_files(ids, ".png")[place] for place in range(len(ids))]


def test_capitals_and_reserved_names() -> None:
    names = name_files(["rooms-A-x", "rooms-a-x", "CON", "old/17", ".."], ".png")
    assert all(name.startswith("id-") for name in names)
    assert pd.Series(names).is_unique


@pytest.mark.parametrize("earlier", [False, True])
def test_a_call_that_was_killed_is_repeated_into_its_own_folder(
    firm: Firm, folder: Path, monkeypatch: pytest.MonkeyPatch, earlier: bool
) -> None:
    firm.book("a", "ada")
    firm.book("b", "ben", "cleo")
    firm.night()
    if earlier:
        write(firm, folder, "rooms-a")
    drawn = []

    def draw(path: Path, **_: str) -> None:
        if drawn:
            raise KeyboardInterrupt
        drawn.append(path)

    with monkeypatch.context() as patch:
        patch.setattr("flows.operations.codes._draw", draw)
        with pytest.raises(KeyboardInterrupt):
            write(firm, folder, "rooms-b", form="svg")
    write(firm, folder)
    assert set(read_codes(folder)) == held(firm)
    assert {path.name for path in folder.iterdir()} == {
        MANIFEST,
        *(row["file"] for row in read_manifest(folder)),
    }
