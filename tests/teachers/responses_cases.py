"""What is asked of the bank of answers in its tests, and what it left on disk."""

from distill.data.problems import generate
from distill.teachers.response_cache import ResponseRequest

PROBLEMS = generate("train", 10, seed=5)
QUESTIONS = [problem.question for problem in PROBLEMS]
SHORT = ResponseRequest(max_new_tokens=6)
DRAWN = ResponseRequest(samples=2, temperature=1.0, top_p=0.9, max_new_tokens=6, seed=1)


def ask(bank, path, questions=QUESTIONS, request=SHORT, name="qwen", **more):
    """What the bank says, and the progress it reported."""
    seen = []
    return bank.ask(name, path, questions, request, on_progress=lambda *now: seen.append(now), **more), seen


def files(bank):
    return sorted(bank.cache_dir.rglob("*.json"))
