"""PostgreSQL refuses to run as root: this module runs it as another user if we are root."""

from __future__ import annotations

import logging
import os
import pwd
import subprocess
from dataclasses import dataclass
from pathlib import Path

from ops.supervisor import StartError, Unfit

log = logging.getLogger(__name__)

# Capabilities that the account may need, least first. Without any it cannot enter a checkout in a
# private directory of root (`mktemp -d`, /root), and we do not change the permissions of
# directories. CAP_DAC_READ_SEARCH lets it enter and read. A container often grants root
# CAP_DAC_OVERRIDE but not that one.
_CAPABILITIES = (None, "dac_read_search", "dac_override")
OWN_ACCOUNT = "tickwire"  # runs PostgreSQL for root, if it exists


@dataclass(frozen=True, slots=True)
class Account:
    """The user that runs the server."""

    uid: int
    gid: int

    def own(self, path: Path) -> None:
        """Make it the owner of `path` and everything below."""
        os.chown(path, self.uid, self.gid, follow_symlinks=False)
        for folder, folders, files in os.walk(path):
            for name in (*folders, *files):
                os.chown(os.path.join(folder, name), self.uid, self.gid, follow_symlinks=False)


def account_for(data_dir: Path) -> Account | None:
    """Return the account `tickwire`, or `nobody` with a warning; None if we are not root.

    Data of another user keep their owner. Raises `StartError` if we may not use the data.
    """
    owner = data_dir.stat() if data_dir.exists() else None
    if os.geteuid() != 0:
        if owner is not None and owner.st_uid != os.geteuid():
            raise StartError(
                f"{data_dir} belongs to another user (uid {owner.st_uid}): run as that user or root, or set another HUB_DATA_DIR"
            )
        return None
    nobody = _nobody()
    if owner is not None and owner.st_uid not in (0, nobody.pw_uid):
        return Account(owner.st_uid, owner.st_gid)
    try:
        ours = pwd.getpwnam(OWN_ACCOUNT)
    except KeyError:
        text = "the data of PostgreSQL belong to nobody, whom other daemons may share: create the account, see docs/deployment.md"
        log.warning(text, extra={"path": str(data_dir), "account": OWN_ACCOUNT})
        return Account(nobody.pw_uid, nobody.pw_gid)
    return Account(ours.pw_uid, ours.pw_gid)


def _nobody() -> pwd.struct_passwd:
    try:
        return pwd.getpwnam("nobody")
    except KeyError:
        raise Unfit(
            "PostgreSQL does not run as root, and the user `nobody` has no entry in /etc/passwd: "
            "add the line nobody:x:65534:65534::/nonexistent:/sbin/nologin, or set DATABASE_URL"
        ) from None


def prefix(account: Account | None, program: Path, folder: Path, death_signal: str) -> tuple[str, ...]:
    """Return the words before a command that run it as `account`, with the least rights.

    The account needs to run `program` and to enter `folder`. `death_signal` is set again here,
    because the kernel resets it if a process changes its user. Raises `StartError` with
    instructions.
    """
    if account is None:
        return ()
    for capability in _CAPABILITIES:
        words = _setpriv(account, capability, death_signal)
        if _works(words, program, folder):
            return words
    raise StartError(
        f"PostgreSQL does not run as root, and uid {account.uid} cannot be given access to {program} and {folder}: "
        "run as an ordinary user, or let every user pass through those directories (chmod o+x), or set DATABASE_URL; "
        "setpriv of util-linux is needed too"
    )


def _setpriv(account: Account, capability: str | None, death_signal: str) -> tuple[str, ...]:
    rights = f"-all,+{capability}" if capability else "-all"
    words = ["setpriv", f"--reuid={account.uid}", f"--regid={account.gid}", "--clear-groups"]
    words += [f"--inh-caps={rights}", f"--ambient-caps={rights}", f"--bounding-set={rights}", f"--pdeathsig={death_signal}"]
    if capability:
        # Otherwise access(2), which PostgreSQL calls for its own programs, ignores capabilities.
        words.append("--securebits=+no_setuid_fixup")
    return (*words, "--")


def _works(words: tuple[str, ...], program: Path, folder: Path) -> bool:
    # Through a shell: setpriv itself still has the rights of root when it executes; the executed
    # program has not.
    probe = (*words, "sh", "-c", '"$0" --version && cd "$1"', str(program), str(folder))
    try:
        return subprocess.run(probe, capture_output=True, check=False, timeout=30).returncode == 0
    except FileNotFoundError:
        return False
