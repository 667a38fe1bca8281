"""The stages of dvc.yaml: each reads files, calls the core, and makes one folder, whole or not at all."""

import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm

from mirl import networks
from mirl.config import Stopped, UserError, fingerprint, non_default_values
from mirl.data.batches import BatchStream
from mirl.data.degradations import TASKS
from mirl.data.packed import PackedImages
from mirl.data.prepare import prepare as prepare_data
from mirl.evaluation import collapse
from mirl.evaluation.comparison import assess
from mirl.evaluation.report import write_report
from mirl.evaluation.scoring import TestImage, pictures, score, summary
from mirl.methods import planner
from mirl.methods.plan import Plan, copied
from mirl.promotion import decide
from mirl.records import NullSink, Sink
from mirl.restore.restorer import Restorer
from mirl.sparsity.mask import Mask
from mirl.study import ticket_folder
from mirl.study.candidates import read_candidates, write_pictures
from mirl.study.params import ROOT_TICKET, Params
from mirl.study.ticket_folder import TicketFolder
from mirl.study.training_cost import spent, trained_on
from mirl.study.workspace import Workspace, write_json
from mirl.tickets import fit
from mirl.tickets.routing import Routing
from mirl.tickets.ticket import Lineage, Ticket
from mirl.training.context import TrainingContext
from mirl.training.device import device_of
from mirl.training.launch import train
from mirl.training.loop import Trained

PROBE_SIDE = 64
"""Height and width of the picture that collapse is looked for with."""


@dataclass(frozen=True, kw_only=True)
class Study:
    """What every stage is given."""

    root: Path
    params: Params
    open_sink: Callable[[str, str, str], Sink] = lambda fingerprint, name, study: NullSink()
    """Takes the fingerprint, the ticket's name and the study's; returns where records go."""
    should_stop: Callable[[], bool] = lambda: False

    @property
    def files(self) -> Workspace:
        return Workspace(self.root)


def prepare(study: Study, key: str) -> None:
    """Photographs to `data/prepared/`."""
    section = study.params.data
    with study.files.making(study.files.prepared) as draft, _Bar("prepare", study.should_stop) as bar:
        prepare_data(section, study.root / section.root, draft, bar)


def init(study: Study, key: str) -> None:
    """The untrained network to `tickets/init/`: density 1, the root of every lineage."""
    section = study.params.network
    network = networks.build(section)
    state = copied(network.state_dict())
    settings = {"network": non_default_values(section)}
    lineage = Lineage(
        name=ROOT_TICKET, arm="", method="init", round=0, parent="", seed=section.seed, steps=0, origin_step=0,
        fingerprint=fingerprint(settings, {}), data="", settings=settings,
    )  # fmt: skip
    mask = Mask.full(networks.prunable(network, section.prune_prompts))
    ticket = Ticket(network=section.model_dump(), state=state, mask=mask, routing=Routing(), lineage=lineage)
    with study.files.making(study.files.ticket(ROOT_TICKET)) as draft:
        ticket_folder.write(draft, ticket, state, [], {})


def round_(study: Study, key: str) -> None:
    """Plan, train, absorb: one round to `tickets/<key>/`."""
    files, params, item = study.files, study.params, study.params.round(key)
    arm = params.arms[item.arm]
    before, packed = TicketFolder.read(files.ticket(item.after)), PackedImages(files.prepared)
    settings = round_settings(params, key)
    mark = fingerprint(settings, before.digests | {"data": packed.digest})
    with files.making(files.ticket(key)) as draft:
        method = planner(arm)
        plan = method.plan(before.parent, before.initialise)
        trained = _train(study, key, mark, plan, (before, packed))
        belief = method.absorb(plan, trained.weights, trained.origin, trained.origin_step)
        lineage = Lineage(
            name=key, arm=item.arm, method=arm.method, round=before.ticket.lineage.round + 1,
            parent=before.digests["ticket"], fingerprint=mark, seed=params.train.seed, steps=trained.steps,
            origin_step=belief.origin_step, data=packed.digest, settings=settings,
        )  # fmt: skip
        network = before.ticket.network
        ticket = Ticket(
            network=network, state=belief.weights, mask=belief.mask, routing=Routing(), lineage=lineage
        )
        cost = spent(trained, ticket, params) | before.weight_steps(plan, trained.steps)
        ticket_folder.write(draft, ticket, belief.origin, trained.history, cost)
        write_json(draft / "machine.json", trained_on(trained, params.machine))


def evaluate(study: Study, key: str) -> None:
    """Score one ticket on every test image: `scores/<key>/`."""
    files, section = study.files, study.params.evaluate
    study.params.round(key)
    ticket = fit.read(files.ticket(key) / "ticket.safetensors")
    machine = study.params.machine
    device = str(device_of(machine))
    restorer = Restorer(ticket, threads=machine.threads, device=device, skip_zeros=False)
    shutil.rmtree(
        files.checkpoint(ticket.lineage.fingerprint).parent, ignore_errors=True
    )  # DVC has the ticket
    images = list(held_out_images(study.root))
    bar = _Bar(f"evaluate {key}", study.should_stop)
    with files.making(files.scores(key)) as draft, _memory_in_words(device), bar:
        frame = score(restorer.run, images, section, bar)
        frame.to_parquet(draft / "scores.parquet", index=False)
        decisive = section.protocols[0]
        write_json(draft / "metrics.json", ticket_folder.metrics(ticket) | summary(frame, decisive))
        probe_BCHW = torch.rand(1, 3, PROBE_SIDE, PROBE_SIDE, generator=torch.Generator().manual_seed(0))
        found = collapse.findings(
            restorer.network, ticket.mask, probe_BCHW.to(device_of(machine)), frame, decisive
        )
        write_json(draft / "findings.json", [finding.plain() for finding in found])
        write_pictures(pictures(restorer.run, images, section), draft / "pictures")


def compare(study: Study, key: str) -> None:
    """The table, the report and the decision: `report/`."""
    params, policy = study.params, study.params.promote
    assessments = assess(read_candidates(study.files, params), policy)
    decision = decide(assessments, None, policy)
    with study.files.making(study.files.report) as draft:
        write_report(draft, assessments, decision.plain(), policy, params.study)


STAGES: dict[str, Callable[[Study, str], None]] = {
    "prepare": prepare,
    "init": init,
    "round": round_,
    "evaluate": evaluate,
    "compare": compare,
}


def held_out_images(root: Path) -> Iterator[TestImage]:
    """The held-out images of the prepared data below `root`, by task and name."""
    packed = PackedImages(Workspace(root).prepared)
    for task in TASKS:
        for item in packed.items("test", task):
            degraded = None if item.degraded is None else packed.image(item.degraded)
            yield TestImage(
                image=item.image, task=task, clean_HWC=packed.image(item.clean), degraded_HWC=degraded
            )


def round_settings(params: Params, key: str) -> dict[str, Any]:
    """The parameters of one round, without defaults: with its inputs' digests they make its fingerprint."""
    arm = params.arms[params.round(key).arm]
    return {
        "train": non_default_values(params.train),
        "arm": non_default_values(arm) | {"method": arm.method},
    }


def _train(
    study: Study, key: str, mark: str, plan: Plan, given: tuple[TicketFolder, PackedImages]
) -> Trained:
    section = study.params.train
    before, packed = given
    part = before.ticket.lineage.round if plan.new_samples else 0
    stream = BatchStream(packed, section.batches, section.seed, part)
    sink = study.open_sink(mark, key, study.params.study)
    context = TrainingContext(
        checkpoint=study.files.checkpoint(mark),
        sink=sink,
        should_stop=study.should_stop,
        title=key,
        machine=study.params.machine,
    )
    try:
        return train(networks.build(before.network), plan, stream, section, context)
    finally:
        sink.close()


@contextmanager
def _memory_in_words(device: str) -> Iterator[None]:
    """Photographs are scored whole, as they are published: tiles would change the numbers."""
    try:
        yield
    except torch.OutOfMemoryError as error:
        raise UserError(
            f"the memory of {device} does not hold a whole test photograph ({str(error).splitlines()[0]}); end what "
            "else uses it, or score with `machine: {device: cpu}`, which retrains nothing"
        ) from None


class _Bar:
    """A progress bar over images that is told (done, total), and stops the work when that is asked for."""

    def __init__(self, title: str, should_stop: Callable[[], bool]) -> None:
        self._title, self._should_stop = title, should_stop
        self._bar = tqdm(desc=title, unit="image", dynamic_ncols=True, mininterval=0.5)

    def __enter__(self) -> "_Bar":
        return self

    def __exit__(self, *error: object) -> None:
        self._bar.close()

    def __call__(self, done: int, total: int) -> None:
        self._bar.total = total
        self._bar.update(done - self._bar.n)
        if self._should_stop():
            raise Stopped(f"{self._title}: stopped after {done} of {total} images; run it again")
