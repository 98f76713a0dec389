"""Sets a checkout up with nothing but `python3`: gets uv, picks a Python 3.12, installs the locked environment.

Runs under any Python from 3.8 on, so it uses nothing newer. `make setup` calls it; running it again is cheap.
"""

import glob
import os
import pwd
import shutil
import subprocess
import sys

WANTED = (3, 12)
ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
SYSTEM_CERTIFICATES = "/etc/ssl/certs/ca-certificates.crt"
TOOLS = os.path.join(ROOT, ".tools")
TOO_LARGE = ("whisper", "piper", "kokoro")  # extras with hundreds of megabytes, of use only with a model besides


def fail(what, remedy):
    """Ends with a sentence that says what is missing and what to type."""
    sys.exit("setup: {}\n       {}".format(what, remedy))


def answers(command):
    """The command's standard output, or None when it does not run."""
    try:
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, timeout=30, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.decode().strip()


def is_wanted(python):
    """Whether this interpreter runs and is a 3.12; a pyenv shim on PATH may exist and yet refuse to run."""
    return answers([python, "-c", "import sys; print('%d.%d' % sys.version_info[:2])"]) == "%d.%d" % WANTED


def find_python():
    """The path of an installed Python 3.12, or None."""
    candidates = [sys.executable, shutil.which("python3.12")]
    pyenv_roots = [os.environ.get("PYENV_ROOT"), os.path.expanduser("~/.pyenv")]
    pyenv_roots.append(os.path.join(pwd.getpwuid(os.getuid()).pw_dir, ".pyenv"))
    for root in pyenv_roots:
        if root:
            candidates += sorted(glob.glob(os.path.join(root, "versions", "3.12*", "bin", "python3.12")), reverse=True)
    candidates += ["/usr/local/bin/python3.12", "/opt/homebrew/bin/python3.12", "/usr/bin/python3.12"]
    for candidate in candidates:
        if candidate and is_wanted(candidate):
            found = answers([candidate, "-c", "import os, sys; print(os.path.realpath(sys.executable))"])
            if found:
                return found
    return None


def get_uv(python):
    """The path of a working uv: the checkout's own, else one installed by pip into ``.tools``, else one on PATH."""
    own = os.path.join(TOOLS, "bin", "uv")
    if answers([own, "--version"]):
        return own
    maker = python or sys.executable
    print("setup: installing uv into .tools")
    attempts = (
        [[maker, "-m", "venv", "--clear", TOOLS], [os.path.join(TOOLS, "bin", "pip"), "install", "-q", "uv"]],
        [[maker, "-m", "pip", "install", "-q", "--target", TOOLS, "uv"]],
    )
    for commands in attempts:
        made = all(subprocess.call(c, stderr=subprocess.DEVNULL, cwd="/") == 0 for c in commands)
        if made and answers([own, "--version"]):
            return own
    on_path = shutil.which("uv")
    if on_path and answers([on_path, "--version"]):
        return on_path
    return fail(
        "uv could not be installed: this python3 has neither a working venv nor pip, or the network is away.",
        "On Debian or Ubuntu: apt-get install python3-venv. Or install uv yourself and run this again.",
    )


def main():
    """Leaves ``.venv`` with exactly what ``uv.lock`` names."""
    python = find_python()
    uv = get_uv(python)
    environment = dict(os.environ, UV_PROJECT_ENVIRONMENT=os.path.join(ROOT, ".venv"))
    environment.pop("VIRTUAL_ENV", None)
    if os.path.exists(SYSTEM_CERTIFICATES):
        # A network with a certificate authority of its own is known to the system, not to uv's built-in list.
        environment.setdefault("UV_SYSTEM_CERTS", "true")
    if python:
        environment["UV_PYTHON"] = python
        environment["UV_PYTHON_DOWNLOADS"] = "never"
    else:
        print("setup: no Python 3.12 found; asking uv to fetch one")
    # Compiled once here, or each of the many processes pays for it at its start.
    command = [uv, "sync", "--locked", "--all-packages", "--all-extras", "--compile-bytecode", "--quiet"]
    for extra in TOO_LARGE:
        command += ["--no-extra", extra]
    if subprocess.call(command, cwd=ROOT, env=environment) != 0:
        fail(
            "the environment could not be installed.",
            "TurnCall needs Python 3.12: install python3.12 (or pyenv install 3.12) if uv said that it found none."
            if not python
            else "The lines above are uv's own.",
        )


if __name__ == "__main__":
    main()
