"""How fast deliveries go, how often they are tried, how long they take."""

from __future__ import annotations

from llm_one_api.values import Value


class Pace(Value, frozen=True, kw_only=True):
    """How deliveries are made. Times are in seconds."""

    lease: float = 60.0
    retry_min: float = 1.0
    retry_max: float = 300.0
    tries: int = 8
    """How often a record is tried before it is set aside."""
    look_ahead: int = 20
    """Records behind a refused one that are tried at most, to see whether the plugin takes any."""
    chunk: int = 500
    """Records between two moves of the cursor, at most."""
    chunk_seconds: float = 1.0
    """Time between two moves of the cursor, but for one long call."""
    look_for: float = 60.0
    """Time after which no further one of them is tried. For this a delivery may go on beyond `run_for`."""
    run_for: float = 5.0
    """A delivery that has more to do ends after this time, so that other plugins get a turn in the same process."""

    def retry_in(self, failures: int) -> float:
        """Tell how long to wait after so many failures in a row."""
        return min(self.retry_max, self.retry_min * 2.0 ** min(failures - 1, 30))
