"""Arrays to the Arrow tables that training reads: one column a batch key, each a fixed-shape tensor, so no list is turned into numbers row by row."""

from collections.abc import Mapping

import numpy as np
import pyarrow as pa


def fixed_rows(columns: Mapping[str, np.ndarray]) -> pa.Table:
    """name -> array [n, ...] of numbers; a table of n rows with a fixed-shape tensor column a name."""
    arrays = {}
    for name, values in columns.items():
        if values.ndim == 1:
            arrays[name] = pa.array(values)
            continue
        flat = pa.FixedSizeListArray.from_arrays(pa.array(np.ascontiguousarray(values).reshape(-1)), int(np.prod(values.shape[1:])))
        kind = pa.fixed_shape_tensor(pa.from_numpy_dtype(values.dtype), values.shape[1:])
        arrays[name] = pa.ExtensionArray.from_storage(kind, flat)
    return pa.table(arrays)
