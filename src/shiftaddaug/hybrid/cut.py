"""How much of a layer a pass uses. Imports no torch."""

from dataclasses import dataclass

from shiftaddaug.hybrid.widths import Widths


@dataclass(frozen=True)
class Cut:
    """How much of a layer a pass uses: the target's active channels and all active ones, and the kernel."""

    sources: tuple[Widths, ...]
    out: Widths
    kernel: int | None = None
    """Side of the kernel, odd; the layer's own by default."""

    @property
    def widened(self) -> bool:
        """Whether channels around the target take part."""
        return self.out.max > self.out.target or any(source.max > source.target for source in self.sources)
