"""essentry's API: requests, answers, and what is read back."""
