"""One version, said in four places."""

import re
import tomllib

import pytest
import yaml


@pytest.fixture(scope="module")
def version(root):
    """What pyproject.toml says."""
    return tomllib.loads((root / "pyproject.toml").read_text())["project"]["version"]


def test_citation(root, version):
    citation = yaml.safe_load((root / "CITATION.cff").read_text())
    assert citation["version"] == version
    assert citation["license"] == "MIT"


def test_changelog(root, version):
    text = (root / "CHANGELOG.md").read_text()
    releases = re.findall(r"^## \[(.+?)\]", text, re.M)
    assert releases[0] in (version, "Unreleased")
    assert version in releases
    parts = re.split(r"^## \[", text, flags=re.M)[1:]
    assert all("### Results" in part for part in parts), "a release says under 'Results' what moved"


def test_package(version):
    import gcn_env

    if getattr(gcn_env, "__version__", None) is None:
        pytest.skip("gcn_env has no __version__ yet")
    assert gcn_env.__version__ == version
