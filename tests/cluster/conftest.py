"""One cluster for all tests; where one fails, the last lines of every log are shown with it."""

from collections import deque
from collections.abc import Generator, Iterator
from pathlib import Path

import pytest

from tests.cluster.cluster import WORKERS, Cluster
from tests.cluster.hosts import Host, Network, missing

LINES = 40


@pytest.fixture(scope="session")
def logs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of what everything that runs on a host says."""
    if why := missing():
        pytest.skip(why)
    return tmp_path_factory.mktemp("logs")


@pytest.fixture(scope="session")
def network(logs: Path) -> Iterator[Network]:
    network = Network(logs)
    yield network
    network.end()


@pytest.fixture(scope="session")
def cluster(network: Network, logs: Path) -> Cluster:
    return Cluster(network, logs)


@pytest.fixture
def hosts(cluster: Cluster) -> list[Host]:
    """The two worker hosts, up; what an earlier test broke is begun anew."""
    return [cluster.man(name) for name in WORKERS]


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    logs = getattr(item, "funcargs", {}).get("logs")
    if report.failed and logs:
        for log in sorted(logs.glob("*.log")):
            if log.exists():  # those of the servers are on their disk
                with log.open(errors="replace") as lines:
                    report.sections.append((log.stem, "".join(deque(lines, LINES))))
    return report
