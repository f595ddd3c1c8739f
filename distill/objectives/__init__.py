"""The methods of distillation, one file each. To add one: write its file, and name its settings in METHODS."""

from distill.config.run_config import RunConfig, complete
from distill.objectives.cross_tokenizer import CrossTokenizerConfig
from distill.objectives.features import FeaturesConfig
from distill.objectives.geometry import GeometryConfig
from distill.objectives.gkd import GkdConfig
from distill.objectives.logits import LogitsConfig
from distill.objectives.response import ResponseConfig
from distill.objectives.task import TaskConfig

# In the order of the page.
METHODS = [TaskConfig, ResponseConfig, LogitsConfig, FeaturesConfig, GeometryConfig, GkdConfig, CrossTokenizerConfig]

complete(METHODS)

KINDS = RunConfig.methods


def called(kind: str) -> str:
    """ "teachers' probabilities (logits)"; of an unknown kind, its own name."""
    return KINDS[kind].called() if kind in KINDS else kind
