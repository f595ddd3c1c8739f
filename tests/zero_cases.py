"""A run of a few seconds, and a question to its student, for test_zerogpu.py and the page it starts."""

RUN = [
    "student=student-tiny",
    "teachers=[gemma2-tiny]",
    "objectives=[{kind: task}, {kind: geometry, mode: kernel, gate: prior}]",
    "data.train=128",
    "data.held_out=8",
    "data.new_phrasing=4",
    "data.validation=8",
    "lora.dropout=0.1",
    "budget.steps=32",
    "budget.batch_size=8",
    "budget.save_every=100",
    "budget.threads=1",
    "probe.texts=8",
    "probe.every=100",
    "probe.samples=0",
    "probe.problems=0",
    "evaluation.max_new_tokens=32",
    "evaluation.batch_size=4",
]
QUESTION = "Ben has 4 apples and buys 3 more. How many apples does Ben have?"
