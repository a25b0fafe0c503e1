"""Arrow's compute functions. pyarrow makes most of them when it is imported, where a type checker cannot see them."""

from typing import Any

import pyarrow.compute

compute: Any = pyarrow.compute
