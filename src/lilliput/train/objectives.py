"""What a training step makes small: a loss of `losses.LOSSES`, and what it asks of the network.

Losses of classes want logits: the last layer is made a classifier of real ones (`heads`).  All
others take the network as it ends: an autoencoder or a regression keeps every layer, the last one
too, as it is stored; of `bce` the logistic function at the end counts as part of the loss.
"""

from __future__ import annotations

from dataclasses import dataclass

from lilliput.errors import GraphError, UsageError
from lilliput.ir import Builder, Guard, Module, Node, Value, finite
from lilliput.train.heads import HEADS, with_head
from lilliput.train.layers import layers
from lilliput.train.layers import logits as ending
from lilliput.train.losses import LOSSES

CLASSES = ("cross_entropy", "soft_cross_entropy")


@dataclass(frozen=True)
class Objective:
    """name : one of `LOSSES`; head : of `heads.HEADS`, how a classifier's weights are stored.

    Raises UsageError for any other loss, and for a head other than the default of one without.
    """

    name: str = CLASSES[0]
    head: str = HEADS[0]

    def __post_init__(self) -> None:
        if self.name not in LOSSES:
            raise UsageError("unknown loss", expected=", ".join(LOSSES), found=self.name)
        if self.head != HEADS[0] and not self.classifies:
            raise UsageError(
                f"a head of {self.head} is of a classifier",
                where=f"loss {self.name}",
                expected=" or ".join(CLASSES),
                hint="leave --head out: the last layer is trained as it is stored",
            )

    @property
    def classifies(self) -> bool:
        return self.name in CLASSES

    @property
    def target(self) -> str | None:
        """What the step is given beside x."""
        own = LOSSES[self.name].own
        return None if own else ("label" if self.name == CLASSES[0] else "target")

    def prepared(self, module: Module, classes: int | None, seed: int) -> Module:
        """The network whose last layer is always trained.

        classes : of a drawn head; raises UsageError for a loss that has none, GraphError for a
        network that does not end as the loss needs it.
        """
        if self.classifies:
            return with_head(module, classes, seed, self.head)
        if classes is not None:
            raise UsageError(
                "classes are of a classifier",
                where=f"loss {self.name}",
                expected=" or ".join(CLASSES),
                hint="leave --classes out: the network is trained as it ends",
            )
        ending(module)  # of one output, and without states
        if not layers(module):
            raise GraphError("nothing to train", expected="a layer with constant weights")
        return module

    def loss(
        self, b: Builder, x: Value, output: Value, prefix: str = ""
    ) -> tuple[Value, Value | None]:
        """Adds the loss of what `b` has computed of x, and its target as an input, if any, whose
        name begins with `prefix`."""
        loss = LOSSES[self.name]
        if self.name == "bce":
            output = _before_logistic(b, output)
        if self.target is None:
            return loss.build(b, output, x), None
        target = b.input(prefix + self.target, loss.target(output.type, x.type))
        return loss.build(b, output, target), target

    def guards(self, target: Value | None, output: Value) -> tuple[Guard, ...]:
        """A class that there is, or numbers."""
        if target is None:
            return ()
        if target.type.dtype.is_float:
            return (finite(target.name),)
        return (Guard(target.name, 0, output.type.shape[-1] - 1),)


def _before_logistic(b: Builder, output: Value) -> Value:
    """The logits of probabilities that the network ends in; its output where it ends otherwise."""
    makers: dict[str, Node] = {v.name: n for n in b.nodes for v in n.outputs}
    value = output
    while value.name in makers and makers[value.name].op.name in ("dequantize", "reshape"):
        value = makers[value.name].inputs[0]
    if value.name not in makers or makers[value.name].op.name != "logistic":
        return output
    found = makers[value.name].inputs[0]
    return found if found.type.shape == output.type.shape else output
