"""Images to machines that lack them, as one stream from this computer's Engine into theirs: save and load.

The look whether one is there takes 10 ms. Nothing is compressed: loading is what takes the time. All that a
machine lacks goes in one stream, so that layers which images share go once.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial

from orchestrator import errors
from orchestrator.engines import docker_images as images
from orchestrator.engines.base import Progress
from orchestrator.engines.docker_client import Docker, each, translated

_PIECE = 1 << 20
_TOLD = 1.0  # seconds between two lines about a stream
_MB = 1_000_000


def bring_all(targets: Iterable[Docker], names: Sequence[str], progress: Progress) -> None:
    """Side by side, to each of these what it lacks; see `bring`."""
    each(partial(bring, target, names, progress) for target in targets)


def bring(target: Docker, names: Sequence[str], progress: Progress) -> None:
    """Send those of these images that a machine lacks and this computer has, or can build. What cannot be
    sent is left for the machine itself to build or to pull.
    """
    wanted = lacking(target, names)
    if not wanted:
        return
    try:
        source = Docker()
    except errors.EngineUnavailable:
        return
    if source.architecture != target.architecture:
        return
    images.ensure(source, [name for name in wanted if name in images.RECIPES], progress)
    if there := [name for name in wanted if images.has(source, name)]:
        send(source, target, there, progress)


def lacking(docker: Docker, names: Iterable[str]) -> list[str]:
    """Those of these images that an Engine has not, or has in another version where they are ours."""
    present = images.contents(docker)
    with translated("the images cannot be listed"):
        tags = {tag for image in docker.api.images() for tag in image.get("RepoTags") or ()}

    def is_there(name: str) -> bool:
        if name in images.RECIPES:
            return present.get(name) == images.make_context(name, docker.architecture).content
        return name in tags or f"{name}:latest" in tags or ("@" in name and images.has(docker, name))

    return [name for name in dict.fromkeys(names) if not is_there(name)]


def send(source: Docker, target: Docker, names: Sequence[str], progress: Progress) -> None:
    """Save here and load there at once; nothing is put on a disk in between."""
    what, where = ", ".join(names), target.machine.name
    with translated(f"{what} cannot be sent to machine {where}"):
        sizes = [int(source.api.inspect_image(name)["Size"]) for name in names]
        api = source.api
        saved = api.get(
            f"{api.base_url}/v{api.api_version}/images/get", params={"names": list(names)}, stream=True
        )
        with saved:
            saved.raise_for_status()
            told = _told(saved.iter_content(_PIECE), sum(sizes), f"sending {what} to {where}", progress)
            lines = list(target.api.load_image(told))
    refused = [str(line["error"]) for line in lines if "error" in line]
    if refused:
        raise errors.EngineError(f"{what} cannot be loaded on machine {where}: {refused[0]}")


def _told(
    pieces: Iterable[bytes],
    size: int,
    about: str,
    progress: Progress,
    clock: Callable[[], float] = time.monotonic,
) -> Iterator[bytes]:
    """The same pieces; how far it has come is said. `size` is what the images take unpacked and apart: the
    stream may be shorter.
    """
    sent, next_at = 0, clock()
    for piece in pieces:
        if clock() >= next_at:
            progress(f"{about}: {sent // _MB} of at most {size // _MB} MB")
            next_at = clock() + _TOLD
        sent += len(piece)
        yield piece
    progress(f"{about}: {sent // _MB} MB sent")
