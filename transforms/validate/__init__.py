"""Source rows typed, checked, and rejected with a reason."""
