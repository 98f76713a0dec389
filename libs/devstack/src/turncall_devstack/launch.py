"""Becomes a server: ties its life to the parent's, drops root, and executes it. Run as a script, by `Server`.

``launch.py PARENT SIGNAL UID GID COMMAND…``; the working directory was set by the parent, while it still had the right
to enter it. A script of its own, since Python refuses to run code between fork and exec where threads exist.
"""

import ctypes
import os
import sys

PR_SET_PDEATHSIG = 1  # prctl(2)


def main(parent: int, signal: int, uid: int, gid: int, command: list[str]) -> None:
    """Never returns: this process is ``command`` afterwards, and gets ``signal`` when the process ``parent`` dies."""
    if os.geteuid() != uid:
        os.setgroups([])
        os.setgid(gid)
        os.setuid(uid)
    # A change of user clears the setting, so it comes last; a parent that died before it is seen by the check.
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal, 0, 0, 0)
    if os.getppid() != parent:
        raise SystemExit("the parent died before its server began")
    os.execv(command[0], command)


if __name__ == "__main__":
    parent, signal, uid, gid = map(int, sys.argv[1:5])
    main(parent, signal, uid, gid, sys.argv[5:])
