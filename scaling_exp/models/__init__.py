"""Models in Hugging Face's format: what a folder or a configuration says of them. Neither torch nor transformers."""

from scaling_exp.models.architecture import architecture_of
from scaling_exp.models.hosted import HostedModel, chat_of, check_base_url
from scaling_exp.models.model import Model

__all__ = ["HostedModel", "Model", "architecture_of", "chat_of", "check_base_url"]
