"""What essentry should hold beside what it holds."""
