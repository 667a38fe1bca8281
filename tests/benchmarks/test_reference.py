import numpy as np
import torch

from benchmarks.reference import Compose, RandomCrop, ToPILImage, ToTensor, stand_ins


def test_the_transforms_do_what_torchvisions_do() -> None:
    pixels_HWC = np.arange(5 * 7 * 3, dtype=np.uint8).reshape(5, 7, 3)
    crop = Compose([ToPILImage(), RandomCrop(4), np.array])
    torch.manual_seed(0)
    found = {tuple(crop(pixels_HWC)[0, 0]) for _ in range(200)}
    assert found == {tuple(pixels_HWC[top, left]) for top in range(2) for left in range(4)}
    tensor_CHW = ToTensor()(pixels_HWC)
    assert tensor_CHW.shape == (3, 5, 7) and tensor_CHW.dtype == torch.float32 and tensor_CHW.is_contiguous()
    assert float(tensor_CHW[2, 4, 6]) == np.float32(104) / np.float32(255)


def test_the_stand_ins_are_found_by_the_names_of_the_packages() -> None:
    modules = stand_ins()
    assert modules["lightning"].pytorch is modules["lightning.pytorch"]
    assert modules["torchvision.transforms"].ToTensor is ToTensor
