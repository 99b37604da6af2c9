"""The images of our own: built when they are missing or their content changed, told by a label.

Checking costs one look at the Engine's images (about 10 ms); building the first time one or two minutes.
The base is debian:bookworm-slim where that is there or can be pulled; else the same is bootstrapped from
Debian's packages.
"""

from __future__ import annotations

import hashlib
import io
import os
import shutil
import subprocess
import sysconfig
import tarfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from orchestrator import errors
from orchestrator.engines import docker_pause
from orchestrator.engines.base import Progress
from orchestrator.engines.docker_client import Docker, translated

SUITE = "bookworm"
BASE, OWN_BASE = "debian:bookworm-slim", "lab/base"
HOST, NGINX, DAEMON, MACHINE = "lab/host", "lab/nginx", "lab/daemon", "lab/machine"
CONTENT_LABEL = "io.lab.content"
KIND_LABEL = "io.lab.kind"
_DROPPED = ("doc", "man", "locale", "info")  # folders of /usr/share that the -slim images do not have either


class Recipe(NamedTuple):
    """An image: its folder below images/, what it stands on (None: the base), and files that are made, not
    written.
    """

    name: str
    folder: str
    on: str | None = None
    made: tuple[str, ...] = ()


RECIPES = {
    recipe.name: recipe
    for recipe in (
        Recipe(HOST, "host", made=("pause",)),
        Recipe(NGINX, "nginx", on=HOST),
        Recipe(DAEMON, "daemon", made=("pyroute2",)),
        Recipe(MACHINE, "machine"),
    )
}


class Context(NamedTuple):
    """What an image is built from: files by path, and the hash that says whether it changed."""

    files: Mapping[str, bytes]
    content: str


def folder() -> Path:
    """images/ of a checkout, or where an installed package keeps it."""
    candidates = [Path(__file__).parents[2] / "images"]
    for scheme in (sysconfig.get_default_scheme(), sysconfig.get_preferred_scheme("user")):
        candidates.append(Path(sysconfig.get_path("data", scheme), "share/lab/images"))
    for candidate in candidates:
        if (candidate / "host" / "Dockerfile").is_file():
            return candidate
    raise errors.EngineError(f"the folder images/ is missing: looked for {', '.join(map(str, candidates))}")


def ensure(docker: Docker, names: Iterable[str], progress: Progress) -> None:
    """Build those of these images of ours that are missing or out of date, and what they stand on."""
    present = contents(docker)
    for name in in_order(names):
        context = make_context(name, docker.architecture)
        if present.get(name) != context.content:
            _build(docker, name, context, progress)


def all_names() -> tuple[str, ...]:
    """The images that `lab images build` builds when none is named: what hosts and daemons are made from."""
    return tuple(name for name in RECIPES if name != MACHINE)


def in_order(names: Iterable[str]) -> list[str]:
    """These, each after what it stands on."""
    order: list[str] = []
    for name in names:
        below = RECIPES[name].on
        for wanted in (*(in_order([below]) if below else ()), name):
            if wanted not in order:
                order.append(wanted)
    return order


def contents(docker: Docker) -> dict[str, str]:
    """{image name: content hash} of our images that the Engine has."""
    with translated("the images cannot be listed"):
        images = docker.api.images(filters={"label": [f"{KIND_LABEL}=image"]})
    found: dict[str, str] = {}
    for image in images:
        for tag in image.get("RepoTags") or ():
            found[tag.removesuffix(":latest")] = (image.get("Labels") or {}).get(CONTENT_LABEL, "")
    return found


def make_context(name: str, architecture: str) -> Context:
    """The files and the hash of an image; the hash includes that of what it stands on."""
    recipe = RECIPES[name]
    root = folder() / recipe.folder
    files = {path.name: path.read_bytes() for path in sorted(root.iterdir()) if path.is_file()}
    digest = hashlib.sha256(f"{architecture} {SUITE}".encode())
    if recipe.on:
        digest.update(make_context(recipe.on, architecture).content.encode())
    if "pause" in recipe.made:
        files["pause"] = _pause(architecture)
    for path, data in sorted(files.items()):
        digest.update(f"{path} {len(data)} ".encode() + data)
    if "pyroute2" in recipe.made:
        digest.update(_pyroute2_version().encode())
    return Context(files, digest.hexdigest()[:24])


def _pause(architecture: str) -> bytes:
    try:
        return docker_pause.program(architecture)
    except KeyError:
        raise errors.EngineError(f"containers of {architecture} are not supported") from None


def _pyroute2_version() -> str:
    from importlib.metadata import version

    return version("pyroute2")


def _pyroute2_files() -> dict[str, bytes]:
    """The client's own pyroute2, so that both engines' daemons run the same. It is Python only."""
    import importlib.util

    spec = importlib.util.find_spec("pyroute2")
    if spec is None or spec.origin is None:
        raise errors.EngineError("the package pyroute2 is missing", "`pip install pyroute2`")
    root = Path(spec.origin).parent
    return {
        f"pyroute2/{path.relative_to(root).as_posix()}": path.read_bytes()
        for path in sorted(root.rglob("*.py"))
    }


def _build(docker: Docker, name: str, context: Context, progress: Progress) -> None:
    recipe = RECIPES[name]
    files = dict(context.files)
    if "pyroute2" in recipe.made:
        files.update(_pyroute2_files())
    base = recipe.on or base_image(docker, progress)
    progress(f"building image {name} on {base}")
    with translated(f"image {name} cannot be built"):
        lines = docker.api.build(
            fileobj=pack(files, executable=recipe.made),
            custom_context=True,
            encoding=None,
            tag=name,
            rm=True,
            forcerm=True,
            decode=True,
            buildargs={"BASE": base},
            labels={KIND_LABEL: "image", CONTENT_LABEL: context.content},
        )
        _follow(name, lines, progress)


def pack(files: Mapping[str, bytes], executable: Sequence[str] = ()) -> io.BytesIO:
    """A tar of these files, equal for equal content: no times, no owners."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as tar:
        for path, data in files.items():
            entry = tarfile.TarInfo(path)
            entry.size, entry.mode = len(data), 0o755 if path in executable else 0o644
            tar.addfile(entry, io.BytesIO(data))
    packed.seek(0)
    return packed


def _follow(name: str, lines: Iterable[Mapping[str, Any]], progress: Progress) -> None:
    """Pass on the steps of a build; raise its error with the last lines of what it said."""
    said: list[str] = []
    for line in lines:
        if "error" in line:
            tail = "\n  ".join(said[-8:])
            raise errors.EngineError(f"image {name} cannot be built: {line['error']}\n  {tail}")
        for text in str(line.get("stream", "")).splitlines():
            if text.strip():
                said.append(text.rstrip())
            if text.startswith("Step "):
                progress(f"  {name}: {text[:100]}")


def base_image(docker: Docker, progress: Progress) -> str:
    """The name of the base: Debian's own image if it is there or can be pulled, else our bootstrapped one."""
    if has(docker, BASE):
        return BASE
    if has(docker, OWN_BASE):
        return OWN_BASE
    progress(f"pulling {BASE}")
    try:
        pull(docker, BASE)
        return BASE
    except errors.ImageNotFound as error:
        reason = error.message.splitlines()[0]
    progress(f"  {reason}")
    _bootstrap(docker, progress, reason)
    return OWN_BASE


def has(docker: Docker, image: str) -> bool:
    """Whether the Engine has an image of that name."""
    with translated("the images cannot be listed"):
        return bool(docker.api.images(name=image))


def pull(docker: Docker, image: str) -> None:
    """Have the Engine pull an image. Raises ImageNotFound."""
    name, _, tag = image.rpartition(":") if ":" in image.rpartition("/")[2] else (image, "", "latest")
    if "@" in image:
        name, tag = image, ""
    try:
        with translated("it is not there"):
            lines = docker.api.pull(name, tag=tag or None, stream=True, decode=True)
            refusal = next((str(line["error"]) for line in lines if "error" in line), "")
    except errors.EngineError as error:
        refusal = error.message
    if refusal:
        hint = "correct its name, or `docker load` it"
        raise errors.ImageNotFound(f"image {image} cannot be pulled: {refusal}", hint)


def can_be_pulled(docker: Docker, image: str) -> bool:
    """Whether a registry that can be reached has it: one question over the network."""
    try:
        with translated(f"image {image}"):
            docker.api.inspect_distribution(image)
    except errors.EngineError:
        return False
    return True


def _bootstrap(docker: Docker, progress: Progress, reason: str) -> None:
    """Make the base from Debian's packages (mmdebstrap(1)) and import it; half a minute."""
    if shutil.which("mmdebstrap") is None:
        raise errors.EngineUnavailable(
            f"{BASE} cannot be pulled ({reason}), and mmdebstrap, which makes the same, is missing",
            "`sudo apt-get install mmdebstrap`",
        )
    progress(f"bootstrapping {OWN_BASE} from Debian's packages (mmdebstrap {SUITE}), about half a minute")
    made = subprocess.run(_bootstrap_command(), capture_output=True, check=False)
    if made.returncode:
        tail = made.stderr.decode(errors="replace").strip().splitlines()[-5:]
        raise errors.CommandFailed(
            "mmdebstrap failed:\n  " + "\n  ".join(tail), "is a Debian mirror reachable?"
        )
    changes = [f"LABEL {KIND_LABEL}=base", 'CMD ["bash"]']
    with translated(f"{OWN_BASE} cannot be imported"):
        docker.api.import_image_from_data(made.stdout, repository=OWN_BASE, changes=changes)


def _bootstrap_command() -> list[str]:
    drop = [f"--dpkgopt=path-exclude=/usr/share/{name}/*" for name in _DROPPED]
    mirror = os.environ.get("LAB_DEBIAN_MIRROR", "")  # none: mmdebstrap(1)'s own choice
    return ["mmdebstrap", "--quiet", "--variant=minbase", *drop, SUITE, "-", *([mirror] if mirror else [])]
