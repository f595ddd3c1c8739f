"""A report as a run leaves it, for tests of what is made of reports."""

SCORE = {"n": 10, "correct": 5, "accuracy": 0.5, "ci95": [0.2, 0.8]}


def report(**more):
    return {
        "run": "0123456789ab",
        "preset": "p",
        "seed": 0,
        "student": "student-tiny",
        "teachers": ["qwen2-tiny"],
        "steps": 140,
        "tokens": 1000,
        "before": SCORE,
        "after": SCORE,
        "new_phrasing": None,
        "flips": {"fixed": 1, "broken": 0},
        "mcnemar_p": 0.5,
        "by_family": {},
        "cka": {},
        "gate": {},
        "warnings": [],
        "hardware": "CPU",
        "versions": {"torch": "2"},
        "seconds": {"total": 60.0},
        "peak_rss_mb": 900,
    } | more
