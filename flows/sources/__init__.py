"""The source databases: presets, SELECTs, one transaction for both, a second look by key."""
