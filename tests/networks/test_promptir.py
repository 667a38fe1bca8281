import pytest
import torch

from mirl.config import UserError
from mirl.networks import prunable
from mirl.networks.layers import ChannelNorm
from mirl.networks.promptir import PromptBlock, PromptIR, PromptIROptions


@pytest.fixture(scope="module")
def full_size() -> PromptIR:
    with torch.device("meta"):
        return PromptIR(PromptIROptions())


def test_full_size_is_the_published_one_less_its_unused_layers(full_size: PromptIR) -> None:
    assert sum(p.numel() for p in full_size.parameters()) == 35_592_263 - 215_296


def test_full_size_prunable_is_that_of_the_authors_less_unused_layers_and_norms(full_size: PromptIR) -> None:
    norms = sum(m.weight.numel() for m in full_size.modules() if isinstance(m, ChannelNorm))
    weights = prunable(full_size, prompts=False)
    assert sum(p.numel() for p in weights.values()) == 33_199_064 - 215_296 - norms


def test_prompts_are_prunable_when_asked(full_size: PromptIR) -> None:
    prompts = set(prunable(full_size, prompts=True)) - set(prunable(full_size, prompts=False))
    sizes = {full_size.get_parameter(name).shape for name in prompts}
    assert sizes == {(5, 64, 64, 64), (5, 128, 32, 32), (5, 320, 16, 16)}


def test_full_size_temperatures_are_160(full_size: PromptIR) -> None:
    names = [n for n, _ in full_size.named_parameters() if n.endswith("temperature")]
    assert sum(full_size.get_parameter(name).numel() for name in names) == 160


def test_prompt_mixes_its_components_by_the_features() -> None:
    block = PromptBlock(channels=2, components=2, prompt_channels=3, size=4)
    with torch.no_grad():
        block.prompts[0], block.prompts[1] = 1.0, 3.0
        block.mixer.weight.copy_(torch.tensor([[50.0, 0.0], [0.0, 50.0]]))
        block.mixer.bias.zero_()
        block.smooth.weight.zero_()
        block.smooth.weight[range(3), range(3), 1, 1] = 1.0
        features = torch.zeros(3, 2, 6, 8)
        features[0, 0], features[1, 1] = 1.0, 1.0
        prompt_BPHW = block(features)
    wanted = torch.tensor([1.0, 3.0, 2.0]).reshape(3, 1, 1, 1).expand(3, 3, 6, 8)
    torch.testing.assert_close(prompt_BPHW, wanted)


@pytest.mark.parametrize(
    "options, sentence",
    [
        ({"prompt_channels": [64, 128]}, "one for each of the 3 steps"),
        ({"prompt_sizes": [4]}, "one for each of the 3 steps"),
        ({"prompt_channels": [64, 128, 321]}, "4 heads do not divide 384 \\+ 321 channels"),
    ],
)
def test_prompts_that_do_not_fit_are_refused(options: dict, sentence: str) -> None:
    with pytest.raises(UserError, match=sentence):
        PromptIROptions.read(options, "params.yaml")
