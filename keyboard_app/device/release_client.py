"""Is this model what the release keys signed? The Update Framework, from a root pinned on the device.

With ``release-root.json`` in the device's home no model is ranked with or trained on that the metadata does not name:
not an older one offered again (rollback), not yesterday's news for ever (freeze: metadata expires), not parts of two
releases (mix and match), not anything signed by a key that was revoked. Metadata already seen is kept under
``home/releases`` and never goes back. Round models are signed by the delegated role ``rounds``, whose key the
coordinator holds: this protects from everybody but the coordinator.

The framework is imported when the first model is checked (0.03 s, 3 MiB).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from federated_protocol.messages import RefusalReason
from federated_protocol.releases import model_target_path
from keyboard_app.device.files import write_atomically
from keyboard_app.device.model_store import ModelRejectedError
from keyboard_app.device.transport import BadAnswer, CoordinatorUnreachable, Refused

if TYPE_CHECKING:
    from tuf.ngclient import FetcherInterface

ROOT_FILE = "release-root.json"
_METADATA_LIMIT = 2_000_000


class PinnedRootError(Exception):
    """A root cannot be pinned on this device; the message says what to do."""


class _Signed(msgspec.Struct, frozen=True):
    type: str = msgspec.field(name="_type")
    insecure_demo: bool = msgspec.field(name="x-insecure-demo", default=False)


class _Root(msgspec.Struct, frozen=True):
    signed: _Signed


def pin_root(home: Path, root: bytes, *, insecure_demo: bool = False) -> None:
    """Trust releases under this root from now on, and no others.

    Args:
        home: of the device.
        root: root metadata that came on another way than models do, as ``coordinator keys make`` wrote it.
        insecure_demo: whether roots marked as a demo's will do.

    Raises:
        PinnedRootError: it is no root metadata, a demo's, or another one than this device pinned before: newer roots
            are found through the one that was pinned, and are not given by hand.
        OSError: it cannot be kept.
    """
    try:
        found = msgspec.json.decode(root, type=_Root).signed
    except msgspec.MsgspecError:
        found = None
    if found is None or found.type != "root":
        raise PinnedRootError("the release root is no root metadata: take 1.root.json of the online release keys")
    if found.insecure_demo and not insecure_demo:
        raise PinnedRootError("the release root is an INSECURE DEMO's: anybody may hold its keys")
    path = home / ROOT_FILE
    if path.exists():
        if path.read_bytes() != root:
            raise PinnedRootError(
                f"this device pinned another release root: if that is a mistake, remove {path} and {home / 'releases'}"
            )
        return
    write_atomically(path, root)


class ReleaseClient:
    """Checks models against signed metadata.

    Args:
        folder: where trusted metadata is kept.
        pinned_root: bytes of the root metadata this device trusts from the start.
        fetch: metadata by its file name, at most so many bytes, as :meth:`Transport.release_metadata`.
        clock: Unix time in seconds, for what has expired.
    """

    def __init__(
        self,
        folder: Path,
        pinned_root: bytes,
        fetch: Callable[[str, int], bytes],
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._folder = folder
        self._pinned_root = pinned_root
        self._fetch = fetch
        self._clock = clock

    @classmethod
    def of(
        cls, home: Path, fetch: Callable[[str, int], bytes], clock: Callable[[], float] = time.time
    ) -> ReleaseClient | None:
        """The client of a device whose home holds a pinned root; None where none was placed."""
        try:
            pinned = (home / ROOT_FILE).read_bytes()
        except FileNotFoundError:
            return None
        return cls(home / "releases", pinned, fetch, clock)

    def check(self, version: int, raw: bytes | memoryview) -> None:
        """Refuse a model that is not the signed one of this version.

        Raises:
            ModelRejectedError: it is not signed, expired, older than what was seen, or of revoked keys.
            CoordinatorUnreachable, BadAnswer: the metadata could not be had.
            OSError: the metadata cannot be kept.
        """
        from tuf.api import exceptions
        from tuf.ngclient import Updater, UpdaterConfig

        self._folder.mkdir(parents=True, exist_ok=True)
        config = UpdaterConfig(max_root_rotations=64, prefix_targets_with_hash=False)
        try:
            updater = Updater(
                str(self._folder),
                "releases/",
                fetcher=_fetcher(self._fetch),
                config=config,
                bootstrap=self._pinned_root,
            )
            # The library takes the wall clock; a device has one clock, which may be moved in tests.
            updater._trusted_set.reference_time = datetime.fromtimestamp(self._clock(), UTC)
            updater.refresh()
            target = updater.get_targetinfo(model_target_path(version))
            if target is None:
                raise ModelRejectedError(f"version {version} is not among the signed releases")
            target.verify_length_and_hashes(bytes(raw))
        except exceptions.DownloadError as problem:
            if isinstance(problem.__cause__, CoordinatorUnreachable | BadAnswer):
                raise problem.__cause__ from None
            raise ModelRejectedError("the coordinator serves no signed releases, this device wants them") from None
        except exceptions.ExpiredMetadataError:
            raise ModelRejectedError("the signed releases are out of date: somebody serves old news") from None
        except exceptions.BadVersionNumberError:
            raise ModelRejectedError("the signed releases are older than what was seen before") from None
        except exceptions.UnsignedMetadataError:
            raise ModelRejectedError("the releases are signed by keys this device does not trust") from None
        except exceptions.LengthOrHashMismatchError:
            raise ModelRejectedError("the model is not the signed one") from None
        except (exceptions.RepositoryError, ValueError):
            raise ModelRejectedError("the signed releases cannot be read or contradict each other") from None


def _fetcher(fetch: Callable[[str, int], bytes]) -> FetcherInterface:
    from tuf.api import exceptions
    from tuf.ngclient import FetcherInterface

    class Fetcher(FetcherInterface):
        def _fetch(self, url: str) -> Iterator[bytes]:
            try:
                # Asked for here and not in a generator, so that failures keep their type.
                return iter([fetch(url.rpartition("/")[2], _METADATA_LIMIT)])
            except Refused as problem:
                if problem.reason is RefusalReason.UNKNOWN_MODEL:
                    raise exceptions.DownloadHTTPError("not there", 404) from None
                raise

    return Fetcher()
