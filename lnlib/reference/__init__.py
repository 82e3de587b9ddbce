r"""The five normalizations in NumPy, with the arguments of `torch.nn.functional`.

Each method is a `lnlib.layout.Layout` (which axes share a mean) around `standardize`, followed by
the affine map $y = \gamma\odot\hat x + \beta$. Each comes three times:

- `f(...)` returns `y`;
- `f_forward(...)` returns `(y, cache)`;
- `f_backward(dy, cache)` returns the gradients, `None` for a parameter that was not given.

The variants that came later are in `lnlib.reference.variants`.

Statistics are computed in at least float32, and the result is cast once, to the dtype of `input`.

Example:
    >>> import numpy as np
    >>> from lnlib import reference
    >>> x = np.array([[1.0, 2.0, 3.0], [10.0, 20.0, 30.0]])
    >>> reference.layer_norm(x, (3,)).round(3)
    array([[-1.225,  0.   ,  1.225],
           [-1.225,  0.   ,  1.225]])
"""

from lnlib.reference.apply import Cache
from lnlib.reference.channels import (
    batch_norm,
    batch_norm_backward,
    batch_norm_forward,
    group_norm,
    group_norm_backward,
    group_norm_forward,
    instance_norm,
    instance_norm_backward,
    instance_norm_forward,
)
from lnlib.reference.rows import (
    layer_norm,
    layer_norm_backward,
    layer_norm_forward,
    rms_norm,
    rms_norm_backward,
    rms_norm_forward,
)

__all__ = [
    "Cache",
    "batch_norm",
    "batch_norm_backward",
    "batch_norm_forward",
    "group_norm",
    "group_norm_backward",
    "group_norm_forward",
    "instance_norm",
    "instance_norm_backward",
    "instance_norm_forward",
    "layer_norm",
    "layer_norm_backward",
    "layer_norm_forward",
    "rms_norm",
    "rms_norm_backward",
    "rms_norm_forward",
]
