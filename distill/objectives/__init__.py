"""Objectives: what a student is trained on. A method is a weighted list of them (see `build.py`)."""
