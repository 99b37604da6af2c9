"""What an image is built from, and when it is built again."""

from __future__ import annotations

import tarfile
from pathlib import Path

import pytest

from orchestrator.engines import docker_images as images
from orchestrator.errors import EngineError


def test_an_image_comes_after_what_it_stands_on() -> None:
    assert images.in_order([images.NGINX, images.DAEMON]) == [images.HOST, images.NGINX, images.DAEMON]


def test_the_content_is_the_same_twice_and_another_elsewhere() -> None:
    here = images.make_context(images.HOST, "x86_64")
    assert here == images.make_context(images.HOST, "x86_64")
    assert here.content != images.make_context(images.HOST, "aarch64").content


def test_a_changed_file_changes_its_image_and_what_stands_on_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for path in images.folder().rglob("*"):
        if path.is_file():
            copy = tmp_path / path.relative_to(images.folder())
            copy.parent.mkdir(exist_ok=True)
            copy.write_bytes(path.read_bytes())
    before = {name: images.make_context(name, "x86_64").content for name in images.all_names()}
    monkeypatch.setattr(images, "folder", lambda: tmp_path)
    assert {name: images.make_context(name, "x86_64").content for name in images.all_names()} == before
    with (tmp_path / "host" / "Dockerfile").open("a") as file:
        file.write("RUN true\n")
    changed = {name for name, old in before.items() if images.make_context(name, "x86_64").content != old}
    assert changed == {images.HOST, images.NGINX}


def test_an_archive_holds_the_files_and_says_which_can_be_run() -> None:
    packed = images.pack({"a": b"1", "dir/b": b"22"}, ("a",))
    with tarfile.open(fileobj=packed) as tar:
        assert {m.name: (m.size, m.mode, m.mtime, m.uid) for m in tar} == {
            "a": (1, 0o755, 0, 0),
            "dir/b": (2, 0o644, 0, 0),
        }


def test_an_architecture_without_a_program_is_refused() -> None:
    with pytest.raises(EngineError, match="sparc64"):
        images.make_context(images.HOST, "sparc64")
