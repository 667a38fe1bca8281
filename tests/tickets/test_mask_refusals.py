"""Sealed files of version 3 that lie about their masks: each is refused in one sentence, most before a tensor is read."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from mirl.config import UserError
from mirl.sparsity.mask import State
from mirl.tickets import bits
from mirl.tickets.container import SealedFile
from mirl.tickets.header import MOST_MASKS
from mirl.tickets.reading import inspect
from tests.tickets.unfitted import read

Header = dict[str, Any]
Change = Callable[[Header, State], Any]
Forge = Callable[[Path, Change], None]

GOLDEN = Path(__file__).with_name("golden-3.safetensors")
SECOND = Path(__file__).with_name("golden.safetensors")
NO_BYTES = torch.zeros(0, dtype=torch.uint8)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    (tmp_path / "t.safetensors").write_bytes(GOLDEN.read_bytes())
    return tmp_path / "t.safetensors"


def _mask(number: int, **changes: Any) -> Change:
    return lambda header, tensors: header["masks"][number].update(changes)


def _routing(**routing: Any) -> Change:
    return lambda header, tensors: header.update(routing=routing)


def _by_task(**tasks: Any) -> Change:
    return _routing(kind="task", tasks=tasks)


def _tensor(name: str, tensor: torch.Tensor) -> Change:
    return lambda header, tensors: tensors.update({name: tensor})


def _without(name: str) -> Change:
    return lambda header, tensors: tensors.pop(name)


def _many(header: Header, tensors: State) -> None:
    header["masks"] = [{"name": f"m{n}", "kept": [9, 0, 2]} for n in range(MOST_MASKS + 1)]


def _fourth(header: Header, tensors: State) -> None:
    """A mask in the header and its routing, without tensors."""
    header["masks"].append({"name": "hardest", "kept": [9, 0, 2]})
    header["routing"]["tasks"]["derain"] = "hardest"


def _third_gone(header: Header, tensors: State) -> None:
    """Tensors without a mask in the header and its routing."""
    del header["masks"][2]
    header["routing"]["tasks"] = {"derain": "easy", "dehaze": "medium"}


def _order(header: Header, tensors: State) -> None:
    """Shapes in another order than that of their names, which changes nothing, and `kept` in theirs."""
    header["shapes"] = dict(reversed(header["shapes"].items()))
    header["masks"][2]["kept"] = [2, 0, 9]


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (_mask(1, name="easy"), "two masks of one name"),
        (_mask(1, name="../easy"), r"`masks.1.name` is '../easy'"),
        (_mask(1, name="e" * 101), "`masks.1.name`"),
        (_mask(1, more=1), "`masks.1.more` is not a known key"),
        (_mask(1, kept=[5, 0]), "says of 2 parameters what the mask medium keeps, expected 3"),
        (_mask(1, kept=[5, 0, 1, 0]), "says of 4 parameters what the mask medium keeps, expected 3"),
        (_mask(1, kept=[5, 0, -1]), "`masks.1.kept.2` is -1"),
        (_mask(1, kept=[5.0, 0, 1]), "`masks.1.kept.0` is 5.0"),
        (_mask(1, kept=[10, 0, 1]), "no mask 1 for body.weight that keeps 10"),
        (_mask(1, kept=[5, 1, 1]), "no mask 1 for gone.weight that keeps 1"),
        (_mask(1, kept=[2**62, 0, 1]), "no mask 1 for body.weight that keeps 4611686018427387904"),
        (_mask(1, kept=[2**63, 0, 1]), "is not a mirl-ticket file"),
        (lambda header, tensors: header["masks"][1].pop("kept"), "`masks.1.kept` is missing"),
        (lambda header, tensors: header.pop("masks"), "`masks` is missing"),
        (lambda header, tensors: header.update(masks=[]), r"`masks` is \[\]"),
        (lambda header, tensors: header.update(masks={"easy": [1]}), "`masks`: input should be a valid list"),
        (lambda header, tensors: header.update(masks=[[]]), "`masks.0` is "),
        (_many, "`masks` is .* at most 64 items"),
        (_fourth, "no mask 3 for body.weight that keeps 9"),
        (_third_gone, r"holds sub.2.body.weight \(U8\), which the format does not know"),
        (_order, "no mask 2 for head.weight that keeps 9"),
        (_routing(kind="static"), "the routing static has one mask to choose, got 3"),
        (_routing(kind="static", tasks={}), "routing: `tasks` is not a known key"),
        (_routing(kind="by-difficulty"), "routing 'by-difficulty', but this mirl knows static, task"),
        (_routing(kind="task"), "routing: `tasks` is missing"),
        (_by_task(), "routing: `tasks` is {}"),
        (_by_task(derain="easy", dehaze="hard"), "the routing never chooses the mask medium"),
        (_by_task(derain="easy", dehaze="hard", blur="medium", x="no"), "chooses the mask no, which is not there"),
        (_by_task(derain=["easy"]), r"routing: `tasks.derain` is \['easy'\]"),
        (_routing(kind="task", tasks={"a\nb": "easy"}), "routing: `tasks.*"),
        (_without("sub.0.body.weight"), "no mask 0 for body.weight that keeps 3"),
        (_without("sub.2.gone.weight"), "no mask 2 for gone.weight that keeps 0"),
        (_without("mask.body.weight"), "no mask for body.weight"),
        (_tensor("sub.3.body.weight", NO_BYTES), r"holds sub.3.body.weight \(U8\), which the format does not know"),
        (_tensor("sub.00.body.weight", NO_BYTES), r"holds sub.00.body.weight"),
        (_tensor("sub.-1.body.weight", NO_BYTES), "names a tensor 'sub.-1.body.weight'"),
        (_tensor("sub.0.body.bias", NO_BYTES), r"holds sub.0.body.bias"),
        (_tensor("sub.body.weight", NO_BYTES), r"holds sub.body.weight"),
        (_tensor("sub.0.body.weight", torch.zeros(3, dtype=torch.int8)), "no mask 0 for body.weight"),
        (_tensor("sub.0.body.weight", torch.zeros(3, dtype=torch.bool)), "no mask 0 for body.weight"),
        (_tensor("sub.0.body.weight", torch.zeros((), dtype=torch.uint8)), "no mask 0 for body.weight"),
        (_tensor("sub.0.body.weight", torch.zeros((3, 1), dtype=torch.uint8)), "no mask 0 for body.weight"),
        (lambda header, tensors: header.update(version=2), "`masks` is not a known key"),
    ],
)  # fmt: skip
def test_what_the_header_tells_is_refused_before_a_tensor_is_read(
    change: Change, sentence: str, forge: Forge, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    forge(file, change)
    monkeypatch.setattr(SealedFile, "tensors", lambda *_: pytest.fail("tensors are read"))
    for reader in (read, inspect):
        with pytest.raises(UserError, match=sentence) as raised:
            reader(file)
        assert str(file) in str(raised.value) and str(raised.value).isprintable()
        assert len(str(raised.value)) < 800


def _first_cut(header: Header, tensors: State) -> None:
    """No mask keeps the first element of `body.weight`, whose weight is stored."""
    for number, keep in enumerate(("000010001", "001010101", "011111111")):
        header["masks"][number]["kept"][0] = keep.count("1")
        tensors[f"sub.{number}.body.weight"] = _code(keep)


def _code(keep: str) -> torch.Tensor:
    return torch.from_numpy(bits.encode(torch.tensor([letter == "1" for letter in keep]).numpy()))


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (_first_cut, "weights are stored that no mask keeps"),
        (_mask(0, kept=[4, 0, 0]), "its code marks 3 elements"),
        (_mask(2, kept=[8, 0, 2]), "its code of 0 bytes is none of 1 elements"),
        (_tensor("sub.0.body.weight", _code("0000100001")), "its code marks 2 elements"),
        (_tensor("sub.0.body.weight", _code("00010000000011")), "its code goes on behind element 8"),
        (_tensor("sub.2.body.weight", torch.tensor([0, 1], dtype=torch.uint8)), "code of 2 bytes is none of 0"),
        (_tensor("sub.1.body.weight", torch.full((9000,), 255, dtype=torch.uint8)), "its code"),
        (_tensor("sub.0.body.weight", torch.tensor([32, 0, 0], dtype=torch.uint8)), "its code of 3 bytes"),
    ],
)  # fmt: skip
def test_what_the_codes_tell_is_refused(change: Change, sentence: str, forge: Forge, file: Path) -> None:
    forge(file, change)
    inspect(file)  # which reads none of them
    with pytest.raises(UserError, match=f"holds body.weight in a way that cannot be: .*{sentence}") as raised:
        read(file)
    assert str(file) in str(raised.value) and str(raised.value).isprintable()


def test_the_order_of_shapes_is_nothing(forge: Forge, file: Path) -> None:
    forge(file, lambda header, tensors: header.update(shapes=dict(reversed(header["shapes"].items()))))
    assert read(file).masks == read(GOLDEN).masks


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (_by_task(derain="one"), "routing task, which there is none of in version 2"),
        (lambda header, tensors: header.update(masks=[{"name": "one", "kept": [9, 0, 2]}]), "`masks` is not a known"),
        (_tensor("sub.0.body.weight", NO_BYTES), r"holds sub.0.body.weight \(U8\), which the format does not know"),
        (lambda header, tensors: header.update(version=3), "`masks` is missing"),
    ],
)  # fmt: skip
def test_version_2_has_none_of_it(change: Change, sentence: str, forge: Forge, tmp_path: Path) -> None:
    path = tmp_path / "t.safetensors"
    path.write_bytes(SECOND.read_bytes())
    forge(path, change)
    with pytest.raises(UserError, match=sentence):
        read(path)
