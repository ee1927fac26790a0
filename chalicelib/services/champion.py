"""The champion, kept in memory: loaded on a cold start, and replaced when the champion changes.

A warm process checks for a new champion in two cases:

* The tracker names another version than the loaded one. Every creation reads the tracker anyway. The request itself
  loads the new model, so the next task after a training uses it. Meanwhile other requests use the old model; without
  one they wait, because a first model is better than a default prediction.
* The last check is too old. A thread checks the pointer by its ETag while the request is answered.

If a check fails or the version is damaged, the model in memory stays. From then on requests never wait: threads repeat
the check until one succeeds.

A Lambda is frozen after its answer, and its threads with it. So there the request itself does what else a thread does.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from functools import partial

import msgspec

from chalicelib.domain.errors import ModelError, NotFoundError, RegistryUnavailableError
from chalicelib.ports import ModelRegistry
from chalicelib.prediction.predictor import MODEL_FILES, Predictor
from chalicelib.services.versions import check_name

_log = logging.getLogger("studysmart.models")

RETRY_SECONDS = 5.0
"""Seconds between a failed attempt to load a model and the next one."""


def in_thread(work: Callable[[], None]) -> None:
    """Do the work in a thread while the request goes on."""
    threading.Thread(target=work, name="champion-refresh", daemon=True).start()


class _Loaded(msgspec.Struct, frozen=True):
    predictor: Predictor | None
    etag: str | None


class ChampionCache:
    """The champion of one cohort, shared by all threads of the process."""

    def __init__(
        self,
        registry: ModelRegistry,
        cohort: str,
        refresh_seconds: float,
        clock: Callable[[], float] = time.monotonic,
        aside: Callable[[Callable[[], None]], None] = in_thread,
    ) -> None:
        self._registry = registry
        self._cohort = cohort
        self._refresh_seconds = refresh_seconds
        self._clock = clock
        self._aside = aside
        self._loaded: _Loaded | None = None
        self._looking = threading.Lock()
        self._next_look = 0.0
        self._answered: str | None = None
        self._failed = False
        self._retry_at = 0.0

    def current(self, expected_version: str | None = None) -> Predictor | None:
        """Return the predictor to use now, or None while there is no model.

        ``expected_version`` is the version in the tracker. If it is not the loaded one, the pointer is read at once.
        """
        now = self._clock()
        if self._failed:
            if now >= self._retry_at:
                self._look_aside(expected_version, now)
        elif self._loaded is None:
            self._load_cold()
        elif self._is_news(expected_version):
            self._look(expected_version)
        elif now >= self._next_look:
            self._look_aside(None, now)
        return self._loaded.predictor if self._loaded else None

    @property
    def version(self) -> str | None:
        """The loaded version. Reading it does not check for a newer one."""
        return self._loaded.predictor.version if self._loaded and self._loaded.predictor else None

    def _load_cold(self) -> None:
        with self._looking:
            if self._loaded is None and not self._failed:
                self._refresh(None)

    def _look_aside(self, expected_version: str | None, now: float) -> None:
        """Refresh in a thread, or now where threads are frozen."""
        self._next_look, self._retry_at = now + self._refresh_seconds, now + RETRY_SECONDS
        self._aside(partial(self._look, expected_version))

    def _look(self, expected_version: str | None) -> None:
        """Refresh, unless another thread is refreshing: then use the model in memory, or wait for that thread."""
        busy = not self._looking.acquire(blocking=False)
        if busy:
            if self.version is not None:
                return
            self._looking.acquire()
        try:
            if not busy or self._is_news(expected_version):
                self._refresh(expected_version)
        finally:
            self._looking.release()

    def _is_news(self, expected_version: str | None) -> bool:
        return not self._failed and expected_version not in (None, self.version, self._answered)

    def _refresh(self, expected_version: str | None) -> None:
        before = self._loaded
        try:
            found = self._registry.read_champion(self._cohort, before.etag if before else None)
            if found is not None:
                champion, etag = found
                if before and before.predictor and before.predictor.version == champion.version:
                    self._loaded = _Loaded(before.predictor, etag)
                else:
                    files = self._registry.read_version(self._cohort, champion.version, MODEL_FILES)
                    predictor = Predictor.from_files(files)
                    check_name(predictor, champion.version)
                    self._loaded = _Loaded(predictor, etag)
                    _log.info("model %s loaded for cohort %s", champion.version, self._cohort)
            elif before is None:
                self._loaded = _Loaded(None, None)
        except (RegistryUnavailableError, ModelError, NotFoundError) as error:
            self._failed, self._retry_at = True, self._clock() + RETRY_SECONDS
            kept = before.predictor.version if before and before.predictor else None
            _log.error("model refresh failed, keeping %s: %s", kept or "no model", error)
            return
        self._failed, self._answered = False, expected_version
        self._next_look = self._clock() + self._refresh_seconds
