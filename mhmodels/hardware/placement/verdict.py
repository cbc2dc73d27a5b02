"""The verdict on a file and a SoC, as records."""

from __future__ import annotations

from mhmodels.formats.checked import Checked


class RefusedOperator(Checked, frozen=True, kw_only=True):
    """An operator that stays outside of the NPU.

    Attributes:
        position: Index among the operators of the file, in execution order.
        kind: Name in the enumeration `BuiltinOperator`, or `CUSTOM:NAME`.
        tensor: Name of its first output; in files of mhmodels the name of the layer.
        reason: Why the NPU does not take it, as the compiler says.
        remedy: What helps; "" where nothing is known.

    Example:
        >>> from mhmodels.hardware import RefusedOperator
        >>> RefusedOperator(position=1, kind="ATAN2", tensor="angle", reason="the plug-in has no such operator").remedy
        ''
    """

    position: int
    kind: str
    tensor: str
    reason: str
    remedy: str = ""


class Placement(Checked, frozen=True, kw_only=True):
    """Whether a SoC's NPU runs a file as a whole, and what it does not take.

    Attributes:
        model: Path of the file, or name of the network.
        format: Number format that the file computes in.
        soc, product: The SoC and its name on the market.
        whole: Whether the compiled file consists of one operator, which runs the whole network on the NPU.
        operators_taken, operators: Number of operators that the NPU takes, and of all operators of the file.
        partitions: Number of graphs on the NPU.
        refused: Operators that stay outside.
        refusal: Why the compiler gave up after partitioning; "" if it did not.
        ddr_read_bytes, ddr_write_bytes: Bytes that the graphs on the NPU read from and write to the main memory in an inference,
            as the compiler says; None where nothing was compiled.
        compiled_bytes: Size of the compiled file; None where there is none.
        seconds: Duration of the compilation.
        compiler: Versions of the compiler.

    Example:
        >>> from mhmodels.hardware import Placement
        >>> one = Placement(
        ...     model="multi_max", format="int8", soc="SM8650", product="Snapdragon 8 Gen 3", whole=True, operators_taken=61,
        ...     operators=61, partitions=1, seconds=0.7, compiler="LiteRT 2.2.0, QAIRT 2.51",
        ... )
        >>> one.summary
        'whole: 61 of 61 operators in 1 partition'
    """

    model: str
    format: str
    soc: str
    product: str
    whole: bool
    operators_taken: int
    operators: int
    partitions: int
    refused: tuple[RefusedOperator, ...] = ()
    refusal: str = ""
    ddr_read_bytes: int | None = None
    ddr_write_bytes: int | None = None
    compiled_bytes: int | None = None
    seconds: float
    compiler: str

    @property
    def summary(self) -> str:
        """The verdict in one line, with the first refused operator and what helps."""
        taken = f"{self.operators_taken} of {self.operators} operators in {self.partitions} partition"
        plural = "" if self.partitions == 1 else "s"
        if self.whole:
            return f"whole: {taken}{plural}"
        if self.refusal:
            return f"not whole: {self.refusal}"
        first = self.refused[0] if self.refused else None
        where = f"; first refused: operator {first.position} ({first.kind}) '{first.tensor}': {first.reason}" if first else ""
        helps = f"; {first.remedy}" if first and first.remedy else ""
        return f"not whole: {taken}{plural}{where}{helps}"
