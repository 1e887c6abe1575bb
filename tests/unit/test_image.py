"""Dockerfile and .dockerignore: the image has all files of the commands and no private file."""

from __future__ import annotations

import fnmatch
import json
import re

import yaml

from tests.support.processes import ROOT


def stages() -> list[list[tuple[str, str]]]:
    """Return (instruction, arguments) of each stage of the Dockerfile."""
    found: list[list[tuple[str, str]]] = []
    for name, rest in all_instructions():
        if name == "FROM":
            found.append([])
        found[-1].append((name, rest))
    return found


def instructions() -> list[tuple[str, str]]:
    """Return the instructions of the last stage, which becomes the image."""
    return stages()[-1]


def all_instructions() -> list[tuple[str, str]]:
    """Return (instruction, arguments) of the Dockerfile, with continued lines joined."""
    text = re.sub(r"\\\n", " ", (ROOT / "Dockerfile").read_text())
    lines = [line for line in text.splitlines() if line.strip() and not line.startswith("#")]
    return [(line.split(None, 1)[0], line.split(None, 1)[1]) for line in lines]


def copied() -> list[str]:
    """Return every source of a COPY from the checkout, without trailing slashes."""
    copies = [rest.split() for name, rest in all_instructions() if name == "COPY"]
    return [word.rstrip("/") for words in copies if not words[0].startswith("--from") for word in words[:-1]]


def test_image_has_the_files_of_the_commands() -> None:
    assert set(copied()) >= {
        "requirements.txt",
        "manage.py",
        "wsgi.py",
        "config",
        "db",
        "jobs",
        "api",
        "cli",
        "clients/python",
        "clients/web",
        "data",
    }
    for source in copied():
        assert (ROOT / source).exists()
        assert not ignored(source), source
    steps = instructions()
    install = next(index for index, (name, rest) in enumerate(steps) if name == "RUN" and "pip install" in rest)
    assert "--require-hashes" in steps[install][1]
    assert "-r requirements.txt" in steps[install][1]
    before = [rest for name, rest in steps[:install] if name == "COPY"]
    assert before == ["requirements.txt ./"]  # a separate layer


def test_folder_keeps_its_path_in_the_image() -> None:
    for name, rest in instructions():
        if name == "COPY" and not rest.startswith("--from"):
            *sources, target = rest.split()
            assert target == "./" or sources == [target]


def test_extension_is_built_in_a_stage_of_its_own() -> None:
    build, image = stages()
    assert build[0][1] == f"{image[0][1]} AS build"
    steps = [rest for name, rest in build if name == "RUN"]
    assert any("apt-get install" in step and "gcc" in step for step in steps)
    assert any("pip wheel" in step and "./native/sendmany" in step for step in steps)
    assert any("--require-hashes" in step for step in steps)
    assert not any("apt-get" in rest for _, rest in image), "the image has no compiler"
    assert ("COPY", "--from=build /build/wheels/ wheels/") in image
    assert any("pip install --no-index" in rest and "wheels/*.whl" in rest for _, rest in image)


def test_image_has_a_supported_python_and_no_root() -> None:
    steps = dict(instructions())
    assert steps["FROM"] == "python:3.11-slim"
    assert 'target-version = "py311"' in (ROOT / "pyproject.toml").read_text()
    assert steps["USER"] != "root"
    names = [name for name, _ in instructions()]
    assert names[names.index("USER") :] == ["USER", "EXPOSE", "CMD"]  # no file belongs to another user
    assert any(rest.startswith("useradd ") and rest.split()[-1] == steps["USER"] for name, rest in instructions() if name == "RUN")
    services = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]
    assert set(steps["EXPOSE"].split()) == {services[name]["ports"][0].rsplit(":", 1)[1] for name in ("hub", "rest")}
    assert json.loads(steps["CMD"])[:2] == ["python", "manage.py"]


def ignored(path: str) -> bool:
    """Return whether .dockerignore excludes the path: the last matching pattern decides."""
    verdict = False
    for line in (ROOT / ".dockerignore").read_text().splitlines():
        if pattern := line.split("#", 1)[0].strip().rstrip("/"):
            name = pattern.removeprefix("!")
            parts = path.split("/")
            parents = ["/".join(parts[: index + 1]) for index in range(len(parts))]
            hit = any(part and fnmatch.fnmatch(part, name.removeprefix("**/")) for part in (parts if name.startswith("**/") else parents))
            verdict = not pattern.startswith("!") if hit else verdict
    return verdict


def test_image_has_compiled_modules() -> None:
    steps = instructions()
    assert steps.index(("RUN", "python -m compileall -q .")) > max(index for index, (name, _) in enumerate(steps) if name == "COPY")


def test_secrets_and_data_are_excluded_from_the_image() -> None:
    assert all(ignored(path) for path in (".env", "var", ".git", ".venv", "tests", "config/__pycache__", "db/x.pyc"))
    assert not ignored("db/publish.lua")
    assert not ignored("data/recordings/EUR_USD_20140505.csv.gz")


def test_image_has_the_files_of_the_dashboard_without_those_of_its_development() -> None:
    assert {"clients/web", "clients/js/src"} <= set(copied())
    served = ("clients/web/index.html", "clients/web/app.css", "clients/web/src/main.js", "clients/web/vendor/vendor.json")
    assert not any(ignored(path) for path in (*served, "clients/js/src/index.js"))
    development = ("test/format.test.js", "package.json", "package-lock.json", "tsconfig.json", "node_modules/x/index.js")
    assert all(ignored(f"clients/{package}/{file}") for package in ("web", "js") for file in development)
