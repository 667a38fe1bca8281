"""What the hosts of a cluster serve and use: PostgreSQL, an SSH server, keys for it."""

import secrets
from pathlib import Path

from tests.cluster.hosts import DISK, Host, find, until

DATABASES = ("prefect", "mlflow")
SSHD = f"""
ListenAddress {{address}}
HostKey {DISK}/ssh/host_key
AuthorizedKeysFile {DISK}/ssh/authorized_keys
PermitRootLogin prohibit-password
PasswordAuthentication no
KbdInteractiveAuthentication no
UsePAM no
PidFile none
Subsystem sftp internal-sftp
"""
SSH = f"""
Host {{address}}
    User root
    IdentityFile {DISK}/.ssh/id_ed25519
    UserKnownHostsFile {DISK}/.ssh/known_hosts
    StrictHostKeyChecking yes
"""


def serve_databases(host: Host) -> str:
    """PostgreSQL for the programs of `host` itself, with empty DATABASES; returns `user:password@address`."""
    postgres, place = find("postgres"), f"{DISK}/postgresql"
    assert postgres is not None
    programs = Path(postgres).parent
    password, as_postgres = (
        secrets.token_urlsafe(),
        ("setpriv", "--reuid=postgres", "--regid=postgres", "--init-groups"),
    )
    host.run("install", "--directory", "--owner=postgres", "--mode=700", place)
    secret = host.file(f"{place}/password")
    secret.write_text(password)
    secret.chmod(0o644)  # in a folder that only postgres may enter
    options = ("--auth=scram-sha-256", f"--pwfile={place}/password", "--encoding=UTF8", "--no-sync")
    host.run(*as_postgres, f"{programs}/initdb", f"--pgdata={place}/data", *options, folder=place)
    host.start(
        "postgresql", *as_postgres, postgres, "-D", f"{place}/data", "-k", "", "-h", "127.0.0.1", folder=place
    )

    def answers() -> bool:
        asked = f"{programs}/pg_isready --host=127.0.0.1 || true"
        return "accepting" in host.run("sh", "-c", asked)

    until(answers, "PostgreSQL answer", 0.2)
    for name in DATABASES:
        command = (f"{programs}/createdb", "--host=127.0.0.1", "--username=postgres", name)
        host.run(*command, PGPASSWORD=password)
    return f"postgres:{password}@127.0.0.1"


def serve_ssh(host: Host, address: str) -> str:
    """An SSH server that takes keys only; returns its own key, as others know it."""
    host.run("install", "--directory", "--mode=755", "/run/sshd", f"{DISK}/ssh")
    host.run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", f"{DISK}/ssh/host_key")
    host.file(f"{DISK}/ssh/authorized_keys").touch(0o600)
    host.file(f"{DISK}/ssh/config").write_text(SSHD.format(address=address))
    sshd = find("sshd")
    assert sshd is not None  # it wants its whole path
    host.start("sshd", sshd, "-D", "-e", "-f", f"{DISK}/ssh/config")
    return host.file(f"{DISK}/ssh/host_key.pub").read_text()


def let_in(host: Host, server: Host, address: str, server_key: str) -> None:
    """Let `host` into `server` with a key of its own; git and DVC find it there."""
    host.run("install", "--directory", "--mode=700", f"{DISK}/.ssh")
    host.run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", f"{DISK}/.ssh/id_ed25519")
    host.file(f"{DISK}/.ssh/known_hosts").write_text(f"{address} {server_key}")
    host.file(f"{DISK}/.ssh/config").write_text(SSH.format(address=address))
    host.run("git", "config", "--global", "core.sshCommand", f"ssh -F {DISK}/.ssh/config")  # ssh ignores HOME
    with server.file(f"{DISK}/ssh/authorized_keys").open("a") as keys:
        keys.write(host.file(f"{DISK}/.ssh/id_ed25519.pub").read_text())
