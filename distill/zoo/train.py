"""Make one tiny model from nothing: tokenizer, initialisation, training, safetensors. On one thread, repeatable.

Muon (Jordan 2024; `torch.optim.Muon`) for the matrices, AdamW for the rest: at this size it reaches in 500 steps what
AdamW alone needs 2,000 for. Resumable: the state is kept beside the work every `SAVE_EVERY` steps.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel, PreTrainedTokenizerFast

from distill.config.errors import UserError
from distill.config.files import replacing
from distill.config.paths import PROBLEMS
from distill.data.problems import generate
from distill.models.hardware import has_amx
from distill.zoo.cards import Card, build_model
from distill.zoo.lessons import Lesson, lessons
from distill.zoo.tokenizers import train_tokenizer

WARM_UP = 50  # steps
SAVE_EVERY = 250  # steps
TOKENIZER_TEXTS = 8000
SIGNS = "&×÷–—…°²½¥₹€£“”‘’•"  # that visitors type, and no wording has

OnProgress = Callable[[int, int, float], None]  # steps done, steps in all, loss


def make_tokenizer(card: Card, texts: int = TOKENIZER_TEXTS) -> PreTrainedTokenizerFast:
    """The card's tokenizer, trained on generated problems; it has every letter and sign of the wordings and pools."""
    found = [f"{p.question}\n{p.solution}" for p in generate("train", texts, seed=1)]
    letters = sorted(set("".join(path.read_text("utf-8") for path in PROBLEMS.rglob("*.txt"))))
    found.append(" ".join(letters))
    if not card.tokenizer.endswith("bpe"):  # those keep bytes; the others have to see each letter inside a word too
        found.append("".join([*letters, *SIGNS]))
    return train_tokenizer(card.tokenizer, card.vocabulary, found, card.chat)


def make_model(
    card: Card, work: Path, on_progress: OnProgress, seed: int = 0, device: str = "cpu"
) -> dict[str, float | str]:
    """Train `card` in the folder `work` and save it there as a checkpoint that `from_pretrained` loads.

    Returns {"parameters", "seconds", "made_of"}. Interrupted, it goes on from the last state in `work`, if that was
    made of the same card and problems.
    """
    if not hasattr(torch.optim, "Muon"):
        raise UserError(f"Making the zoo needs torch 2.9 or newer (this is {torch.__version__}): upgrade torch.")
    torch.set_num_threads(1)
    if device == "cpu":
        torch.use_deterministic_algorithms(True)
        if not has_amx():
            _keep_muon_in_float32()
    tokenizer = make_tokenizer(card)
    model = build_model(card, tokenizer, seed).to(device)
    optimisers, made_of = _optimisers(model), fingerprint(card, seed)
    step, seconds = _restore(work, model, optimisers, made_of)
    began = time.monotonic() - seconds
    for lesson in lessons(card, tokenizer, seed, step, card.steps):
        loss = _learn(model, optimisers, lesson.to(device), card.learning_rate * _schedule(step, card.steps))
        step += 1
        if step % 50 == 0 or step == card.steps:
            on_progress(step, card.steps, loss)
        if step % SAVE_EVERY == 0 and step < card.steps:
            _keep(work, model, optimisers, made_of, step, time.monotonic() - began)
    _save(work, model, tokenizer)
    parameters = sum(p.numel() for p in model.parameters())
    return {"parameters": parameters, "seconds": round(time.monotonic() - began), "made_of": made_of}


def fingerprint(card: Card, seed: int = 0) -> str:
    """What a model is made of: its card and the problems, by a sample of them. Another one is made from the start."""
    sample = [problem.to_json() for problem in generate("train", 200, seed=9)]
    return hashlib.sha256(repr((card, seed, sample)).encode()).hexdigest()[:16]


def _optimisers(model: PreTrainedModel) -> list[torch.optim.Optimizer]:
    matrices = [
        p for name, p in model.named_parameters() if p.ndim == 2 and "embed" not in name and "lm_head" not in name
    ]
    inside = set(map(id, matrices))
    rest = [p for p in model.parameters() if id(p) not in inside]
    muon = torch.optim.Muon(matrices, weight_decay=0.01, adjust_lr_fn="match_rms_adamw")
    return [muon, torch.optim.AdamW(rest, betas=(0.9, 0.95), weight_decay=0.0)]


def _keep_muon_in_float32() -> None:
    """torch's Muon orthogonalises in bfloat16, which a CPU without AMX emulates: half of a step's time went there."""

    def orthogonalised(grad: Tensor, coefficients: tuple[float, float, float], steps: int, eps: float) -> Tensor:
        a, b, c = coefficients
        x = grad.T if grad.size(0) > grad.size(1) else grad
        x = x / x.norm().clamp(min=eps)
        for _ in range(steps):  # Newton and Schulz's iteration, as torch.optim._muon writes it
            gram = x @ x.T
            x = torch.addmm(x, torch.addmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
        return x.T if grad.size(0) > grad.size(1) else x

    torch.optim._muon._zeropower_via_newtonschulz = orthogonalised


def _schedule(step: int, steps: int) -> float:
    return min(1.0, (step + 1) / WARM_UP) * (1 - step / steps)


def _learn(model: PreTrainedModel, optimisers: list[torch.optim.Optimizer], lesson: Lesson, rate: float) -> float:
    # Rows are padded on the right and attention looks to the left: no mask is needed, and none is faster.
    logits_BLV = model(input_ids=lesson.input_ids, use_cache=False).logits
    losses = nn.functional.cross_entropy(
        logits_BLV[:, :-1].flatten(0, 1), lesson.input_ids[:, 1:].flatten(), reduction="none"
    )
    weights = lesson.weights[:, 1:].flatten()
    loss = (losses * weights).sum() / weights.sum()
    loss.backward()
    nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    for optimiser in optimisers:
        for group in optimiser.param_groups:
            group["lr"] = rate
        optimiser.step()
        optimiser.zero_grad()
    return loss.item()


def _keep(
    work: Path, model: PreTrainedModel, optimisers: list[torch.optim.Optimizer], made_of: str, step: int, seconds: float
) -> None:
    state = {"made_of": made_of, "step": step, "seconds": seconds}
    state |= {"model": model.state_dict(), "opt": [o.state_dict() for o in optimisers]}
    with replacing(work / "state.pt") as part:
        torch.save(state, part)


def _restore(
    work: Path, model: PreTrainedModel, optimisers: list[torch.optim.Optimizer], made_of: str
) -> tuple[int, float]:
    work.mkdir(parents=True, exist_ok=True)
    if not (work / "state.pt").exists():
        return 0, 0.0
    state = torch.load(work / "state.pt", map_location=model.device, weights_only=True)
    if state.get("made_of") != made_of:
        return 0, 0.0
    model.load_state_dict(state["model"])
    for optimiser, kept in zip(optimisers, state["opt"], strict=True):
        optimiser.load_state_dict(kept)
    return state["step"], state["seconds"]


def _save(work: Path, model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast) -> None:
    # Half precision halves the clone; at these sizes the rounding costs no accuracy (zoo.json is measured after it).
    model.to("cpu", torch.float16).save_pretrained(work)
    tokenizer.save_pretrained(work)
    (work / "state.pt").unlink(missing_ok=True)
