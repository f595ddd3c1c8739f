"""A run small enough for a Job of the tests."""

from end_to_end_cases import MINI

TINY = {
    **MINI,
    "teachers": [],
    "objectives": [{"kind": "task"}],
    "data": {"train": 16, "held_out": 8, "new_phrasing": 4, "validation": 4},
    "budget": {"steps": 4, "batch_size": 4, "save_every": 2, "learning_rate": 0.002},
    "probe": {"texts": 8, "every": 2, "samples": 1},
    "evaluation": {"max_new_tokens": 8},
}
