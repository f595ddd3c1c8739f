"""What is asked during training: spread over families, told apart from what is counted before and after."""

from distill.config.settings import DataConfig, ProbeConfig
from distill.data.grading import grade
from distill.data.problems import generate, showcase
from distill.evaluation.answering import Answer
from distill.evaluation.during import Questions, during, spread
from distill.models.generation import Completion
from distill.runs.events import Evaluation, Sample

PROBLEMS = generate("validation", 120)


def answers(problems, right):
    texts = [f"#### {p.answer if number in right else 'nobody knows'}" for number, p in enumerate(problems)]
    pairs = zip(problems, texts, strict=True)
    return [Answer(p, Completion(text, (), True), grade(text, p.answer)) for p, text in pairs]


def test_problems_are_spread_evenly_over_families_however_they_are_sorted():
    by_family = sorted(PROBLEMS, key=lambda problem: problem.family)
    families = {p.family for p in PROBLEMS}
    taken = spread(by_family, 2 * len(families))
    assert {sum(p.family == family for p in taken) for family in families} == {2}
    assert len(set(taken)) == 2 * len(families)
    assert spread(by_family, 5) == taken[:5]


def test_where_there_are_fewer_all_are_asked():
    assert sorted(p.id for p in spread(PROBLEMS, 512)) == sorted(p.id for p in PROBLEMS)
    assert spread(PROBLEMS, 0) == [] and spread([], 8) == []
    uneven = [p for p in PROBLEMS if p.family == PROBLEMS[0].family] + PROBLEMS[1:3]
    assert len(spread(uneven, 512)) == len(uneven)


def test_samples_are_read_and_the_others_counted():
    questions = Questions(PROBLEMS[:2], PROBLEMS[12:18])
    *samples, counted = questions.events(35, answers(questions.problems, right={0, 2, 3, 7}))
    assert [(s.step, s.problem, s.right) for s in samples] == [(35, PROBLEMS[0].id, True), (35, PROBLEMS[1].id, False)]
    assert all(isinstance(sample, Sample) for sample in samples) and samples[1].text == "#### nobody knows"
    assert isinstance(counted, Evaluation)
    assert (counted.phase, counted.split, counted.step) == ("during", "validation", 35)
    assert (counted.n, counted.correct, counted.accuracy) == (6, 3, 0.5)
    low, high = counted.ci95
    assert low < 0.5 < high
    assert sum(part["n"] for part in counted.by_family.values()) == 6


def test_who_is_read_is_counted_too_and_asked_once():
    questions = Questions(PROBLEMS[:2], PROBLEMS[:6])
    assert questions.problems == PROBLEMS[:6]
    *samples, counted = questions.events(5, answers(questions.problems, right={1, 4}))
    assert [(s.problem, s.right, s.question, s.answer) for s in samples] == [
        (p.id, p is PROBLEMS[1], p.question, p.answer) for p in PROBLEMS[:2]
    ]
    assert (counted.n, counted.correct) == (6, 2)


def test_a_run_on_other_problems_reads_answers_to_its_own():
    probe = ProbeConfig(samples=3, problems=5)
    assert during(DataConfig(), probe, PROBLEMS).samples == showcase()[:3]
    questions = during(DataConfig(source="reasoning_gym"), probe, PROBLEMS)
    assert questions.samples == spread(PROBLEMS, 3) and questions.counted == spread(PROBLEMS, 5)
    assert during(DataConfig(source="file", path="a.csv"), probe, []).problems == []


def test_nothing_is_said_where_nothing_is_counted():
    questions = Questions(PROBLEMS[:1], [])
    assert [type(event) for event in questions.events(0, answers(questions.problems, right=set()))] == [Sample]
    assert Questions([], []).events(0, []) == []
