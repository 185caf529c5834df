"""When to stop: after `patience` epochs without a better validation loss.

L. Prechelt, "Early Stopping - But When?", 1998, https://doi.org/10.1007/3-540-49430-8_3, criterion UP with strips of
one epoch, counted from the best epoch.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any


@dataclass(slots=True)
class EarlyStopping:
    """The best validation loss so far and how long ago it was; epochs count from 1, 0 means none yet."""

    patience: int
    best_loss: float | None = None
    best_epoch: int = 0
    stale_epochs: int = 0

    def observe(self, epoch: int, loss: float) -> bool:
        """Take in an epoch's validation loss; True when it is the best so far."""
        if self.best_loss is not None and loss >= self.best_loss:
            self.stale_epochs += 1
            return False
        self.best_loss, self.best_epoch, self.stale_epochs = loss, epoch, 0
        return True

    @property
    def exhausted(self) -> bool:
        """True when patience has run out."""
        return self.stale_epochs >= self.patience

    def state_dict(self) -> dict[str, Any]:
        """The state as plain data."""
        return asdict(self)

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go back to a state that `state_dict` gave."""
        for name in asdict(self):
            setattr(self, name, state[name])
