"""The rules: pure functions from frames to frames. No I/O, no clock, no environment, no Prefect."""
