"""scaling_exp: is the next unit of compute better spent on pre-training or on inference?"""

__version__ = "0.1.0"
