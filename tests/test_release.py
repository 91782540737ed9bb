"""A release refuses what may not be published, and says why."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from releasing import __main__ as release
from releasing import distributions, tree

READY = {
    "src/xclaim/__init__.py": '__version__ = "1.2.3"\n',
    "news/README.md": "# News\n",
    "CHANGELOG.md": "# Changelog\n\n## 1.2.3 - 2027-01-02\n\n## 1.2.2 - 2026-12-24\n",
}


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """Return a checkout that may be published."""
    for name, text in READY.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    who = ["-c", "user.name=xclaim", "-c", "user.email=xclaim@example.org"]
    for arguments in (["init"], ["add", "."], [*who, "commit", "--message", "Ready"]):
        command = ["git", "-C", str(tmp_path), *arguments]
        subprocess.run(command, check=True, capture_output=True)
    return tmp_path


def test_a_checkout_that_is_ready_has_no_obstacles(checkout: Path) -> None:
    assert list(tree.obstacles(checkout)) == []


def test_news_that_the_changelog_does_not_tell_are_an_obstacle(checkout: Path) -> None:
    (checkout / "news" / "+quicker.changed.md").write_text("It is quicker.\n")

    news, changed = tree.obstacles(checkout)

    assert news.startswith("1 news fragment is in no release of CHANGELOG.md (+quicker.changed.md)")
    assert "?? news/+quicker.changed.md" in changed


def test_a_change_that_is_not_committed_is_an_obstacle(checkout: Path) -> None:
    (checkout / "news" / "README.md").write_text("# Other news\n")

    (changed,) = tree.obstacles(checkout)

    assert "M news/README.md" in changed


@pytest.mark.parametrize(
    "newest", ["## 1.2.3 - unreleased", "## 1.2.2 - 2026-12-24", "## 1.2.30 - 2027-01-02"]
)
def test_a_changelog_without_the_day_of_this_version_is_an_obstacle(
    checkout: Path, newest: str
) -> None:
    (checkout / "CHANGELOG.md").write_text(f"# Changelog\n\n{newest}\n")

    heading, _changed = tree.obstacles(checkout)

    assert f"CHANGELOG.md begins with `{newest}`" in heading
    assert "`## 1.2.3 - <the day of the release>`" in heading


def test_where_there_is_no_git_that_is_said(tmp_path: Path) -> None:
    (obstacle,) = tree.obstacles(tmp_path)

    assert obstacle == f"{tmp_path} is no checkout of git, so nobody knows what would be published"


def test_what_may_not_be_published_is_not_built(
    checkout: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (checkout / "news" / "+quicker.changed.md").write_text("It is quicker.\n")
    monkeypatch.setattr(release, "ROOT", checkout)
    monkeypatch.setattr("sys.argv", ["releasing"])

    status = release.main()

    assert status == 1
    assert "make release RELEASE=--try" in capsys.readouterr().out
    assert not (checkout / "dist").exists()


@pytest.mark.parametrize("less", [["--no-airflow"], ["--python", "3.12"]])
def test_what_was_not_tried_everywhere_is_not_published(
    less: list[str],
    checkout: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(release, "ROOT", checkout)
    monkeypatch.setattr("sys.argv", ["releasing", *less])

    status = release.main()

    assert status == 1
    assert "not ready: a release is tried on each Python" in capsys.readouterr().out


def test_the_digests_are_those_that_sha256sum_checks(tmp_path: Path) -> None:
    (tmp_path / "wheel").write_bytes(b"a wheel")

    (tmp_path / "SHA256SUMS").write_text(distributions.digests([tmp_path / "wheel"]))

    subprocess.run(["/bin/sh", "-c", "sha256sum --check SHA256SUMS"], cwd=tmp_path, check=True)
