import torch
import torch.nn.functional as F

from mirl.networks.layers import ChannelAttention, ChannelNorm, GatedFeedForward, double, halve


def noise(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0))


def test_channel_norm_makes_each_pixel_mean_0_and_variance_1() -> None:
    y_BCHW = ChannelNorm(16, 1e-6)(3 * noise(2, 16, 4, 5) + 7)
    torch.testing.assert_close(y_BCHW.mean(1), torch.zeros(2, 4, 5), atol=1e-5, rtol=0)
    torch.testing.assert_close(y_BCHW.var(1, unbiased=False), torch.ones(2, 4, 5), atol=1e-4, rtol=0)


def test_channel_attention_is_the_formula_of_the_paper() -> None:
    attention = ChannelAttention(6, heads=2)
    attention.temperature.data = torch.tensor([0.5, 3.0]).reshape(2, 1, 1)
    x_BCHW = noise(1, 6, 4, 5)
    with torch.no_grad():
        q, k, v = attention.depthwise(attention.project_in(x_BCHW)).flatten(2)[0].split(6)
        rows = []
        for head, channels in enumerate([slice(0, 3), slice(3, 6)]):
            cosine = F.normalize(q[channels], dim=1) @ F.normalize(k[channels], dim=1).T
            rows.append(torch.softmax(cosine * attention.temperature[head], dim=1) @ v[channels])
        wanted = attention.project_out(torch.cat(rows).reshape(1, 6, 4, 5))
        torch.testing.assert_close(attention(x_BCHW), wanted, rtol=1e-5, atol=1e-6)


def test_a_dead_channel_sends_back_no_huge_gradient() -> None:
    attention = ChannelAttention(4, heads=1)
    with torch.no_grad():
        attention.depthwise.weight[[0, 5]] = 0  # a query and a key, as pruning leaves them
    attention(noise(1, 4, 8, 8)).square().sum().backward()
    for parameter in attention.parameters():
        assert parameter.grad is not None and parameter.grad.abs().max() < 1e3


def test_gated_feed_forward_gates_one_half_by_gelu_of_the_other() -> None:
    feed = GatedFeedForward(3, expansion=2.66)
    assert feed.project_in.weight.shape == (14, 3, 1, 1)  # int(3 * 2.66) = 7, twice
    x_BCHW = noise(1, 3, 4, 4)
    with torch.no_grad():
        wide = feed.depthwise(feed.project_in(x_BCHW))
        torch.testing.assert_close(feed(x_BCHW), feed.project_out(F.gelu(wide[:, :7]) * wide[:, 7:]))


def test_halve_and_double_change_size_and_channels_oppositely() -> None:
    x_BCHW = noise(1, 4, 6, 8)
    assert halve(4)(x_BCHW).shape == (1, 8, 3, 4)
    assert double(4)(x_BCHW).shape == (1, 2, 12, 16)
