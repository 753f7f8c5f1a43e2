"""The quick start's fictional company: its people, its calendar, its two databases."""
