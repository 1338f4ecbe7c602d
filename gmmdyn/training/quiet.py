"""What Lightning says during a run: what was asked for, and nothing else."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytorch_lightning as pl

_FOLDER = Path(pl.__file__).parent
# Summaries, profiles, and what a callback says when it is told to be verbose.
_ASKED_FOR = ("callbacks", "profilers")


def _asked_for(record: logging.LogRecord) -> bool:
    """Tell reports that were asked for from news of the trainer; its warnings go through too."""
    folders = [_FOLDER / name for name in _ASKED_FOR]
    return record.levelno >= logging.ERROR or any(
        folder in Path(record.pathname).parents for folder in folders
    )


@contextmanager
def quiet() -> Iterator[None]:
    """Silence what Lightning says about data loaders and devices: none of it applies here."""
    loggers = [
        logging.getLogger(name)
        for name in list(logging.root.manager.loggerDict)
        if name.split(".")[0] in ("pytorch_lightning", "lightning_fabric")
    ]
    for logger in loggers:
        logger.addFilter(_asked_for)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", module=r"pytorch_lightning")
            yield
    finally:
        for logger in loggers:
            logger.removeFilter(_asked_for)
