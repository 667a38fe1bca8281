"""DVC's file system over SSH with the checks of ssh itself; DVC imports it if a remote needs it (see flows.remote)."""

from typing import Any

from dvc_ssh import SSHFileSystem


class CheckedSSHFileSystem(SSHFileSystem):  # type: ignore[misc]  # dvc_ssh has no types
    """SSH file system that talks only to servers whose key is in `known_hosts`, and lends them no SSH agent."""

    def _prepare_credentials(self, **config: Any) -> dict[str, Any]:
        # asyncssh takes () for the files of its user; None, which sshfs puts in its place, for every key
        credentials: dict[str, Any] = super()._prepare_credentials(**config)
        return credentials | {"known_hosts": (), "agent_forwarding": False}
