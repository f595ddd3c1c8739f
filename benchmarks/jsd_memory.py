"""What a divergence over a large vocabulary costs: `python benchmarks/jsd_memory.py`.

Forward and backward of the generalised JSD (beta 0.5) of 512 tokens, from both models' hidden states and heads (width
896, vocabulary 151,936) to the gradient of the student's states, three ways: ours; TRL's GKD loss on logits made from
the same states and heads; TRL's ChunkedDivergenceFunction. Each in a process of its own, in turns. Memory: on the CPU
the most that was resident above what was once the inputs were made, on CUDA the most that was allocated above them.
Goals: ours over TRL's GKD <= 0.15 of the memory in no more time; over TRL's chunked <= 1 of both (<= 1.2 on CUDA).
On CUDA weights and states are bfloat16.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.common import in_turns, report

TOKENS, WIDTH, VOCABULARY, BETA = 512, 896, 151_936, 0.5
ROUNDS = 5
CONTENDERS = ("ours", "trl_gkd", "trl_chunked")


def main() -> None:
    import torch

    cuda = torch.cuda.is_available()
    children = {name: Child(name) for name in CONTENDERS}
    try:
        seconds = in_turns({name: child.once for name, child in children.items()}, ROUNDS, warm_up=1)
    finally:
        for child in children.values():
            child.end()
    losses = {name: child.loss for name, child in children.items()}
    if max(losses.values()) - min(losses.values()) > (1e-2 if cuda else 1e-4) * max(losses.values()):
        raise SystemExit(f"The three do not compute the same: {losses}")
    memory = {name: statistics.median(child.megabytes) for name, child in children.items()}
    report(
        "jsd_memory",
        memory_ratio={name: round(memory["ours"] / memory[name], 3) for name in CONTENDERS[1:]},
        time_ratio={name: round(seconds["ours"] / seconds[name], 3) for name in CONTENDERS[1:]},
        goals={
            "memory": {"trl_gkd": 0.15, "trl_chunked": 1.2 if cuda else 1.0},
            "time": {"trl_gkd": 1.0, "trl_chunked": 1.2 if cuda else 1.0},
        },
        peak_mb={name: round(value) for name, value in memory.items()},
        seconds={name: round(value, 4) for name, value in seconds.items()},
        shape={"tokens": TOKENS, "width": WIDTH, "vocabulary": VOCABULARY, "beta": BETA},
        device=torch.cuda.get_device_name() if cuda else "cpu",
        dtype="bfloat16" if cuda else "float32",
        rounds=ROUNDS,
    )


class Child:
    """One contender in a process of its own, which runs once whenever it is asked to."""

    def __init__(self, name: str):
        command = [sys.executable, __file__, name]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self._reply()  # its inputs are made
        self.megabytes: list[float] = []
        self.loss = 0.0

    def once(self) -> None:
        self._process.stdin.write("go\n")
        self._process.stdin.flush()
        megabytes, self.loss = map(float, self._reply().split())
        self.megabytes.append(megabytes)

    def _reply(self) -> str:
        line = self._process.stdout.readline()
        if not line:
            raise SystemExit(f"A contender ended early, with code {self._process.wait()}.")
        return line

    def end(self) -> None:
        self._process.kill()
        self._process.wait()


# --- in the child ------------------------------------------------------------------------------------------------


def serve(name: str) -> None:
    import torch

    from distill.models.hardware import detect

    torch.set_num_threads(detect().cores)
    device, dtype = ("cuda", torch.bfloat16) if torch.cuda.is_available() else ("cpu", torch.float32)
    generator = torch.Generator(device).manual_seed(0)

    def made(*shape: int, scale: float) -> torch.Tensor:
        return torch.randn(*shape, generator=generator, device=device).mul_(scale).to(dtype)

    heads = [made(VOCABULARY, WIDTH, scale=0.05) for _ in range(2)]  # logits of standard deviation 1.5
    states = [made(TOKENS, WIDTH, scale=1.0) for _ in range(2)]
    step = contender(name, *states, *heads)
    resident = Resident(device)
    print("ready", flush=True)
    for _ in sys.stdin:
        resident.reset()
        loss = step()
        print(resident.above(), loss, flush=True)


def contender(name: str, states_S, states_T, weight_S, weight_T) -> Callable[[], float]:
    """The step of one of the three: forward, backward, and the mean loss."""
    if name == "ours":
        from distill.losses.chunked import divergence_of_states
        from distill.losses.head import Head

        def summed(student):
            return divergence_of_states(student, Head(weight_S), states_T, Head(weight_T), "jsd", BETA).losses_m.sum()

    elif name == "trl_gkd":
        from trl.experimental.gkd import GKDTrainer

        def summed(student):
            logits_S, logits_T = student @ weight_S.T, states_T @ weight_T.T
            return GKDTrainer.generalized_jsd_loss(logits_S[None], logits_T[None], beta=BETA, num_items_in_batch=1)

    else:
        from trl.kernels.chunked_divergence import ChunkedDivergenceFunction

        def summed(student):
            return ChunkedDivergenceFunction.apply(student, weight_S, None, states_T, weight_T, None, BETA)[0].sum()

    def step() -> float:
        student = states_S.clone().requires_grad_()
        loss = summed(student)
        loss.backward()
        return float(loss.detach() + 0 * student.grad.sum()) / TOKENS  # reading it waits for the GPU

    return step


class Resident:
    """The most memory in use above what was in use when this was made, in MiB."""

    def __init__(self, device: str):
        self.cuda = device == "cuda"
        self.before = self._now("VmRSS")

    def reset(self) -> None:
        if self.cuda:
            import torch

            torch.cuda.reset_peak_memory_stats()
        else:
            Path("/proc/self/clear_refs").write_text("5")  # Linux: the peak is now what is resident

    def above(self) -> float:
        return self._now("VmHWM") - self.before

    def _now(self, field: str) -> float:
        if self.cuda:
            import torch

            in_use = torch.cuda.max_memory_allocated() if field == "VmHWM" else torch.cuda.memory_allocated()
            return in_use / 2**20
        lines = Path("/proc/self/status").read_text().splitlines()
        return int(next(line for line in lines if line.startswith(field)).split()[1]) / 1024


if __name__ == "__main__":
    os.environ["TRL_EXPERIMENTAL_SILENCE"] = "1"
    serve(sys.argv[1]) if len(sys.argv) > 1 else main()
