"""From a teacher's own words to the loss, with real models: tokens, alignment, projection and objective agree."""

import pytest
import torch

from distill.data.encoding import collate, encode_many
from distill.data.problems import generate
from distill.models.lm_head import head_of, read_states
from distill.objectives.base import StudentOutputs
from distill.objectives.cross_tokenizer import CrossTokenizerObjective
from distill.teachers.alignment import aligned
from distill.teachers.signals import Request, compute
from distill.teachers.token_map import bridge

TEXTS = [(p.question, p.solution) for p in generate("validation", 8)]
TEXTS.append(("What is caf\u00e9 \U0001f60a?", "It is \u7b54 \U0001f60a = 2"))
SETTINGS = {"alm": {}, "alm and shared": {"shared": 1.0}, "xtoken": {}, "uld": {}}


def loss_of(tiny, teacher, loss, side="right", max_length=None):
    """The loss of the zoo's untrained student against `teacher`, and the batch."""
    model, tokenizer = tiny("student-tiny")
    examples = encode_many(tokenizer, TEXTS, max_length).examples
    asked = Request(frozenset({"tokens", "token_logprobs", "topk"}), top_k=50)
    said = compute(*tiny(teacher), TEXTS, asked)
    chunks = aligned([e.ends for e in examples], said["tokens"], said)
    batch = collate(examples, tokenizer.pad_token_id, side)
    everything = range(len(TEXTS))
    batch["signals"] = {
        name: {teacher: values.padded(everything, -1 if name == "chunk_of" else 0)} for name, values in chunks.items()
    }
    with torch.no_grad():
        states, _ = read_states(model, input_ids=batch["input_ids"], attention_mask=batch["attention_mask"])
        objective = CrossTokenizerObjective(
            teachers=[teacher],
            loss=loss.split()[0],
            projections={teacher: bridge(tokenizer, tiny(teacher)[1])},
            **SETTINGS[loss],
        )
        return objective(StudentOutputs(states, head_of(model)), batch).total().item(), batch


@pytest.mark.parametrize("loss", list(SETTINGS))
def test_a_student_is_at_no_distance_from_itself(tiny, loss):
    for max_length in (None, 70):  # also where the student's texts are cut and its teacher's are not
        found, batch = loss_of(tiny, "student-tiny", loss, max_length=max_length)
        assert found == pytest.approx(0, abs=2e-5)
        assert (batch["signals"]["chunk_of"]["student-tiny"] >= 0).sum() > 100


@pytest.mark.parametrize("teacher", ["phi3-tiny", "gemma2-tiny", "nemotron-tiny", "smollm2-tiny"])
def test_from_teachers_with_other_tokens_it_is_at_some_on_either_side_of_padding(tiny, teacher):
    for loss in SETTINGS:
        found, _ = loss_of(tiny, teacher, loss)
        assert found > 1e-3
        assert loss_of(tiny, teacher, loss, "left")[0] == pytest.approx(found, rel=1e-3)
