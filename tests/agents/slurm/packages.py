"""Slurm for tests: what is on PATH, else Debian's packages, extracted into a cache folder, not installed."""

import os
import re
import shutil
import subprocess
import tempfile
from pathlib import Path

from filelock import FileLock

PACKAGES = (
    "slurmctld", "slurmd", "slurm-client", "slurmrestd", "slurm-wlm-basic-plugins", "slurm-wlm-jwt-plugin", "munge",
    "libmunge2",
)  # fmt: skip
PROGRAMS = (
    "slurmctld", "slurmd", "slurmstepd", "slurmrestd", "munged", "sbatch", "scancel", "scontrol", "sinfo", "squeue",
)  # fmt: skip
FOLDERS = ("usr/sbin", "usr/bin", "sbin", "bin")


class MissingError(Exception):
    """Why there is no Slurm to test against."""


def _run(*words, **options):
    done = subprocess.run(words, capture_output=True, text=True, check=False, **options)
    if done.returncode:
        raise MissingError(f"{' '.join(map(str, words))}: {(done.stderr or done.stdout).strip()[-300:]}")
    return done.stdout


def _cache():
    base = os.environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache")
    return Path(base) / "gcn_env"


def _apt(*words):
    """apt-get with lists of packages that are fetched into the cache folder where the system has none."""
    own = _cache() / "apt"
    options = ()
    if not any(Path("/var/lib/apt/lists").glob("*Packages*")):
        for name in ("lists/partial", "archives/partial"):
            (own / name).mkdir(parents=True, exist_ok=True)
        options = ("-o", f"Dir::State::lists={own}/lists", "-o", f"Dir::Cache={own}")
        if not any((own / "lists").glob("*Packages*")):
            _run("apt-get", *options, "update")
    return ("apt-get", "-o", "APT::Sandbox::User=root", *options, *words)


def _extracted():
    """Folder into which the packages, and those that they need beside what is installed, were extracted."""
    there = [p for p in _cache().glob("slurm-[0-9]*") if p.is_dir()]
    if there:
        return max(there, key=lambda p: p.stat().st_mtime)
    for tool in ("apt-get", "dpkg-deb"):
        if shutil.which(tool) is None:
            raise MissingError(
                f"slurmctld is not on PATH, and there is no {tool} to fetch Debian's packages with"
            )
    plan = _run(*_apt("--simulate", "--no-install-recommends", "install", *PACKAGES))
    found = dict(re.findall(r"^Inst (\S+) (?:\[\S+\] )?\((\S+)", plan, re.M))
    if "slurmctld" not in found:
        raise MissingError(f"apt-get would not install slurmctld: {plan.strip()[-300:]}")
    folder = _cache() / f"slurm-{found['slurmctld']}"
    with FileLock(f"{folder}.lock"):
        if not folder.exists():
            with tempfile.TemporaryDirectory(dir=_cache()) as made:
                _run(*_apt("download", *found), cwd=made)
                for package in Path(made).glob("*.deb"):
                    _run("dpkg-deb", "-x", package, f"{made}/files")
                shutil.rmtree(f"{made}/files/usr/share", ignore_errors=True)
                os.rename(f"{made}/files", folder)
    return folder


def _plugins(*folders):
    for folder in folders:
        for found in folder.rglob("job_submit_lua.so"):
            return found.parent
    raise MissingError(f"Slurm has no plugin job_submit_lua.so below {', '.join(map(str, folders))}")


def lay_out(into):
    """Put Slurm's programs under their own names into `into/bin`; returns the environment they need, and its plugins.

    Debian calls them `slurmctld-wlm` and so on and makes alternatives; under those names the daemons do not know that
    they are daemons and forget the GPUs of their nodes. Libraries are copied, since other users cannot read a cache
    folder of root's.

    Raises:
        MissingError: if there is no Slurm and none can be fetched, with the reason.
    """
    programs, folders, env = into / "bin", [], {}
    programs.mkdir()
    if shutil.which("slurmctld") is None:
        shutil.copytree(_extracted(), into / "files", symlinks=True)
        folders = [into / "files" / name for name in FOLDERS]
        plugins = _plugins(into / "files")
        for broken in plugins.glob("mpi_pmix*.so"):  # they want a library that nothing here needs
            broken.unlink()
        env = {"LD_LIBRARY_PATH": f"{plugins.parent}:{plugins}"}
    else:
        plugins = _plugins(Path("/usr/lib"), Path("/usr/lib64"), Path("/usr/local/lib"))
    where = os.pathsep.join([*map(str, folders), os.environ["PATH"], "/usr/sbin", "/sbin"])
    for name in PROGRAMS:
        found = next((f for f in (shutil.which(n, path=where) for n in (name, f"{name}-wlm")) if f), None)
        if found is None:
            raise MissingError(f"slurmctld is here, but {name} is not")
        (programs / name).symlink_to(found)
    return env, plugins
