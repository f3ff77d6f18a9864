"""Brings what is to be told to its channels: each in order, and one that fails holds up no other."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from zoneinfo import ZoneInfo

import structlog

from llm_one_api.books.reports.alerts.rules import Channel
from llm_one_api.books.reports.alerts.sending import START_SECONDS, Outcome
from llm_one_api.books.reports.alerts.sending import send as send_by_process
from llm_one_api.books.reports.alerts.wording import Message, message
from llm_one_api.stores.ledger.alert_mail import Delivery, Mail

log = structlog.get_logger()

RETRY_SECONDS, RETRY_MOST = 55.0, 3600.0
"""From a failure to the next try: a minute, then twice as long each time, up to an hour."""
TRIES = 12
"""So it is given up after some seven hours."""
RUN_FOR = 60.0
"""Seconds after which nothing more is begun: there is a next minute."""
AT_ONCE = 8
_JITTER = 0.1
_LEEWAY = 10.0
"""Seconds for which a delivery is held beyond what sending it may take."""

TAKEN = "a worker sends it just now; `llm-one-api alerts history` tells"
"""What became of a test that is not to be had."""

Send = Callable[[Channel, Message], Outcome]


class Delivering:
    """Sends what waits. Any number may run at a time: each delivery has one sender."""

    def __init__(
        self,
        mail: Mail,
        channels: Mapping[str, Channel],
        zone: ZoneInfo,
        *,
        send: Send = send_by_process,
        clock: Callable[[], float] = time.monotonic,
        chance: Callable[[], float] = random.random,
    ) -> None:
        """Send nothing yet."""
        self._mail = mail
        self._channels = channels
        self._zone = zone
        self._send = send
        self._clock = clock
        self._chance = chance

    def run(self) -> int:
        """Send what is due, several channels at a time; tell how many were sent. Raises what the ledger raises."""
        waiting = self._mail.waiting()
        by_channel: dict[str, list[Delivery]] = {}
        for delivery in waiting:
            by_channel.setdefault(delivery.channel, []).append(delivery)
        if not by_channel:
            return 0
        end = self._clock() + RUN_FOR
        with ThreadPoolExecutor(min(AT_ONCE, len(by_channel))) as pool:
            return sum(pool.map(lambda mine: self._bring(mine, end), by_channel.values()))

    def _bring(self, deliveries: Iterable[Delivery], end: float) -> int:
        """Bring one channel what is for it, the oldest first: nobody hears of an end before its beginning."""
        sent, held = 0, set()
        for delivery in deliveries:
            alert = (delivery.rule, delivery.group)
            if alert in held:
                continue
            if self._clock() >= end or not delivery.due or not self.bring(delivery):
                held.add(alert)
                continue
            sent += 1
        return sent

    def bring(self, delivery: Delivery) -> bool:
        """Send one, if it is to be had, and note what came of it; False: it is still to be sent."""
        taken, outcome = self._attempt(delivery)
        if taken is None:
            return False
        if outcome.ok:
            return self._sent(taken)
        if outcome.permanent or taken.tries >= TRIES:
            return self._give_up(taken, outcome.error)
        retry_in = max(self._backoff(taken.tries), min(outcome.retry_after or 0.0, RETRY_MOST))
        self._mail.put_off(taken, outcome.error, retry_in)
        log.warning(
            "alerts.not_sent",
            channel=taken.channel,
            rule=taken.rule,
            error=outcome.error,
            tries=taken.tries,
            retry_in=round(retry_in),
        )
        return False

    def try_once(self, delivery: Delivery) -> Outcome:
        """Send one that is a test: it is not tried again, and who asked for it sees why."""
        taken, outcome = self._attempt(delivery)
        if taken is None:
            return Outcome(ok=False, error=TAKEN)
        if outcome.ok:
            self._mail.sent(taken)
        else:
            self._mail.give_up(taken, outcome.error)
        return outcome

    def _attempt(self, delivery: Delivery) -> tuple[Delivery | None, Outcome]:
        channel = self._channels.get(delivery.channel)
        seconds = START_SECONDS + _LEEWAY + (channel.timeout if channel else 0.0)
        taken = self._mail.take(delivery, seconds)
        if taken is None:
            return None, Outcome(ok=False)
        if channel is None:  # another's config may be newer, and have it
            return taken, Outcome(ok=False, error="there is no such channel here")
        try:
            outcome = self._send(channel, message(taken.uid, taken.kind, taken.at, taken.data, self._zone))
        except Exception as error:  # a fault of ours must not come again and again, unseen
            outcome = Outcome(ok=False, error=type(error).__name__)
        return taken, outcome

    def _sent(self, taken: Delivery) -> bool:
        log.info("alerts.sent", channel=taken.channel, rule=taken.rule, kind=taken.kind, tries=taken.tries)
        if not self._mail.sent(taken):
            log.warning("alerts.sent_twice", channel=taken.channel, rule=taken.rule)
        return True

    def _give_up(self, taken: Delivery, error: str) -> bool:
        log.error("alerts.given_up", channel=taken.channel, rule=taken.rule, error=error, tries=taken.tries)
        return self._mail.give_up(taken, error)

    def _backoff(self, tries: int) -> float:
        seconds: float = min(RETRY_SECONDS * 2 ** (tries - 1), RETRY_MOST)
        return seconds * (1 - _JITTER * self._chance())
