"""Stages of dvc.yaml: each reads files, calls the core, and makes one folder, whole or not at all."""

import shutil
from collections.abc import Callable

import torch

from mirl import networks
from mirl.config import fingerprint, non_default_values
from mirl.data.packed import PackedImages
from mirl.data.prepare import prepare as prepare_data
from mirl.evaluation import collapse
from mirl.evaluation.comparison import assess
from mirl.evaluation.report import write_report
from mirl.evaluation.scoring import pictures
from mirl.methods.plan import Plan, copied
from mirl.networks.contract import refuse_unfit
from mirl.promotion import decide
from mirl.restore.restorer import Restorer
from mirl.sparsity.mask import Mask
from mirl.sparsity.masks import Masks
from mirl.study import ticket_folder
from mirl.study.candidates import read_candidates, write_pictures
from mirl.study.forecast import refuse_impossible
from mirl.study.held_out import held_out_images, memory_in_words
from mirl.study.params import ROOT_TICKET
from mirl.study.round_training import round_settings, say, train_round, unseen
from mirl.study.scores import scored
from mirl.study.study import ImageBar, Study
from mirl.study.ticket_folder import TicketFolder
from mirl.study.training_cost import spent, trained_on
from mirl.study.workspace import write_json
from mirl.tickets import reading
from mirl.tickets.lineage import Lineage
from mirl.tickets.ticket import Ticket
from mirl.training.device import device_of

PROBE_SIDE = 64
"""Height and width in pixels of the random image with which collapse is detected."""


def prepare(study: Study, key: str) -> None:
    """Prepare the photographs in `data/prepared/`."""
    section = study.params.data
    with study.files.making(study.files.prepared) as draft, ImageBar("prepare", study.should_stop) as bar:
        prepare_data(section, study.root / section.root, draft, bar)


def init(study: Study, key: str) -> None:
    """Write the untrained network to `tickets/init/`: density 1, the root of every lineage."""
    section = study.params.network
    network = networks.build(section)
    state = copied(network.state_dict())
    prunable = networks.prunable(network, section.prune_prompts)
    masks = Masks.one(Mask.full(prunable))
    if networks.is_own(section.name):
        refuse_unfit(network, prunable, study.params.train.batches.patch)
    refuse_impossible(study.params)
    settings = {"network": non_default_values(section)}
    lineage = Lineage(
        name=ROOT_TICKET, arm="", method="init", round=0, parent="", seed=section.seed, steps=0, origin_step=0,
        fingerprint=fingerprint(settings, {}), data="", settings=settings,
    )  # fmt: skip
    ticket = Ticket(network=section, state=state, masks=masks, lineage=lineage)
    with study.files.making(study.files.ticket(ROOT_TICKET)) as draft:
        ticket_folder.write(draft, ticket, state, [], {})


def round_(study: Study, key: str) -> None:
    """Plan, train and absorb one round, written to `tickets/<key>/`."""
    params = study.params
    before = TicketFolder.read(study.files.ticket(params.round(key).after))
    plan = params.planner(key).plan(before.parent, before.initialise)
    refuse_impossible(params, key)
    train_planned(study, key, plan, before)


def train_planned(study: Study, key: str, plan: Plan, before: TicketFolder) -> None:
    """Train and absorb a round that was planned after the ticket in `before`, written to `tickets/<key>/`."""
    files, params, item = study.files, study.params, study.params.round(key)
    packed = PackedImages(files.prepared)
    settings = round_settings(params, key)
    mark = fingerprint(settings, before.digests | {"data": packed.digest})
    with files.making(files.ticket(key)) as draft:
        method = params.planner(key)
        trained = train_round(study, key, mark, plan, (before, packed))
        belief = method.absorb(plan, trained.weights, trained.origin, trained.origin_step)
        belief = method.calibrate(belief, unseen(params, packed, plan.samples), before.parent)
        say(key, plan.idle or belief.undone)
        steps = 0 if belief.undone else trained.steps
        lineage = Lineage(
            name=key, arm=item.arm, method=params.arms[item.arm].method, round=before.ticket.lineage.round + 1,
            parent=before.digests["ticket"], fingerprint=mark, seed=params.train.seed, steps=steps,
            origin_step=belief.origin_step, data=packed.digest, settings=settings,
        )  # fmt: skip
        ticket = Ticket(
            network=belief.network, state=belief.state, masks=belief.masks, routing=belief.routing, lineage=lineage
        )  # fmt: skip
        cost = spent(trained, ticket, plan, params) | before.weight_steps(plan, steps)
        ticket_folder.write(draft, ticket, belief.origin, trained.history, cost)
        write_json(draft / "machine.json", trained_on(trained, params.machine))


def evaluate(study: Study, key: str) -> None:
    """Score one ticket on every test image it serves, written to `scores/<key>/`."""
    files, section = study.files, study.params.evaluate
    study.params.round(key)
    ticket = reading.read(files.ticket(key) / "ticket.safetensors")
    machine = study.params.machine
    device = str(device_of(machine))
    restorer = Restorer(ticket, threads=machine.threads, device=device, skip_zeros=False)
    shutil.rmtree(
        files.checkpoint(ticket.lineage.fingerprint).parent, ignore_errors=True
    )  # DVC has the ticket
    images = [image for image in held_out_images(study.root) if ticket.routing.serves(image.task.name)]
    bar = ImageBar(f"evaluate {key}", study.should_stop)
    with files.making(files.scores(key)) as draft, memory_in_words(device), bar:
        frame, metrics = scored(restorer, ticket, images, section, bar)
        frame.to_parquet(draft / "scores.parquet", index=False)
        write_json(draft / "metrics.json", metrics)
        decisive = section.protocols[0]
        probe_BCHW = torch.rand(1, 3, PROBE_SIDE, PROBE_SIDE, generator=torch.Generator().manual_seed(0))
        alone = {mask: ticket.alone(mask) for mask in ticket.masks}
        each = {mask: (model.built().to(device), model.mask) for mask, model in alone.items()}
        found = collapse.findings(each, probe_BCHW.to(device_of(machine)), frame, decisive)
        write_json(draft / "findings.json", [finding.plain() for finding in found])
        write_pictures(pictures(restorer.run, images, section), draft / "pictures")


def compare(study: Study, key: str) -> None:
    """Write the table, the report and the decision to `report/`."""
    params, policy = study.params, study.params.promote
    assessments = assess(read_candidates(study.files, params), policy)
    decision = decide(assessments, None, policy)
    with study.files.making(study.files.report) as draft:
        write_report(draft, assessments, decision.plain(), policy, params.study)
        for folder in (study.files.sweep, study.files.routing):  # hours of work that no stage makes again
            if folder.is_dir():
                shutil.copytree(folder, draft / folder.name)


STAGES: dict[str, Callable[[Study, str], None]] = {
    "prepare": prepare,
    "init": init,
    "round": round_,
    "evaluate": evaluate,
    "compare": compare,
}
