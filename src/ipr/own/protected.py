"""What an embedding left: the protected network, its claim, what was measured, and how it is kept."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from torch import Tensor, nn

from ipr.data.images import LabelledImages
from ipr.errors import InputError
from ipr.files import write_atomically
from ipr.passport.claim import PassportClaim
from ipr.passport.layer import Branch
from ipr.passport.surgery import strip
from ipr.reports.terminal import before_and_after, check_lines
from ipr.store.record import Record
from ipr.store.weights import as_safetensors
from ipr.workflows.embedding_checks import Check, failed

WEIGHTS, CLAIM, CARD = "public.safetensors", "claim", "card.md"
"""What `Protected.save` writes."""


@dataclass(frozen=True)
class Protected:
    """A network with a passport.

    Attributes:
        network: with passport layers, answering with the private branch; on the CPU.
        claim: what its owner keeps; secret.
        record: what was measured; no secret.
        checks: whether it is embedded, keeps forgers out, and has learned its trigger images.
        before: accuracy of the network that was given, a fraction, on the same images.
        images: what all was judged on.
    """

    network: nn.Module = field(repr=False)
    claim: PassportClaim = field(repr=False)
    record: Record = field(repr=False)
    checks: Sequence[Check]
    before: float
    images: LabelledImages = field(repr=False)

    @property
    def holds(self) -> bool:
        """Whether the embedding succeeded: no check failed."""
        return not failed(self.checks)

    @property
    def report(self) -> str:
        """What was measured: the network before and after, and a line for each check."""
        told = before_and_after(self.before, self.record)
        return "\n".join([told, *(line.plain for line in check_lines(self.checks))])

    def public(self) -> nn.Module:
        """The plain network that is given away; no passport is in it."""
        return strip(self.network, Branch.PUBLIC)

    def licensed(self, images: Tensor | None = None) -> nn.Module:
        """A plain network that works with the passport's scales folded in, for whoever paid (scheme V1), or to test.

        Args:
            images: see `strip`.
        """
        return strip(self.network, Branch.PRIVATE, images)

    def save(self, folder: str | Path) -> Path:
        """Writes `public.safetensors` to give away, `claim/` to keep, which only you can read, and `card.md`.

        Raises:
            InputError: the embedding failed, so that the claim would be none; or something else is there.
        """
        if not self.holds:
            told = "; ".join(f"{one.name}: {one.says}" for one in self.checks if one.holds is False)
            remedies = [one.remedy for one in self.checks if one.holds is False and one.remedy]
            remedy = "; ".join(dict.fromkeys(remedies))  # several may fail for one reason
            raise InputError("embedding", "<failed>", told, remedy or "embed it anew with other settings")
        place = Path(folder).expanduser()
        if (place / WEIGHTS).exists() or (place / CARD).exists():
            raise InputError("folder", place, "holds a protected network already", "choose another folder")
        self.claim.save(place / CLAIM)
        write_atomically(place / WEIGHTS, as_safetensors(self.public().state_dict()))
        write_atomically(place / CARD, self.card())
        return place

    def card(self) -> str:
        """What may be told of the network, in Markdown: no secret."""
        record, named = self.record, "model" in self.claim.architecture
        images = " images=FOLDER" if self.claim.images is not None else ""
        verify = f"ipr verify suspect={WEIGHTS} claim={CLAIM}{images}" if named else "ipr.judge(network, claim, images)"
        return "\n".join(
            [
                f"# {record.model}, protected by {record.scheme}",
                "",
                f"Owner: {self.claim.owner or 'not named'}. {record.test_images} test images of {record.dataset}.",
                "",
                *(f"- {line}" for line in self.report.splitlines()),
                "",
                f"{record.epochs} epochs, {record.train_seconds:.0f} s; {record.hardware}; {record.versions}.",
                f"`{WEIGHTS}` is given away; `{CLAIM}/` is the owner's and secret. To judge: `{verify}`.",
                "",
            ]
        )
