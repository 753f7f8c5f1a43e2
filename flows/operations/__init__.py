"""Commands that are needed rarely: taking over, looking around, moving, restoring, forgetting."""
