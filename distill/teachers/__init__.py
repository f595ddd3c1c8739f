"""Teachers are asked once, one at a time, and what they said is kept."""
