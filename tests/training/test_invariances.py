"""Every method, end to end: how a step is cut up, padded and ordered, and what is no token, changes nothing it learns.

One optimiser step of plain gradient descent on six texts, by the trainer that runs use, in float64. What is left of
differences is rounding: rotary positions are float32, hence the wider tolerance where padding moves them.
"""

import copy
from functools import cache

import pytest
import torch
import torch.nn.functional as F
from peft import LoraConfig, get_peft_model
from transformers import TrainingArguments

from distill.data.encoding import encode_many
from distill.data.problems import generate
from distill.models.generation import end_tokens
from distill.objectives.base import StudentOutputs
from distill.objectives.cross_tokenizer import CrossTokenizerObjective
from distill.objectives.features import FeaturesObjective
from distill.objectives.geometry import GeometryObjective
from distill.objectives.gkd import GkdObjective
from distill.objectives.logits import LogitsObjective
from distill.objectives.response import ResponseObjective
from distill.objectives.task import TaskObjective
from distill.teachers.alignment import aligned
from distill.teachers.live import LiveTeacher
from distill.teachers.signals import Request, compute
from distill.training.dataset import TrainingSet
from distill.training.distiller import Distiller
from distill.training.on_policy import OnPolicy
from distill.training.trainer import DistillTrainer

N, TOKENS = 6, 1536
TEXTS = [(p.question, p.solution) for p in generate("train", N)]
PADDED = ("input_ids", "attention_mask", "labels", "content_mask")
SAME = {"sibling": "sibling-tiny", "twin": "student-tiny"}  # teachers with the student's tokens
OTHER = {"unlike": "phi3-tiny"}
METHODS = {
    "task": {},
    "response": {},
    "logits stored": SAME,
    "logits live": SAME,
    "features": OTHER,
    "gkd": SAME,
    "gkd own": SAME,
    "cross_tokenizer": OTHER,
    "geometry": OTHER,
}
BY_TOKEN = [method for method in METHODS if method != "geometry"]  # geometry reads the whole text, labels or not


@pytest.fixture(scope="module")
def zoo(tiny):
    """`zoo(name, rows)` -> (the model with so many logits, its tokenizer): rows beyond its own are large and random."""

    @cache
    def widened(name, rows=None):
        model, tokenizer = tiny(name)
        if rows is not None:
            model, own = copy.deepcopy(model), model.config.vocab_size
            model.resize_token_embeddings(rows, mean_resizing=False)
            with torch.no_grad():
                weight = model.get_output_embeddings().weight
                weight[own:] = weight[:own].std() * torch.randn(rows - own, weight.shape[1])
        return model, tokenizer

    return widened


def texts_of(zoo, methods, rows):
    """The texts, with what the methods' teachers say of them."""
    tokenizer = zoo("student-tiny")[1]
    examples = encode_many(tokenizer, TEXTS).examples
    signals = {}
    for method in methods:
        needs = {
            "logits stored": {"tokens", "topk", "nll_per_byte"},
            "logits live": {"nll_per_byte"},
            "features": {"tokens", "hidden"},
            "cross_tokenizer": {"tokens", "token_logprobs"},
            "geometry": {"pooled"},
        }.get(method, set())
        for teacher, name in METHODS[method].items() if needs else ():
            given = rows if name == "sibling-tiny" else None
            said = compute(*zoo(name, given), TEXTS, Request(frozenset(needs), top_k=8, temperature=2.0, layers=(1, 3)))
            found = {name: said[name] for name in ("nll_per_byte", "pooled") if name in said}
            if "tokens" in needs:
                found |= aligned([e.ends for e in examples], said["tokens"], said)
            for name, values in found.items():
                signals.setdefault(name, {})[teacher] = values
    # One of the teachers that stay loaded is asked in other words.
    prompts = {"sibling": [[5, *e.input_ids[: e.completion_start]] for e in examples]}
    origins = [row % 2 for row in range(N)]
    return TrainingSet(examples, signals, [0] * N, tokenizer.pad_token_id, origins, prompts)


def objective_of(zoo, method, rows, student):
    live = {}
    if "live" in method or "gkd" in method:
        models = {t: copy.deepcopy(zoo(n, rows if t == "sibling" else None)[0]) for t, n in SAME.items()}
        live = {teacher: LiveTeacher(teacher, model.double()) for teacher, model in models.items()}
    common = {"gate": {"kind": "prior"}}
    match method.split():
        case ["task"]:
            return TaskObjective()
        case ["response"]:
            return ResponseObjective()
        case ["logits", source]:
            how = {"divergence": "jsd", "beta": 0.3, "temperature": 2.0, "source": source, "live": live}
            return LogitsObjective(teachers=list(SAME), vocabulary=TOKENS, **how, **common)
        case ["features"]:
            return FeaturesObjective(
                teacher_widths={"unlike": zoo("phi3-tiny")[0].config.hidden_size},
                student_width=student.config.hidden_size,
                maps={"unlike": [(1, 0), (3, 1)]},
            )
        case ["geometry"]:
            return GeometryObjective(
                teacher_widths={"unlike": zoo("phi3-tiny")[0].config.hidden_size},
                student_width=student.config.hidden_size,
                student_layers=student.config.num_hidden_layers,
                gate={"kind": "uniform"},
            )
        case ["gkd", *_]:
            return GkdObjective(live=live, vocabulary=TOKENS, **common)
        case _:
            return CrossTokenizerObjective(teachers=list(OTHER), vocabulary=TOKENS)


@pytest.fixture(scope="module")
def made(zoo):
    """`made("a + b", rows)` -> (a distiller, its texts, what is done before a step); rows (student's, sibling's)."""

    def make(named, rows=(None, None)):
        methods = named.split(" + ")
        model, tokenizer = zoo("student-tiny", rows[0])
        torch.manual_seed(1)
        lora = LoraConfig(task_type="CAUSAL_LM", r=4, target_modules="all-linear")
        student = get_peft_model(copy.deepcopy(model).double(), lora)
        for name, parameter in student.named_parameters():
            if "lora_B" in name:  # at zero the adapter's first half would get no gradient
                torch.nn.init.normal_(parameter, std=0.1)
        module = Distiller(student, [objective_of(zoo, method, rows[1], student) for method in methods]).double()
        own = OnPolicy(tokenizer, end_tokens(model, tokenizer), 1.0, max_new_tokens=12, vocabulary=TOKENS)
        before = (lambda batches, step: own.answer(student, batches, step)) if "gkd own" in methods else None
        return module, texts_of(zoo, methods, rows[1]), before

    return make


def stepped(made, folder, parts=1, order=range(N), change=lambda batch: batch):
    """What is trained after one step, and the terms that are reported."""
    module, texts, before = made
    trainer = DistillTrainer(
        module,
        before_step=before,
        args=TrainingArguments(
            output_dir=str(folder),
            max_steps=1,
            per_device_train_batch_size=N // parts,
            gradient_accumulation_steps=parts,
            learning_rate=0.5,
            optim="sgd",
            lr_scheduler_type="constant",
            max_grad_norm=1e9,
            use_cpu=True,
            save_strategy="no",
            report_to=[],
            disable_tqdm=True,
            remove_unused_columns=False,
            seed=0,
        ),
        train_dataset=list(order),
        data_collator=lambda rows: change(texts.collate(rows)),
    )
    trainer.train()
    return {n: p.detach().clone() for n, p in module.named_parameters() if p.requires_grad}, trainer.step_terms


def assert_same(found, expected, atol):
    torch.testing.assert_close(found[0], expected[0], rtol=0, atol=atol)
    assert found[1].keys() == expected[1].keys()
    assert all(found[1][name] == pytest.approx(expected[1][name], abs=atol) for name in found[1])


@pytest.fixture(scope="module")
def whole(made, tmp_path_factory):
    """`whole(method)`: the step in one piece; it moves the adapter and pays something."""

    @cache
    def done(method):
        things = made(method)
        start = {n: p.detach().clone() for n, p in things[0].named_parameters()}
        after, terms = stepped(things, tmp_path_factory.mktemp("whole"))
        assert max((after[name] - start[name]).abs().max() for name in after if "lora_A" in name) > 1e-5
        assert terms[method.split()[0]] > 1e-4
        return after, terms

    return done


def left(batch):
    """The same texts, padded on the left."""
    blank = (batch["attention_mask"] == 0).sum(1).tolist()
    rolled = {name: [row.roll(n) for row, n in zip(batch[name], blank, strict=True)] for name in PADDED}
    return {**batch, **{name: torch.stack(rows) for name, rows in rolled.items()}}


def blurred(batch):
    """More padding, and other tokens in it."""
    fillers = {"labels": -100}
    wider = {name: F.pad(batch[name], (0, 5), value=fillers.get(name, 0)) for name in PADDED}
    noise = torch.randint(TOKENS, wider["input_ids"].shape, generator=torch.Generator().manual_seed(3))
    wider["input_ids"] = wider["input_ids"].where(wider["attention_mask"] == 1, noise)
    return {**batch, **wider}


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("parts", [2, 3])
def test_the_split_into_micro_batches(made, whole, tmp_path, method, parts):
    assert_same(stepped(made(method), tmp_path, parts), whole(method), 1e-10)


@pytest.mark.parametrize("method", METHODS)
def test_the_order_of_texts(made, whole, tmp_path, method):
    assert_same(stepped(made(method), tmp_path, 2, order=[4, 0, 5, 2, 1, 3]), whole(method), 1e-10)


@pytest.mark.parametrize("method", METHODS)
def test_what_stands_in_padding_and_how_much_of_it_there_is(made, whole, tmp_path, method):
    assert_same(stepped(made(method), tmp_path, change=blurred), whole(method), 1e-10)


@pytest.mark.parametrize("method", METHODS)
def test_the_side_of_padding(made, whole, tmp_path, method):
    assert_same(stepped(made(method), tmp_path, change=left), whole(method), 1e-5)


@pytest.mark.parametrize("method", [method for method in METHODS if method not in ("task", "response")])
def test_logits_that_are_no_tokens(made, whole, tmp_path, method):
    """Not so for cross-entropy alone, where the student's own padding is among what it might have said."""
    assert_same(stepped(made(method, (TOKENS + 40, 1700)), tmp_path), whole(method), 1e-10)


@pytest.mark.parametrize("method", ["logits live", "gkd"])
def test_qwens_two_numbers_of_logits(made, method):
    """151,936 and 152,064 logits for the same tokens cost what exactly as many logits as tokens do."""
    losses = []
    for rows in ((None, None), (151_936, 152_064)):
        module, texts, _ = made(method, rows)
        with torch.no_grad():
            losses.append(module.eval()(**texts.collate([0]))["loss"].item())
    assert losses[0] == pytest.approx(losses[1], rel=1e-9)


@pytest.mark.parametrize("method", BY_TOKEN)
def test_positions_without_a_label_get_exactly_no_gradient(made, method):
    module, texts, before = made(method)
    batch = left(texts.whole())
    if before is not None:
        before([batch], 0)
    (objective,) = module.objectives.values()
    read = objective.texts_of(batch)
    outputs = module.read(read)
    leaves = [x.detach().requires_grad_() for x in (outputs.states_BLD, *outputs.hidden)]
    objective(StudentOutputs(leaves[0], outputs.head, tuple(leaves[1:])), read).total().backward()
    labelled_BL = read["labels"] != -100
    predicting_BL = F.pad(labelled_BL[:, 1:], (0, 1))
    assert any(x.grad is not None and x.grad.any() for x in leaves)
    for x, may_BL in zip(leaves, [predicting_BL] + [labelled_BL] * (len(leaves) - 1), strict=True):
        assert x.grad is None or not x.grad[~may_BL].any()


@pytest.mark.parametrize("method", BY_TOKEN)
def test_texts_without_a_label_cost_nothing(made, method):
    module, texts, _ = made(method)
    batch = texts.collate([0, 1])
    result = module(**{**batch, "labels": torch.full_like(batch["labels"], -100)})
    result["loss"].backward()
    assert result["loss"].item() == 0
    gradients = [p.grad for p in module.parameters() if p.grad is not None]
    assert gradients and not any(gradient.any() for gradient in gradients)


@pytest.mark.parametrize("parts", [1, 2])
def test_methods_side_by_side_each_do_what_they_do_alone(made, whole, tmp_path, parts):
    """In a step with the student's own answers too: only gkd reads those."""
    methods = ["gkd own", "task", "response", "features", "geometry", "cross_tokenizer"]
    things = made(" + ".join(methods))
    start = {n: p.detach().clone() for n, p in things[0].named_parameters()}
    found, terms = stepped(things, tmp_path, parts)
    expected = {name: start[name].clone() for name in found}
    for method in methods:
        after, alone = whole(method)
        assert terms[method.split()[0]] == pytest.approx(alone[method.split()[0]], abs=1e-10)
        for name, value in after.items():
            expected[name] += value - start[name]
    # The student's norms are float32 inside, and so is what passes back through them: of the sum, or of each.
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-7)
