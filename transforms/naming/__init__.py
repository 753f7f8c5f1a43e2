"""The ids of events and invitations."""
