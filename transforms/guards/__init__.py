"""What is asked of a person before anything is sent."""
