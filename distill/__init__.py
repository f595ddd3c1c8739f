"""Many teachers, one small student: see README.md for a map of the rooms."""

import distill.objectives  # noqa: F401 - so that a config knows every method, before anybody reads one
