"""Memory that is used again."""

from mirl.runtime.images import Images


def test_memory_is_used_again_when_nobody_holds_the_image() -> None:
    images = Images()
    first = images.empty((2, 3))
    place, view = first.data_ptr(), first.numpy()[1:]
    del first
    other = images.empty((2, 3))
    assert other.data_ptr() != place  # a view holds it
    del view
    assert images.empty((5,)).data_ptr() == place


def test_no_more_is_kept_than_is_allowed_when_nothing_is_in_use() -> None:
    images = Images(kept=100)
    several = [images.empty((20,)) for _ in range(3)]
    places = [one.data_ptr() for one in several]
    several.pop()
    assert images.empty((20,)).data_ptr() == places[2]  # however much is in use
    several.clear()
    assert sum(buffer.nbytes for buffer in images._free) == 80


def test_an_image_without_pixels() -> None:
    assert Images().empty((1, 0, 3, 3)).shape == (1, 0, 3, 3)
