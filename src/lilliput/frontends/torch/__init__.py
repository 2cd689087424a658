"""PyTorch modules: `read` captures one through `torch.export`.

capture    module, example -> Traced        the only file that talks to torch
program    Traced: steps of ATen operators, as plain data
reader     Traced -> Module                 a table name -> builder, errors all at once
operators  the builders, by family
"""

from lilliput.frontends.torch.reader import read

__all__ = ["read"]
