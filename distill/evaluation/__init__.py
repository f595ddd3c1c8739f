"""Answers generated and graded, and what may be concluded from their number."""
