"""`llm-one-api reload`: has what runs here take up the config as it stands now, without a call noticing."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

import click

from llm_one_api import settings
from llm_one_api.cli.claim import writing_to
from llm_one_api.cli.table import table
from llm_one_api.errors import ConfigError
from llm_one_api.plugins import manager
from llm_one_api.settings.applying import steadily
from llm_one_api.stores import generation
from llm_one_api.stores.generation import Answer

LOOK_EVERY = 0.02


@click.command()
@click.option(
    "--config",
    type=click.Path(path_type=Path),
    help="The file; else LLM_ONE_API_CONFIG, else config/llm-one-api.yaml, else the packaged default.",
)
@click.option("--timeout", default=20.0, show_default=True, help="Seconds to wait for the processes' answers.")
def command(config: Path | None, timeout: float) -> None:
    """Have the gateway and the relay of this machine take up the changed config.

    Calls under way go on as they began; calls from now on go by the new config. A config with faults changes nothing:
    they are printed, as by check-config, and the exit code is 2. Run it with the environment and in the folder that
    the processes were started with. Of each file they read what stands there now; their environment stays what it was.
    """
    try:
        loaded, file = steadily(partial(settings.load, config, check=manager.check), config)
    except ConfigError as error:
        click.echo(str(error), err=True)
        raise SystemExit(2) from None
    run = loaded.data_dir / "run"
    if not generation.answers(run):
        raise click.ClickException(
            f"nothing runs here with the data folder {loaded.data_dir.resolve()}: the next start reads the config. "
            "(A changed data_dir itself wants a restart.)"
        )
    with writing_to(run):
        number = generation.bump(run)
    answers = _await(run, number, timeout)
    for line in _told(answers, number, file, timeout):
        click.echo(line)
    raise SystemExit(0 if answers and all(_is_good(answer, number, file) for answer in answers) else 1)


def _await(run: Path, number: int, timeout: float) -> Sequence[Answer | None]:
    """Wait until all that live have answered; those that are about to stop need not."""
    until = time.monotonic() + timeout
    while True:
        answers = [one for one in generation.answers(run) if one is None or one.state != "stopping"]
        if all(one is not None and one.generation >= number for one in answers) or time.monotonic() >= until:
            return answers
        time.sleep(LOOK_EVERY)


def _is_good(answer: Answer | None, number: int, file: str) -> bool:
    return answer is not None and answer.generation >= number and answer.state == "uses" and answer.file == file


def _told(answers: Sequence[Answer | None], number: int, file: str, timeout: float) -> Iterator[str]:
    """Say who uses it now, who does not and why, and what is not used before a restart."""
    good = [answer for answer in answers if answer is not None and _is_good(answer, number, file)]
    parts = Counter(answer.part for answer in good)
    yield f"{file}: used by {', '.join(f'{part} ({count})' for part, count in sorted(parts.items())) or 'nobody'}"
    for answer in answers:
        if answer is None:
            yield f"a process has not answered within {timeout:g} s"
            continue
        who = f"{answer.part} (process {answer.pid})"
        if answer.generation < number:
            yield f"{who} has not answered within {timeout:g} s"
        elif answer.state == "refused":
            yield f"{who} refuses it, and goes on with what it had:"
            yield from (f"  {fault}" for fault in answer.faults)
        elif answer.file != file:
            yield f"{who} has read {answer.file}: another file, or it was changed meanwhile"
    wanted: dict[str, dict[str, None]] = {}
    for answer in good:
        for path, names in answer.restart.items():
            wanted.setdefault(path, {}).update(dict.fromkeys(names))
    if wanted:
        yield "Not used before a restart:"
        rows = [(path, ", ".join(names)) for path, names in sorted(wanted.items())]
        yield from (f"  {line}" for line in table(("setting", "of"), rows))
