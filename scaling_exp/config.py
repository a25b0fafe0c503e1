"""From a Hydra configuration to frozen, validated objects; every mistake is one line that names the key.

The dataclasses are their own schema: pydantic validates into them, unknown keys are forbidden, and a `kind:` chooses the
class from an explicit dictionary. Importing this module loads neither torch, vLLM nor Ray.
"""

from __future__ import annotations

import importlib.resources
import re
from collections.abc import Mapping
from dataclasses import dataclass, fields, is_dataclass
from difflib import get_close_matches
from pathlib import Path as FilePath
from typing import Any

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from pydantic import ConfigDict, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass as checked

from scaling_exp.analysis import AnalysisSettings
from scaling_exp.engines import ENGINES
from scaling_exp.experiment import ClusterConfig, Experiment
from scaling_exp.models import Model
from scaling_exp.pretraining import Recipe, manifest_checkpoints
from scaling_exp.strategies import STRATEGIES
from scaling_exp.tasks import TASKS, ModularChains
from scaling_exp.tracking import Tracking
