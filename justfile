# What CI runs, by name. `uv run just` lists it.
default:
    @just --list

# format, lint, types, who may import whom
check:
    uv run ruff format --check .
    uv run ruff check .
    uv run mypy
    uv run lint-imports

# the tests, as the README says
test:
    uv run pytest

# every case of every test; `just test` takes a seeded share of the long ones
test-all:
    uv run pytest --all

# mend what can be mended by itself
fix:
    uv run ruff format .
    uv run ruff check --fix .

# the tables of schemas/CONFIGURATION.md, from the model
docs:
    uv run python -W ignore -m tests.configuration_page

# three nights of a fictional company
demo:
    uv run essentry-sync demo

# random histories with faults, nights over odd values, and a process killed at every step of a night, against the truth; prints a table
chaos count="500" first="0" *options:
    uv run python -W ignore -m tests.chaos {{count}} {{first}} {{options}}

# how fast it is, against the naive script and the best engines; rows in events, default 100000 1000000
bench *arguments:
    uv run --group bench python -W ignore -m tests.bench {{arguments}}

# seconds and peak memory of bringing visits back, for more and more of them
bench-checkins *counts:
    uv run python -W ignore -m tests.bench.checkins {{counts}}

# demos in a row with every core busy: none is silent for more than 10 seconds
demos count="20":
    uv run python -W ignore -m tests.chaos.demos {{count}}
