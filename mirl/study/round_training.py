"""Training of one round of a study: its settings, its samples and the sink of its records."""

from typing import Any

from tqdm import tqdm

from mirl import networks
from mirl.config import non_default_values
from mirl.data.batches import BatchStream
from mirl.data.packed import PackedImages
from mirl.methods.plan import Draw, Plan, Samples
from mirl.study.params import Params
from mirl.study.study import Study
from mirl.study.ticket_folder import TicketFolder
from mirl.training.context import TrainingContext
from mirl.training.launch import train
from mirl.training.loop import Trained


def round_settings(params: Params, key: str) -> dict[str, Any]:
    """Return the parameters of one round without defaults; with its inputs' digests they make its fingerprint."""
    item = params.round(key)
    arm = params.arms[item.arm]
    return {
        "train": non_default_values(params.train),
        "arm": non_default_values(arm) | {"method": arm.method},
        **({"tasks": list(item.requirement)} if item.requirement else {}),
    }


UNSEEN = 2**31
"""Part of the stream of samples that no training draws from: it is the number of no round."""


def unseen(params: Params, packed: PackedImages, samples: Samples) -> Draw:
    """Return a function that draws batches of such training samples that no training of the study draws."""
    section = params.train
    return BatchStream(packed, section.batches.only(samples.tasks), section.seed, UNSEEN).batch


def say(key: str, news: str) -> None:
    """Print what is to be known of a round, if there is anything, above the progress bars."""
    if news:
        tqdm.write(f"{key}: {news}")


def train_round(
    study: Study, key: str, fingerprint: str, plan: Plan, given: tuple[TicketFolder, PackedImages]
) -> Trained:
    """Train the network of `plan` on the samples of the plan; `given` is (parent's ticket folder, prepared data)."""
    section = study.params.train
    before, packed = given
    part = before.ticket.lineage.round if plan.samples.new else 0
    stream = BatchStream(packed, section.batches.only(plan.samples.tasks), section.seed, part)
    sink = study.open_sink(fingerprint, key, study.params.study)
    context = TrainingContext(
        checkpoint=study.files.checkpoint(fingerprint),
        sink=sink,
        should_stop=study.should_stop,
        title=key,
        machine=study.params.machine,
    )
    try:
        return train(networks.build(plan.network), plan, stream, section, context)
    finally:
        sink.close()
